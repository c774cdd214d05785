"""`make bench-rollout`: what a rollout under way costs the live path: latency at a steady rate, and processor time of all threads.

One server, with a release that is paused at 50 % (every request is split, counted, and scored by the candidate in the shadow) and without, in turns: another
process would have its code and its memory elsewhere, which is worth more than what is measured here. Latency is open loop at a fixed rate, counted from when
a request was due. Each round is a pair; the interval is a bootstrap's over the pairs.
"""

import itertools
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from payments import Payments, serin, turns  # noqa: E402
from serving import SERIN, Process, free_port, load  # noqa: E402

ROUNDS, RATE, SECONDS = 24, 5000, 3
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


def interval(pairs):
    """95 % of the bootstrapped medians of with over without, less one."""
    changes = np.array([with_it / without - 1 for with_it, without in pairs])
    drawn = np.random.default_rng(0).choice(changes, (4000, len(changes)))
    return np.median(changes), *np.percentile(np.median(drawn, axis=1), [2.5, 97.5])


def main():
    folder = Path(tempfile.mkdtemp(prefix="serin-rollout-"))
    payments, state = Payments(folder), folder / "state"
    for alias, rounds in [("champion", 100), ("none", 99), ("neither", 98)]:
        payments.train(state, "--rounds", rounds, "--alias", alias)
    body = folder / "body.json"
    body.write_text(json.dumps({"data": payments.rows(1)}))
    canary = folder / "canary.yaml"
    canary.write_text(CANARY)
    port = free_port()
    options = ["--canary", str(canary), "--fast-canary", "--poll", "0.1"]
    server = Process([SERIN, "serve", "-m", "models:/fraud_detection@champion", "--state", str(state), "--port", str(port), *options], port, "")
    load(port, "/predict", body, 8, 3, rate=RATE, cores="")
    candidates = itertools.cycle([2, 3])

    def until(reached):
        end = time.monotonic() + 30
        while not reached(ask(port, "/v1/rollout")):
            assert time.monotonic() < end, ask(port, "/v1/rollout")
            load(port, "/predict", body, 8, 0.2, rate=RATE, cores="")

    def release(wanted):
        if wanted:
            serin("rollout", "start", "--to", next(candidates), "--state", state)
            until(lambda shown: shown.get("candidate_weight") == 0.5)
            ask(port, "/v1/rollout/pause", "POST")
            until(lambda shown: shown["paused"])
        elif ask(port, "/v1/rollout").get("candidate_version"):
            ask(port, "/v1/rollout/abort", "POST")
            until(lambda shown: shown["phase"] == "Failed")
            ask(port, "/v1/rollout/resume", "POST")
            until(lambda shown: not shown["paused"])

    seen = {"with": [], "without": []}
    for name in turns(ROUNDS, "with", "without"):
        release(name == "with")
        load(port, "/predict", body, 8, 0.5, rate=RATE, cores="")
        before = server.cpu()
        found = load(port, "/predict", body, 8, SECONDS, rate=RATE, cores="")
        seen[name].append((found["p50_us"], found["p99_us"], (server.cpu() - before) / found["requests"] * 1e6))
        assert (ask(port, "/v1/rollout").get("candidate_weight") == 0.5) == (name == "with")
    server.stop()
    print(f"\n### One row a request, {RATE:,} requests/s, 8 connections, nothing pinned, decision log on, one server, {ROUNDS} rounds in turns\n\n| | p50 µs | p99 µs | CPU µs/request, all threads |\n|---|---|---|---|")
    for name, title in [("without", "no rollout"), ("with", "a rollout at 50 %")]:
        print("| {} | {:,.1f} | {:,.1f} | {:,.1f} |".format(title, *[statistics.median(values) for values in zip(*seen[name])]))
    for place, figure in enumerate(["p50", "p99", "CPU"]):
        pairs = [(with_it[place], without[place]) for with_it, without in zip(seen["with"], seen["without"])]
        print("{}: {:+.1%} ({:+.1%} to {:+.1%})".format(figure, *interval(pairs)), flush=True)


if __name__ == "__main__":
    main()
