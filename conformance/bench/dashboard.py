"""Weights and times of the dashboard's pages, on 10,000 runs and 10 million decisions: `make bench-dashboard`.

Beside them, on the same database and in the same run, what MLflow's own server takes for the search that its UI's table of runs
is made of. Times are of whole answers on this machine, medians of twenty."""

import json
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import pandas as pd
from servers import CLEAN, SERIN, Server, free_port, mlflow_server, running
from test_rollout import ROLES, run

RUNS, DECISIONS, BATCH = 10_000, 10_000_000, 10_000
PAGES = [
    "/", "/overview/live", "/overview/disagreements", "/overview/savings", "/rollouts", "/drift", "/decisions", "/decisions?action=alert&least=0.9", "/experiments",
    "/experiments/{runs}", "/experiments/{runs}?order=metrics.auc%20DESC", "/experiments/{runs}?filter=metrics.auc%20%3E%200.99", "/runs/{run}",
    "/models", "/models/fraud_detection", "/settings", "/trash", "/performance/figures?days=1",
]


def ask(url, body=None):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"content-type": "application/json"}), timeout=600) as got:
        return got.read()


def median_ms(call, times=20):
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


def main():
    folder = Path(tempfile.mkdtemp())
    state, file = folder / "state", folder / "payments.parquet"
    run("simulate", "--out", file, "--customers", 1000, "--terminals", 2000, "--days", 60, "--seed", 1)
    frame = pd.read_parquet(file)
    features = [name for name in frame.columns if name not in ROLES]
    run("train", file, "--label", "TX_FRAUD", "--time", "TX_DATETIME", "--features", ",".join(features), "--alert-rate", "0.01", "--alias", "champion", "--state", state)
    tracking, port = free_port(), free_port()
    command = [SERIN, "up", "--state", str(state), "--port", str(tracking), "--scoring-port", str(port), "--", "-m", "models:/fraud_detection@champion"]
    home = f"http://127.0.0.1:{tracking}"
    with running(Server(command, port, folder)):
        rows = frame[features].astype(float).to_numpy()[-BATCH:].tolist()
        body = json.dumps({"data": rows}).encode()
        start = time.monotonic()
        for _ in range(DECISIONS // BATCH):
            ask(f"http://127.0.0.1:{port}/predict", body)
        print(f"{DECISIONS:,} decisions logged in {time.monotonic() - start:.0f} s", flush=True)
        api = f"{home}/api/2.0/mlflow"
        experiment = json.loads(ask(f"{api}/experiments/create", {"name": "many"}))["experiment_id"]
        start = time.monotonic()
        for number in range(RUNS):
            made = json.loads(ask(f"{api}/runs/create", {"experiment_id": experiment, "run_name": f"run-{number}", "start_time": number}))["run"]["info"]["run_id"]
            metrics = [{"key": key, "value": (number * step % 997) / 997, "timestamp": 1, "step": 0} for step, key in enumerate(["auc", "recall", "loss", "cost"], 7)]
            params = [{"key": key, "value": str(number % 10)} for key in ("depth", "eta", "rounds")]
            ask(f"{api}/runs/log-batch", {"run_id": made, "metrics": metrics, "params": params})
        print(f"{RUNS:,} runs logged in {time.monotonic() - start:.0f} s", flush=True)
        time.sleep(8)
        print(f"\n{'page':55} {'kB':>7} {'ms':>8}")
        for page in PAGES:
            path = page.format(runs=experiment, run=made)
            size = len(ask(home + path))
            slow = "figures" in page
            print(f"{path:55} {size / 1000:7.1f} {median_ms(lambda: ask(home + path), 3 if slow else 20):8.1f}", flush=True)
        search = {"experiment_ids": [experiment], "max_results": 100, "order_by": ["metrics.auc DESC"]}
        ours = median_ms(lambda: ask(f"{api}/runs/search", search))
        with running(mlflow_server(folder, f"sqlite:///{state}/serin.db")) as mlflow:
            theirs = median_ms(lambda: ask(f"{mlflow.url}/api/2.0/mlflow/runs/search", search), 5)
        print(f"\nthe search behind the table of runs, as JSON: {ours:.1f} ms; MLflow's own server on the same database: {theirs:.1f} ms")


if __name__ == "__main__":
    main()
