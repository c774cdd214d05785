"""`make bench-rollout`: what a rollout under way costs the live path: latency at a steady rate, and processor time of the answering thread's core.

The same server with and without a release that is paused at 50 % (every request is split, counted, and scored by the candidate in the shadow), in turns.
Latency is open loop at a fixed rate, counted from when a request was due.
"""

import json
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from payments import Payments, turns  # noqa: E402
from serving import SERIN, Process, free_port, load  # noqa: E402

ROUNDS, RATE = 9, 5000
CANARY = """
apiVersion: flagger.app/v1beta1
kind: Canary
metadata:
  name: fraud-detection
  annotations: {serin.dev/min-shadow: 100ms}
spec:
  targetRef: {name: fraud-detection}
  analysis: {interval: 100ms, threshold: 5, stepWeights: [50], metrics: [{name: request-success-rate, thresholdRange: {min: 99}}]}
"""


def ask(port, path, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, data=b"" if method == "POST" else None), timeout=10) as answer:
        return json.loads(answer.read())


def main():
    folder = Path(tempfile.mkdtemp(prefix="serin-rollout-"))
    payments, state = Payments(folder), folder / "state"
    for alias, rounds in [("champion", 100), ("challenger", 99)]:
        payments.train(state, "--rounds", rounds, "--alias", alias)
    body = folder / "body.json"
    body.write_text(json.dumps({"data": payments.rows(1)}))
    canary = folder / "canary.yaml"
    canary.write_text(CANARY)
    seen = {"with": [], "without": []}
    for name in turns(ROUNDS, "with", "without"):
        port = free_port()
        options = ["--canary", str(canary), "--fast-canary"] if name == "with" else []
        rollout = state / "rollout"
        if rollout.is_dir():
            for file in rollout.iterdir():
                file.unlink()
        server = Process([SERIN, "serve", "-m", "models:/fraud_detection@champion", "--state", str(state), "--port", str(port), *options], port, "")
        load(port, "/predict", body, 8, 1, rate=RATE, cores="")
        if name == "with":
            end = time.monotonic() + 30
            while ask(port, "/v1/rollout").get("candidate_weight") != 0.5:
                assert time.monotonic() < end, ask(port, "/v1/rollout")
                load(port, "/predict", body, 8, 0.2, rate=RATE, cores="")
            ask(port, "/v1/rollout/pause", "POST")
        before = server.cpu()
        found = load(port, "/predict", body, 8, 4, rate=RATE, cores="")
        cpu = (server.cpu() - before) / found["requests"] * 1e6
        if name == "with":
            assert ask(port, "/v1/rollout")["candidate_weight"] == 0.5
        seen[name].append((found["p50_us"], found["p99_us"], cpu))
        server.stop()
    print(f"\n### One row a request, {RATE:,} requests/s, 8 connections, nothing pinned, decision log on, {ROUNDS} rounds in turns\n\n| | p50 µs | p99 µs | CPU µs/request, all threads |\n|---|---|---|---|")
    for name, title in [("without", "no rollout"), ("with", "a rollout at 50 %")]:
        print("| {} | {:,.0f} | {:,.0f} | {:,.1f} |".format(title, *[statistics.median(values) for values in zip(*seen[name])]))
    changes = [statistics.median(a[i] / b[i] - 1 for a, b in zip(seen["with"], seen["without"])) for i in range(3)]
    print("\nmedian of the rounds' differences: p50 {:+.1%}, p99 {:+.1%}, CPU {:+.1%}".format(*changes), flush=True)


if __name__ == "__main__":
    main()
