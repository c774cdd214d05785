"""The demo tells the same story on any machine: `make proof-demo`, or `SERIN=… python3 conformance/demo_proof.py [--slow N] [--idle N] [--core C] [OPTION…]`.

Slow runs share one core with a busy loop, idle ones have the machine. Every run must end with exit status 0, and tell line by line what
the first one told. Left out of the comparison: times and rates, ports, ids, and what depends on which payment was the last one before a
rollout's look (how many payments it had counted, and the figures of these). Options of `serin demo` may follow, such as `--fast`."""

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
import time

SERIN = os.environ.get("SERIN", "target/release/serin")
OF_THIS_RUN = [
    (r"^ *\d+ s  |^        ", ""),
    (r" in [\d.]+ s;", ";"),
    (r"\d+ requests/s, p50 [\d.]+ ms, p99 [\d.]+ ms", "so many requests/s"),
    (r" after [\d.]+ s, \d+ payments in the shadow.*", ""),
    (r"(Why: rolled back: \w+).*", r"\1"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1"),
    (r"decision [0-9a-f-]{36}", "decision"),
    (r"State kept in .*", ""),
]


def facts(told: str) -> list[str]:
    lines = []
    for line in told.splitlines():
        for pattern, kept in OF_THIS_RUN:
            line = re.sub(pattern, kept, line)
        lines.append(line)
    return lines


def run(core: str | None, options: list[str]) -> tuple[int, float, str, str]:
    pinned = ["taskset", "-c", core] if core else []
    busy = subprocess.Popen([*pinned, "sh", "-c", "while :; do :; done"]) if core else None
    try:
        with tempfile.TemporaryDirectory() as folder:
            command = [SERIN, "demo", "--exit", "--state", f"{folder}/demo", "--port", "0", "--dashboard-port", "0", *options]
            start = time.monotonic()
            done = subprocess.run([*pinned, *command], capture_output=True, text=True)
            return done.returncode, time.monotonic() - start, done.stdout, done.stderr
    finally:
        if busy:
            busy.kill()
            busy.wait()


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--slow", type=int, default=10)
    arguments.add_argument("--idle", type=int, default=1)
    arguments.add_argument("--core", default="0")
    arguments, options = arguments.parse_known_args()
    first, failed = None, 0
    for core in [arguments.core] * arguments.slow + [None] * arguments.idle:
        status, seconds, told, log = run(core, options)
        found = facts(told)
        if first is None:
            print(told, flush=True)
            first = found
        same = found == first
        failed += not same or status != 0
        kind = f"on core {core} beside a busy loop" if core else "idle machine"
        print(f"{kind}: exit {status}, {seconds:.0f} s, {len(found)} lines, {'the same facts' if same else 'OTHER FACTS'}", flush=True)
        if not same:
            print("\n".join(difflib.unified_diff(first, found, "first", "this", lineterm="", n=0)), flush=True)
        if status != 0:
            print(log[-2000:], flush=True)
    print(f"{arguments.slow + arguments.idle - failed} of {arguments.slow + arguments.idle} end with 0 and tell the same facts")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
