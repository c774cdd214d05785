"""`make bench-tracking`: serin's tracking server beside MLflow's own (1 and 4 workers), one script, one run.

SQLite files on the same disk, serin with synchronous=FULL, MLflow as it comes. Every figure is taken from each server
in turn. Raw means HTTP without the Python client; where the client is the limit, its figure says what a user sees.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from servers import CLEAN, SERIN, mlflow_server, serin_server  # noqa: E402

SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))


class Raw:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def call(self, method, path, body=None):
        data = json.dumps(body) if body is not None else None
        self.connection.request(method, f"/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"} if data else {})
        response = self.connection.getresponse()
        content = response.read()
        assert response.status == 200, content[:300]
        return content


def timed(work, seconds=None):
    """(calls a second, p50 ms, p99 ms)"""
    times, end = [], time.perf_counter() + (seconds or SECONDS)
    while True:
        start = time.perf_counter()
        if start >= end and len(times) >= 5:
            break
        work()
        times.append(time.perf_counter() - start)
    times.sort()
    return len(times) / sum(times), times[len(times) // 2] * 1e3, times[min(len(times) - 1, int(len(times) * 0.99))] * 1e3


def together(workers, make):
    """Calls a second and p99 of `workers` threads, each with its own connection."""
    counts, slow, stop = [0] * workers, [], threading.Event()

    def loop(i):
        work, times = make(i), []
        while not stop.is_set():
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
            counts[i] += 1
        slow.extend(times)

    threads = [threading.Thread(target=loop, args=(i,)) for i in range(workers)]
    start = time.perf_counter()
    [t.start() for t in threads]
    time.sleep(SECONDS)
    stop.set()
    [t.join() for t in threads]
    slow.sort()
    return sum(counts) / (time.perf_counter() - start), slow[len(slow) // 2] * 1e3, slow[int(len(slow) * 0.99)] * 1e3


def memory(pid):
    """RSS in MiB of a process and its children."""
    total, pids = 0, [pid]
    while pids:
        at = pids.pop()
        try:
            status = Path(f"/proc/{at}/status").read_text()
            pids += [int(p) for p in Path(f"/proc/{at}/task/{at}/children").read_text().split()]
        except OSError:
            continue
        total += int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    return total / 1024


CLIENT = """
import sys, time, os
os.environ["MLFLOW_TRACKING_URI"] = sys.argv[1]
from mlflow import MlflowClient
c, run, seconds, i = MlflowClient(), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
c.log_metric(run, f"warm{i}", 1.0)
print("ready", flush=True); sys.stdin.readline()
n, end = 0, time.perf_counter() + seconds
while time.perf_counter() < end:
    c.log_metric(run, f"c{i}", float(n), step=n); n += 1
print(n)
"""


def clients(server, run, count):
    """log_metric calls a second of `count` Python client processes together."""
    started = [
        subprocess.Popen([sys.executable, "-c", CLIENT, server.url, run, str(SECONDS), str(i)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=CLEAN)
        for i in range(count)
    ]
    for process in started:
        assert process.stdout.readline().strip() == "ready"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(int(process.communicate()[0]) for process in started) / SECONDS


def measure(make):
    folder = Path(tempfile.mkdtemp(prefix="serin-bench-"))
    start = time.perf_counter()
    server = make(folder)
    figures = {"start to healthy, s": time.perf_counter() - start}
    time.sleep(2)
    figures["idle RSS, MiB"] = memory(server.process.pid)
    try:
        raw = Raw(server.port)
        new_run = lambda: json.loads(raw.call("POST", "runs/create", {"experiment_id": "0", "start_time": 1}))["run"]["info"]["run_id"]
        run, n = new_run(), iter(range(10**9))
        metric = lambda key: {"run_id": run, "key": key, "value": 0.5, "timestamp": 1, "step": next(n)}
        figures["raw log-metric, 1 connection, /s"], figures["  p50, ms"], figures["  p99, ms"] = timed(lambda: raw.call("POST", "runs/log-metric", metric("m")))

        def writer(i):
            mine = Raw(server.port)
            return lambda: mine.call("POST", "runs/log-metric", metric(f"m{i}"))

        figures["raw log-metric, 32 connections, /s"], _, figures["  p99 of 32, ms"] = together(32, writer)
        batch = lambda size: {"run_id": run, "metrics": [{"key": f"k{i % 20}", "value": 0.5, "timestamp": 1, "step": next(n)} for i in range(size)]}
        rate, figures["raw log-batch(100) p50, ms"], figures["raw log-batch(100) p95, ms"] = timed(lambda: raw.call("POST", "runs/log-batch", batch(100)))
        figures["raw log-batch(100), metrics/s"] = rate * 100
        rate, figures["raw log-batch(1000) p50, ms"], _ = timed(lambda: raw.call("POST", "runs/log-batch", batch(1000)))
        figures["raw log-batch(1000), metrics/s"] = rate * 1000
        figures["raw get-run, /s"], figures["raw get-run p50, ms"], figures["raw get-run p99, ms"] = timed(lambda: raw.call("GET", f"runs/get?run_id={run}"))
        for i in range(100):
            other = new_run()
            raw.call("POST", "runs/log-batch", {"run_id": other, "metrics": [{"key": f"k{j}", "value": i / 7, "timestamp": 1} for j in range(20)], "params": [{"key": f"p{j}", "value": "x"} for j in range(10)]})
        search = {"experiment_ids": ["0"], "filter": "metrics.k1 > 1", "order_by": ["metrics.k2 DESC"], "max_results": 100}
        figures["raw search_runs(100), /s"], figures["raw search_runs(100) p50, ms"], _ = timed(lambda: raw.call("POST", "runs/search", search))
        figures["Python client log_metric, 1 client, /s"] = clients(server, run, 1)
        figures["Python client log_metric, 8 clients, /s"] = clients(server, run, 8)
        figures["RSS after, MiB"] = memory(server.process.pid)
    finally:
        server.stop()
    return figures


def main():
    print(f"binary: {SERIN}; {SECONDS:g} s a figure")
    makes = {
        "serin": serin_server,
        "mlflow, 1 worker": lambda folder: mlflow_server(folder, f"sqlite:///{folder}/mlflow.db"),
        "mlflow, 4 workers": lambda folder: mlflow_server(folder, f"sqlite:///{folder}/mlflow.db", workers=4),
    }
    if len(sys.argv) > 1:
        makes = {name: make for name, make in makes.items() if name in sys.argv[1:]}
    found = {name: measure(make) for name, make in makes.items()}
    print(f"{'':<44}" + "".join(f"{name:>20}" for name in found) + (f"{'serin : best other':>20}" if len(found) > 1 else ""))
    for figure in found["serin"]:
        values = [f[figure] for f in found.values()]
        line = f"{figure:<44}" + "".join(f"{value:>20,.2f}" for value in values)
        if len(values) > 1:
            rate = "/s" in figure
            best = (max if rate else min)(values[1:])
            line += f"{values[0] / best if rate else best / values[0]:>19,.1f}x"
        print(line)


if __name__ == "__main__":
    main()
