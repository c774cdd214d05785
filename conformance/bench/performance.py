"""Figures of decisions from 10 million of them over 30 days, with 100,000 labels: `make bench-performance`.

Each question is asked three times and counted each time; the page is asked for once, before its figures are kept. The first question of all
makes the columns of segments that have none. Beside them stands a scan of the
same files in the same run, which is the least that counting without an index can take."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import pandas as pd
from servers import SERIN, Server, free_port, running
from test_monitoring import ROLES
from test_rollout import run

DECISIONS = int(os.environ.get("BENCH_DECISIONS", "10000000"))
START, DAY = 1_764_000_000_000, 86_400_000
END = START + 40 * DAY
QUESTIONS = ["by=version", "by=day", f"by=version&since={START + 20 * DAY}", f"by=version&since={START + 22 * DAY}&until={START + 23 * DAY}"]


def resident_mb(pid):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def register(folder, state):
    """Two versions of the model, so that there is a promotion to guard: the log's versions are 0 to 3."""
    data = folder / "payments.parquet"
    run("simulate", "--out", data, "--customers", 300, "--terminals", 600, "--days", 40, "--seed", 1)
    features = [name for name in pd.read_parquet(data).columns if name not in ROLES]
    columns = ["--label", "TX_FRAUD", "--time", "TX_DATETIME", "--entity", "CUSTOMER_ID", "--amount", "TX_AMOUNT", "--features", ",".join(features)]
    for rounds in (20, 30):
        run("train", data, *columns, "--state", state, "--model-name", "fraud", "--rounds", rounds, "--delay-days", 5, "--test-days", 7, "--alias", "champion")


def main():
    folder = Path(tempfile.mkdtemp())
    log, state = folder / "log", folder / "state"
    log.mkdir()
    subprocess.run([Path(SERIN).parent / "examples" / "ten_million", str(DECISIONS), str(log)], check=True)
    every = max(DECISIONS // 100_000, 1)
    numbers = range(0, DECISIONS, every)
    at = [START + 30 * DAY * (number // 10) // (DECISIONS // 10) for number in numbers]
    labels = pd.DataFrame({"transaction_id": [f"TX-{number}" for number in numbers], "label": [int(number % 9973 > 9700) for number in numbers]})
    labels["occurred_at"] = at
    labels["known_at"] = [time_ms + DAY for time_ms in at]
    labels.to_parquet(folder / "labels.parquet")
    run("labels", "import", folder / "labels.parquet", "--source", "chargeback", "--state", state)
    start = time.perf_counter()
    read = sum(len(path.read_bytes()) for path in log.glob("*.seg"))
    print(f"\nthe bytes alone, read: {read / 1e6:,.0f} MB in {(time.perf_counter() - start) * 1000:,.0f} ms")
    register(folder, state)
    port = free_port()
    server = Server([SERIN, "server", "--state", str(state), "--decision-log", str(log), "--port", str(port)], port, folder)
    with running(server):
        print(f"{'question':66} {'first':>9} {'second':>9} {'third ms':>9}   decisions")
        for unlabelled in ("excluded", "genuine"):
            for question in QUESTIONS:
                url = f"http://127.0.0.1:{port}/v1/performance?name=fraud&as_of={END}&unlabelled={unlabelled}&{question}"
                taken = []
                for _ in range(3):
                    start = time.perf_counter()
                    with urllib.request.urlopen(url, timeout=600) as got:
                        found = json.loads(got.read())
                    taken.append((time.perf_counter() - start) * 1000)
                groups = found.get("groups") or [found]
                counted = sum(group["decisions"] for group in groups)
                shown = question.replace(str(START), "start")
                print(f"{unlabelled + ' ' + shown:66} {taken[0]:9.0f} {taken[1]:9.0f} {taken[2]:9.0f}   {counted:,}", flush=True)
        start = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/guard?name=fraud&as_of={END}", timeout=600) as got:
            guard = json.loads(got.read())
        took = (time.perf_counter() - start) * 1000
        rows = f"{guard['matured']:,} rows, {guard['frauds']:,} frauds"
        print(f"{'the guard on version 2, scored by version 1 and compared':66} {took:9.0f} {'':19}   {rows}", flush=True)
        url = f"http://127.0.0.1:{port}/performance/figures?name=fraud&days=3650"
        start = time.perf_counter()
        with urllib.request.urlopen(url, timeout=600) as got:
            assert got.status == 200
        print(f"{'the dashboard page, by version and by day, first look':66} {(time.perf_counter() - start) * 1000:9.0f}", flush=True)
        print(f"most memory of the server: {resident_mb(server.process.pid):,.0f} MB")


if __name__ == "__main__":
    main()
