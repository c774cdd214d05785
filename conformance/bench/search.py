"""`make bench-search`: searches over 100,000 runs of 20 metrics, on SQLite and PostgreSQL, serin and MLflow's own server on
the same database."""

import io
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from bench.tracking import Raw  # noqa: E402
from servers import Postgres, mlflow_server, running, serin_server  # noqa: E402

RUNS, METRICS = int(os.environ.get("BENCH_RUNS", "100000")), 20
QUERIES = {
    "newest 100": {},
    "one metric above, by another": {"filter": "metrics.m1 > 0.5", "order_by": ["metrics.m2 DESC"]},
    "metric and param, by metric": {"filter": "metrics.m1 > 0.9 AND params.p1 = 'v3'", "order_by": ["metrics.m3 ASC"]},
    "1 in 1,000 by metric, by another": {"filter": "metrics.m1 > 0.999", "order_by": ["metrics.m2 DESC"]},
    "three metrics, by the first": {"filter": "metrics.m1 > 0.5 AND metrics.m2 < 0.5 AND metrics.m3 > 0.2", "order_by": ["metrics.m1 DESC"]},
    "tag, newest": {"filter": "tags.team = 't7'"},
    "name": {"filter": "attributes.run_name = 'run-77777'"},
    "by param": {"filter": "metrics.m1 > 0.5", "order_by": ["params.p1 ASC"]},
    "page 50 by metric": {"order_by": ["metrics.m2 DESC"], "page_token": "eyJvZmZzZXQiOiA1MDAwfQ=="},
}


def rows():
    """(table, columns, rows) of everything."""
    rng = random.Random(7)
    ids = [f"{rng.getrandbits(128):032x}" for _ in range(RUNS)]
    columns = ["run_uuid", "name", "source_type", "source_name", "entry_point_name", "user_id", "status", "start_time", "source_version", "lifecycle_stage", "artifact_uri", "experiment_id"]
    yield "runs", columns, ((id, f"run-{i}", "UNKNOWN", "", "", "u", "FINISHED", 1_700_000_000_000 + i * 1000, "", "active", f"mlflow-artifacts:/0/{id}/artifacts", 0) for i, id in enumerate(ids))
    yield "latest_metrics", ["key", "value", "timestamp", "step", "is_nan", "run_uuid"], ((f"m{j}", rng.random(), 1, 0, False, id) for id in ids for j in range(METRICS))
    yield "params", ["key", "value", "run_uuid"], ((f"p{j}", f"v{rng.randrange(10)}", id) for id in ids for j in range(3))
    yield "tags", ["key", "value", "run_uuid"], (pair for i, id in enumerate(ids) for pair in [("mlflow.runName", f"run-{i}", id), ("team", f"t{i % 50}", id)])


def fill_sqlite(path):
    database = sqlite3.connect(path)
    for table, columns, values in rows():
        values = (tuple(int(v) if isinstance(v, bool) else v for v in row) for row in values)
        database.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})", values)
    database.commit()
    database.close()


def fill_postgres(url):
    import psycopg2

    database = psycopg2.connect(url.replace("+psycopg2", ""))
    with database.cursor() as cursor:
        for table, columns, values in rows():
            lines = io.StringIO("".join("\t".join(str(v) for v in row) + "\n" for row in values))
            cursor.copy_from(lines, table, columns=columns)
    database.commit()
    database.autocommit = True
    database.cursor().execute("VACUUM ANALYZE")
    database.close()


def measure(server, repeats):
    """p50 in ms and the runs found, by query; a query that takes over a minute is given up and has no runs."""
    raw, found = Raw(server.port), {}
    for name, query in QUERIES.items():
        body = {"experiment_ids": ["0"], "max_results": 100, **query}
        times = []
        try:
            for _ in range(repeats):
                start = time.perf_counter()
                answered = json.loads(raw.call("POST", "runs/search", body))
                times.append((time.perf_counter() - start) * 1e3)
        except TimeoutError:
            found[name] = (60_000.0, None)
            server.stop(signal.SIGKILL)
            server.start()
            raw = Raw(server.port)
            continue
        times.sort()
        found[name] = (times[len(times) // 2], [run["info"]["run_id"] for run in answered.get("runs", [])])
    return found


def main():
    folder = Path(tempfile.mkdtemp(prefix="serin-search-"))
    postgres = Postgres()
    try:
        for kind in ["SQLite", "PostgreSQL"]:
            url = f"sqlite:///{folder}/search.db" if kind == "SQLite" else postgres.database()
            with running(serin_server(folder, "--backend-store-uri", url)):
                pass
            fill_sqlite(folder / "search.db") if kind == "SQLite" else fill_postgres(url)
            with running(serin_server(folder, "--backend-store-uri", url)) as server:
                ours = measure(server, 21)
            theirs = None
            if "--alone" not in sys.argv:
                with running(mlflow_server(folder, url)) as server:
                    theirs = measure(server, 2)
            print(f"\n{kind}, {RUNS:,} runs x {METRICS} metrics, 100 results a page, p50 in ms of the whole request")
            for name, (ms, ids) in ours.items():
                line = f"  {name:<36}{ms:>10.1f}"
                if theirs:
                    other, their_ids = theirs[name]
                    same = "gave up" if their_ids is None else "same runs" if ids == their_ids else "OTHER RUNS"
                    line += f"{other:>12.1f}{other / ms:>8.0f}x  {same}"
                print(line, flush=True)
    finally:
        postgres.stop()


if __name__ == "__main__":
    main()
