"""Live rows beside the real Evidently: the same scores on the same rows, and its service shows our windows."""

import json
import os
import subprocess

import numpy as np
import pandas as pd
import pytest
from servers import CLEAN, Server, free_port, running
from test_monitoring import Shop, call, decide, looked_until, milliseconds, wait

ORACLE = os.environ["EVIDENTLY_PYTHON"]
QUIET = {**CLEAN, "DO_NOT_TRACK": "1", "ITERATIVE_DO_NOT_TRACK": "1"}


def package(shop):
    """Folder of version 1."""
    [found] = shop.state.rglob("reference.f32")
    return found.parent


def test_the_last_rows_score_as_evidently_scores_them(tmp_path):
    shop = Shop(tmp_path, train=("--alert-rate", "0.01", "--reference-rows", "5000"))
    exact = f"http://127.0.0.1:{shop.port}/v1/drift/exact"
    later = shop.between(30, 50)
    with running(shop.server):
        assert call(exact)[0] == 404
        decide(shop.port, later.head(40), shop.features)
        few = wait(lambda: (answer := call(exact))[0] == 200 and answer[1].get("rows") == 40 and answer[1])
        assert {json.dumps(column["certainty"]) for column in few["columns"]} == {json.dumps({"insufficient": 40, "need": 1000})}
        decide(shop.port, later.iloc[40:], shop.features)
        found = wait(lambda: (answer := call(exact)[1]).get("rows") == len(later) and answer)
        assert (found["reference_rows"], found["version"], found["semantics"]) == (5000, "1", "evidently-0.7.23")
        times = milliseconds(later.TX_DATETIME)
        assert (found["from"], found["until"]) == (times.min(), times.max())
        assert {column["certainty"] for column in found["columns"]} == {"exact"}

        # The same rows, given to Evidently: what was sent, as float32, and what the package holds.
        order = json.loads((package(shop) / "serin.json").read_text())["signature"]
        names = [column["name"] for column in order]
        reference = np.fromfile(package(shop) / "reference.f32", "<f4").reshape(-1, len(names) + 1)
        current = later[names].astype("float32")
        paths = [tmp_path / "reference.parquet", tmp_path / "current.parquet"]
        pd.DataFrame(reference[:, :-1], columns=names).astype("float64").to_parquet(paths[0])
        current.astype("float64").to_parquet(paths[1])
        wanted = {name: ["psi", "ks", "jensenshannon"] for name in names}
        theirs = json.loads(subprocess.run([ORACLE, "conformance/evidently_oracle.py", *map(str, paths), json.dumps(wanted)], capture_output=True, text=True, env=QUIET, check=True).stdout)
        preset = {metric["metric_name"]: metric["value"] for metric in theirs["preset"]["metrics"]}
        own = call(f"{exact}?format=evidently")[1]["metrics"]
        compared = [metric for metric in own if metric["config"].get("column") in names]
        assert len(compared) == len(names)
        for metric in compared:
            assert metric["value"] == pytest.approx(preset[metric["metric_name"]], rel=1e-9, abs=1e-12), metric
        for method in ["psi", "ks", "jensenshannon"]:
            scores = {column["column"]: column["score"] for column in call(f"{exact}?method={method}")[1]["columns"]}
            for name in names:
                assert scores[name] == pytest.approx(theirs["scores"][f"{name} {method}"], rel=1e-9, abs=1e-12), (name, method)

        # Of more rows than are kept the last ones stay.
        for number in range(2):
            decide(shop.port, later, shop.features, prefix=f"again-{number}-")
        kept = wait(lambda: (answer := call(exact)[1]).get("rows") == 50_000 and answer)
        assert kept["drifted_columns"] == found["drifted_columns"]
        for wrong, word in [("method=sigma", "no test"), ("threshold=-1", "threshold"), ("format=xml", "format"), ("name=nobody", "nobody")]:
            status, answer = call(f"{exact}?{wrong}")
            assert status in (404, 422) and word in json.dumps(answer), answer


def test_a_real_evidently_service_shows_the_windows(tmp_path):
    port = free_port()
    binary = os.path.join(os.path.dirname(ORACLE), "evidently")
    service = Server([binary, "ui", "--workspace", str(tmp_path / "workspace"), "--host", "127.0.0.1", "--port", str(port)], port, tmp_path, env=QUIET, health="/api/version")
    address = f"http://127.0.0.1:{port}"
    with running(service):
        status, project = call(f"{address}/api/v2/projects/", {"name": "payments"})
        assert status < 300, project
        project = project if isinstance(project, str) else project["id"]
        config = tmp_path / "serin.toml"
        config.write_text(f'[monitoring]\nclock = "events"\nevery_seconds = 0.2\nmin_decisions = 200\n[evidently]\nurl = "{address}"\nproject = "{project}"\nevery_hours = 6\n')
        shop = Shop(tmp_path / "shop", up=("--config", str(config)), serving=("--monitor-every", "0.3"))
        with running(shop.server):
            decide(shop.port, shop.between(30, 31), shop.features)
            wait(lambda: call(f"{shop.control}/v1/drift?name=fraud_detection")[0] == 200)
            wait(lambda: looked_until(shop) >= milliseconds(shop.between(30, 31).TX_DATETIME).max() // 3_600_000 * 3_600_000)
            decide(shop.port, shop.between(31, 33), shop.features, prefix="b-")
            snapshots = wait(lambda: (answer := call(f"{address}/api/projects/{project}/snapshots")[1]) and len(answer) >= 3 and answer)
            assert {snapshot["metadata"]["model"] for snapshot in snapshots} == {"fraud_detection"}
            series = call(
                f"{address}/api/v2/snapshots/{project}/data_series_batch",
                {"series_filter": [{"tags": [], "metadata": {}, "metric": "evidently:metric_v2:ValueDrift", "metric_labels": {"column": "TX_AMOUNT"}}]},
            )[1]
            assert series["series"] and all(0 <= value < 5 for one in series["series"] for value in one["values"] if value is not None)
            # The last window there is the one that we answer for the same hours.
            shown = max(snapshots, key=lambda snapshot: snapshot["timestamp"])
            stored = call(f"{address}/api/projects/{project}/{shown['id']}/download?report_format=json")[1]
            theirs = {metric["config"]["column"]: metric["value"] for metric in stored["metrics"] if metric["config"]["type"].endswith("ValueDrift")}
            at = milliseconds(pd.Timestamp(shown["timestamp"]).tz_localize(None))
            ours = call(f"{shop.control}/v1/drift?name=fraud_detection&until={at}")[1]
            assert {watch["name"] for watch in ours["drift"]} >= set(theirs) and len(theirs) > 10
            assert {watch["name"]: watch["value"] for watch in ours["drift"] if watch["name"] in theirs} == pytest.approx(theirs)
