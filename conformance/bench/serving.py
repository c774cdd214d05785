"""`make bench-serving`: serin's scoring server beside a FastAPI service, `mlflow models serve` and the limit.

One model for all, of 300 trees, depth 6, 30 features. A server is pinned to core 0 and the load to core 1, so a figure is a core's; the two-core rows
pin nothing. Throughput is closed loop (each connection sends when it has its answer); latency is open loop at half the throughput, counted from when a
request was due, so that a stall is charged to every request it delayed.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import xgboost

sys.path.insert(0, str(Path(__file__).parent.parent))
from servers import CLEAN, SERIN, free_port  # noqa: E402

SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
TOOL = str(Path(SERIN).parent / "examples" / "serving_bench")
FASTAPI = '''
import time
from fastapi import FastAPI
from pydantic import BaseModel
from xgboost import XGBClassifier
model = XGBClassifier(); model.load_model("{model}")
app = FastAPI()
class Body(BaseModel):
    data: list[list[float]]
@app.get("/")
def root(): return {{"status": "ok"}}
@app.post("/predict")
def predict(body: Body):
    start = time.time()
    predictions = model.predict(body.data).tolist()
    return {{"predictions": predictions, "latency": time.time() - start}}
'''


def make_model(folder):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(200_000, 30)).astype(np.float32)
    y = (x[:, 0] + x[:, 1] * x[:, 2] + 0.5 * rng.normal(size=200_000) > 3).astype(int)
    model = xgboost.XGBClassifier(n_estimators=300, max_depth=6, learning_rate=0.1, tree_method="hist")
    model.fit(x, y)
    model.save_model(folder / "model.ubj")
    bodies = {}
    for rows in (1, 100):
        bodies[rows] = folder / f"body-{rows}.json"
        bodies[rows].write_text(json.dumps({"data": [[round(float(v), 6) for v in row] for row in x[:rows]]}))
    bodies["named"] = folder / "named.json"
    bodies["named"].write_text(json.dumps({"records": [{f"f{i}": round(float(v), 6) for i, v in enumerate(x[0])}]}))
    return bodies


class Process:
    """A server, pinned or not; `cpu()` is the processor seconds of it and its children."""

    def __init__(self, command, port, cores, env=None, health="/"):
        pinned = ["taskset", "-c", cores] if cores else []
        start = time.perf_counter()
        self.port, self.process = port, subprocess.Popen([*pinned, *command], env={**CLEAN, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        while time.perf_counter() - start < 120:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{health}", timeout=1).read()
                break
            except (urllib.error.HTTPError, http.client.RemoteDisconnected):
                # It is there, and has another opinion of this request.
                break
            except OSError:
                assert self.process.poll() is None, command
                time.sleep(0.002)
        self.started = time.perf_counter() - start

    def pids(self):
        listed = subprocess.run(["ps", "-o", "pid=", "-g", str(os.getpgid(self.process.pid))], capture_output=True, text=True).stdout
        return [int(pid) for pid in listed.split()]

    def cpu(self):
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss(self):
        kib = [re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in self.pids()]
        return sum(int(found[1]) for found in kib if found) / 1024

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def load(port, path, body, connections, seconds=SECONDS, rate=None, cores="1"):
    pinned = ["taskset", "-c", cores] if cores else []
    command = [*pinned, TOOL, "load", f"127.0.0.1:{port}", path, str(body), str(connections), str(seconds)] + ([str(rate)] if rate else [])
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def measure(name, server, path, body, connections, cores="1"):
    load(server.port, path, body, connections, 1, cores=cores)
    before = server.cpu()
    closed = load(server.port, path, body, connections, cores=cores)
    cpu = (server.cpu() - before) / max(closed["requests"], 1) * 1e6
    opened = load(server.port, path, body, connections, rate=max(closed["rate"] / 2, 20), cores=cores)
    print(f"| {name} | {closed['rate']:,.0f} | {cpu:,.1f} | {opened['p50_us']:,.0f} | {opened['p99_us']:,.0f} |", flush=True)
    return closed["rate"]


def main():
    folder = Path(tempfile.mkdtemp(prefix="serin-serving-"))
    bodies = make_model(folder)
    model = folder / "model.ubj"
    (folder / "seed.py").write_text(FASTAPI.format(model=model))
    python = sys.executable
    mlflow_model = folder / "mlflow-model"
    subprocess.run([python, "-c", f"import mlflow, xgboost; m = xgboost.Booster(); m.load_model({str(model)!r}); mlflow.xgboost.save_model(m, {str(mlflow_model)!r})"],
                   env=CLEAN, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (folder / "split.json").write_text(json.dumps({"dataframe_split": {"columns": [f"f{i}" for i in range(30)], "data": json.loads(bodies[1].read_text())["data"]}}))

    def serin(cores, *options):
        port = free_port()
        return Process([SERIN, "serve", "-m", str(model), "--port", str(port), *options], port, cores)

    def fastapi(cores, workers):
        port = free_port()
        return Process([python, "-m", "uvicorn", "seed:app", "--port", str(port), "--workers", str(workers), "--log-level", "warning"], port, cores, {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": str(workers)})

    def limit(kind, cores):
        port = free_port()
        return Process([TOOL, kind, str(port)], port, cores)

    def mlflow(cores):
        port = free_port()
        return Process([python, "-m", "mlflow", "models", "serve", "-m", str(mlflow_model), "-p", str(port), "--env-manager", "local"], port, cores,
                       {"PATH": f"{Path(python).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}, "/ping")

    log = ["--decision-log", str(folder / "log"), "--threads", "1"]
    rates = {}
    head = "| server | requests/s | CPU µs/request | p50 µs at half load | p99 µs |\n|---|---|---|---|---|"
    for title, body, path in [("One row", bodies[1], "/predict"), ("100 rows", bodies[100], "/predict")]:
        print(f"\n### {title}, server on one core, 16 connections\n\n{head}", flush=True)
        for name, start in [("FastAPI + uvicorn", lambda: fastapi("0", 1)), ("minimal axum", lambda: limit("axum", "0")), ("minimal hyper", lambda: limit("hyper", "0")),
                            ("serin, decision log on", lambda: serin("0", *log)), ("serin, no decision log", lambda: serin("0", "--threads", "1"))]:
            server = start()
            try:
                rates[title, name] = measure(name, server, path, body, 16)
            finally:
                server.stop()
        mine = rates[title, "serin, decision log on"]
        print(", ".join(f"{mine / rates[title, other]:.2f}x {other}" for other in ["FastAPI + uvicorn", "minimal axum", "minimal hyper"]), flush=True)
    print(f"\n### Other forms, one row, one core\n\n{head}", flush=True)
    server = mlflow("0")
    measure("mlflow models serve, /invocations", server, "/invocations", folder / "split.json", 16)
    server.stop()
    server = serin("0", *log)
    measure("serin, /invocations, log on", server, "/invocations", folder / "split.json", 16)
    measure("serin, /predict by name, log on", server, "/predict", bodies["named"], 16)
    server.stop()
    print(f"\n### One row, nothing pinned, load on the same two cores, 32 connections\n\n{head}", flush=True)
    for name, start in [("FastAPI + uvicorn, 2 workers", lambda: fastapi("", 2)), ("minimal axum", lambda: limit("axum", "")), ("serin, decision log on", lambda: serin("", *log[:2]))]:
        server = start()
        try:
            measure(name, server, "/predict", bodies[1], 32, cores="")
        finally:
            server.stop()
    print("\n### Shadow: 5,000 requests/s, one row, nothing pinned, log on, in turns\n\n| candidates | p50 µs | p99 µs |\n|---|---|---|", flush=True)
    for candidates in (0, 10, 0, 10):
        server = serin("", *log[:2], *(["--shadow", str(model)] * candidates))
        load(server.port, "/predict", bodies[1], 8, 1, rate=5000, cores="")
        seen = load(server.port, "/predict", bodies[1], 8, rate=5000, cores="")
        print(f"| {candidates} | {seen['p50_us']:,.0f} | {seen['p99_us']:,.0f} |", flush=True)
        server.stop()
    server = serin("", "--threads", "2")
    print(f"\nserin: process start to first answer {server.started * 1e3:.0f} ms, idle {server.rss():.1f} MiB (the build with training)", flush=True)
    server.stop()
    segments = list((folder / "log").glob("*"))
    size = sum(file.stat().st_size for file in segments)
    print(f"decision log: {len(segments)} segments, {size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
