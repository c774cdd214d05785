"""MLflow's clients and servers against serin's tracking server, both ways round."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import pytest
import story
import wire
from servers import CLEAN, PYTHON_2X, SERIN, free_port, mlflow_server, running, serin_server

HERE = Path(__file__).parent


def told(uri: str, python: str = sys.executable) -> dict:
    """The story as a process of its own tells it: MLflow keeps its state in globals."""
    done = subprocess.run([python, str(HERE / "story.py"), uri], capture_output=True, text=True, env=CLEAN, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout[done.stdout.index("STORY") + 5 :])


@pytest.fixture(scope="session")
def reference(real):
    return told(real.url)


@pytest.mark.parametrize("server", ["ours", "ours_on_postgres"])
def test_recorded_traffic_gets_the_recorded_answers(server, tmp_path, postgres):
    options = [] if server == "ours" else ["--backend-store-uri", postgres.database()]
    with running(serin_server(tmp_path, *options)) as fresh:
        replay, differing, alike = wire.Replay("127.0.0.1", fresh.port), {}, 0
        for record in wire.records():
            hard, _ = replay.compare(record)
            alike += not hard
            if hard:
                differing.setdefault(record["label"], hard)
    unexpected = {label: lines for label, lines in differing.items() if label not in wire.DEVIATIONS}
    assert not unexpected, json.dumps(unexpected, indent=1)
    assert set(differing) == set(wire.DEVIATIONS), "a deviation that is none is struck off the list"
    print(f"\n{server}: {alike} recorded requests answered alike, {len(differing)} on purpose otherwise")


@pytest.mark.parametrize("server", ["ours", "ours_on_postgres"])
def test_the_client_tells_the_same_story_on_both_servers(server, reference, request):
    got = told(request.getfixturevalue(server).url)
    differing = {key: (got.get(key), reference[key]) for key in reference if got.get(key) != reference[key]}
    assert not differing, json.dumps(differing, indent=1)


@pytest.mark.skipif(not PYTHON_2X, reason="no MLflow 2.x environment (conformance/run.sh makes one)")
def test_a_client_of_mlflow_2_tells_its_story(tmp_path):
    with running(mlflow_server(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", PYTHON_2X)) as old:
        reference = told(old.url, PYTHON_2X)
    with running(serin_server(tmp_path)) as new:
        got = told(new.url, PYTHON_2X)
    differing = {key: (got.get(key), reference[key]) for key in reference if got.get(key) != reference[key]}
    assert not differing, json.dumps(differing, indent=1)


def mlflow_cli(server, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", *arguments], capture_output=True, text=True, env={**CLEAN, "MLFLOW_TRACKING_URI": server.url}, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_mlflows_command_line(ours, tmp_path):
    mlflow_cli(ours, "experiments", "create", "-n", "cli")
    assert "cli" in mlflow_cli(ours, "experiments", "search")
    run = post(ours, "runs/create", {"experiment_id": "0", "run_name": "by-hand"})["run"]["info"]["run_id"]
    assert "by-hand" in mlflow_cli(ours, "runs", "list", "--experiment-id", "0")
    (tmp_path / "x.txt").write_text("content")
    mlflow_cli(ours, "artifacts", "log-artifact", "--local-file", str(tmp_path / "x.txt"), "--run-id", run)
    assert "x.txt" in mlflow_cli(ours, "artifacts", "list", "--run-id", run)
    mlflow_cli(ours, "artifacts", "download", "--run-id", run, "-a", "x.txt", "-d", str(tmp_path / "down"))
    assert (tmp_path / "down" / "x.txt").read_text() == "content"


def call(server, method, path, body=None, headers=None):
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.url}{path}", data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read()


def post(server, path, body):
    return json.loads(call(server, "POST", f"/api/2.0/mlflow/{path}", body))


def get(server, path):
    return json.loads(call(server, "GET", f"/api/2.0/mlflow/{path}"))


def test_a_database_made_by_serin_opens_in_mlflow(tmp_path, postgres):
    for database in [f"sqlite:///{tmp_path}/serin.db", postgres.database()]:
        with running(serin_server(tmp_path, "--backend-store-uri", database)) as server:
            run = post(server, "runs/create", {"experiment_id": "0", "run_name": "made-by-serin"})["run"]["info"]["run_id"]
            post(server, "runs/log-metric", {"run_id": run, "key": "auc", "value": 0.75, "timestamp": 1})
            post(server, "registered-models/create", {"name": "made-by-serin"})
            before = get(server, f"runs/get?run_id={run}")
        with running(mlflow_server(tmp_path, database)) as server:
            assert get(server, f"runs/get?run_id={run}")["run"]["data"] == before["run"]["data"]
            post(server, "runs/log-metric", {"run_id": run, "key": "auc", "value": 0.8, "timestamp": 2, "step": 1})
            found = post(server, "runs/search", {"experiment_ids": ["0"], "filter": "metrics.auc > 0.7"})
            assert [r["info"]["run_name"] for r in found["runs"]] == ["made-by-serin"]
            assert get(server, "registered-models/get?name=made-by-serin")["registered_model"]["name"] == "made-by-serin"


def test_a_database_made_by_mlflow_is_used_in_place(tmp_path, postgres):
    for database in [f"sqlite:///{tmp_path}/mlflow.db", postgres.database()]:
        with running(mlflow_server(tmp_path, database)) as server:
            run = post(server, "runs/create", {"experiment_id": "0", "run_name": "made-by-mlflow"})["run"]["info"]["run_id"]
            post(server, "runs/log-batch", {"run_id": run, "metrics": [{"key": "auc", "value": 0.7, "timestamp": 1}], "params": [{"key": "p", "value": "v"}]})
            before = get(server, f"runs/get?run_id={run}")
        options = ["--backend-store-uri", database, "--artifacts-destination", str(tmp_path / "artifacts")]
        with running(serin_server(tmp_path, *options)) as server:
            replay = wire.Replay("127.0.0.1", server.port)
            assert not replay.same(before, get(server, f"runs/get?run_id={run}"))
            post(server, "runs/log-metric", {"run_id": run, "key": "auc", "value": 0.9, "timestamp": 2, "step": 1})
            post(server, "runs/create", {"experiment_id": "0", "run_name": "by-serin"})
        with running(mlflow_server(tmp_path, database)) as server:
            assert get(server, f"runs/get?run_id={run}")["run"]["data"]["metrics"][0]["value"] == 0.9
            assert len(post(server, "runs/search", {"experiment_ids": ["0"]})["runs"]) == 2


FEATURES = "TX_AMOUNT,TX_DURING_NIGHT,CUSTOMER_ID_NB_TX_7DAY_WINDOW,TERMINAL_ID_RISK_7DAY_WINDOW"


@pytest.fixture(scope="session")
def payments(tmp_path_factory):
    data = tmp_path_factory.mktemp("payments") / "payments.parquet"
    subprocess.run([SERIN, "simulate", "--out", str(data), "--customers", "400", "--terminals", "800", "--days", "40"], check=True, env=CLEAN, capture_output=True)
    return data


def train(server, payments, folder, *more):
    done = subprocess.run(
        [SERIN, "train", str(payments), "--label", "TX_FRAUD", "--time", "TX_DATETIME", "--features", FEATURES, "--rounds", "10", "--json",
         "--tracking-uri", server.url, "--state", str(folder / "client"), "--stage", "Production", "--alias", "champion", *more],
        capture_output=True, text=True, env=CLEAN,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def predict(port):
    body = json.dumps({"data": [[57.0, 0, 3, 0.1], [500.0, 1, 3, 0.9]]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"})
    return json.loads(urllib.request.urlopen(request, timeout=10).read())["predictions"]


@pytest.mark.parametrize("kind", ["mlflow 3", "mlflow 2", "serin"])
def test_train_and_serve_with_a_tracking_server_that_goes_away(kind, tmp_path, payments):
    import mlflow

    if kind == "mlflow 2" and not PYTHON_2X:
        pytest.skip("no MLflow 2.x environment (conformance/run.sh makes one)")
    if kind == "serin":
        server = serin_server(tmp_path)
    else:
        server = mlflow_server(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", sys.executable if kind == "mlflow 3" else PYTHON_2X)
    with running(server):
        first = train(server, payments, tmp_path)
        assert first["version"] == 1
        version = get(server, "registered-models/alias?name=fraud_detection&alias=champion")["model_version"]
        assert (version["version"], version["current_stage"], version["run_id"]) == ("1", "Production", first["run_id"])
        logged = get(server, f"runs/get?run_id={first['run_id']}")["run"]
        assert logged["info"]["status"] == "FINISHED" and "auc_roc" in {m["key"] for m in logged["data"]["metrics"]}
        for uri in ["models:/fraud_detection/Production", "models:/fraud_detection@champion", "models:/fraud_detection/1", f"runs:/{first['run_id']}/model"]:
            port = free_port()
            process = subprocess.Popen([SERIN, "serve", "-m", uri, "--tracking-uri", server.url, "--state", str(tmp_path / "serve"), "--port", str(port), "--poll", "0.2"],
                                       env=CLEAN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                wait_ready(port)
                assert predict(port) in ([0, 0], [0, 1], [1, 1])
                if uri.endswith("Production"):
                    train(server, payments, tmp_path, "--set", "max_depth=3")
                    wait_version(port, "2")
                    server.stop(signal.SIGKILL)
                    time.sleep(1)
                    assert len(predict(port)) == 2, "the loaded model keeps answering while the registry is away"
                    server.start()
            finally:
                process.terminate()
                process.wait()
        if kind != "mlflow 2":
            mlflow.set_tracking_uri(server.url)
            model = mlflow.pyfunc.load_model("models:/fraud_detection@champion")
            assert [c.name for c in model.metadata.signature.inputs] == FEATURES.split(",")


def wait_ready(port):
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2)
            return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.1)
    raise AssertionError("not ready")


def wait_version(port, version):
    for _ in range(300):
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2).read().decode()
        if f'version="{version}"' in text:
            return
        time.sleep(0.1)
    raise AssertionError(text)


def test_mlflow_serves_a_model_from_our_registry(ours, payments, tmp_path):
    train(ours, payments, tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/fraud_detection@champion", "--env-manager", "local", "-p", str(port), "-h", "127.0.0.1"]
    env = {**CLEAN, "MLFLOW_TRACKING_URI": ours.url, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2)
                break
            except OSError:
                time.sleep(0.2)
        body = json.dumps({"dataframe_split": {"columns": FEATURES.split(","), "data": [[57.0, 0, 3, 0.1]]}}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
        [score] = json.loads(urllib.request.urlopen(request, timeout=30).read())["predictions"]
        assert 0 < score < 1
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_ledger_tells_who_held_what(ours):
    post(ours, "registered-models/create", {"name": "told"})
    for _ in range(2):
        post(ours, "model-versions/create", {"name": "told", "source": "s3://b/k"})
    post(ours, "registered-models/alias", {"name": "told", "alias": "champion", "version": "1"})
    post(ours, "registered-models/alias", {"name": "told", "alias": "champion", "version": "2"})
    history = json.loads(call(ours, "GET", "/api/v1/models/told/history"))["history"]
    assert [(h["version"], h["change"], h["target"]) for h in history][:2] == [("2", "alias", "champion"), ("1", "alias", "champion")]
    page = json.loads(call(ours, "GET", "/api/v1/models/told/history?max_results=2"))
    assert len(page["history"]) == 2 and page["next_page_token"]
    with pytest.raises(urllib.error.HTTPError) as error:
        call(ours, "GET", "/api/v1/models/nobody/history")
    assert error.value.code == 404


FILL = """
import mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
mlflow.create_experiment("e")
mlflow.set_experiment("e")
with mlflow.start_run():
    mlflow.log_metric("m", 1.5)
    mlflow.log_param("p", 1)
client = mlflow.MlflowClient()
client.create_registered_model("r")
client.create_model_version("r", "s3://bucket/x")
client.set_registered_model_alias("r", "champion", 1)
print(mlflow.__version__)
"""


@pytest.mark.parametrize("version", ["3.10.1", "3.11.1", "3.12.0", "3.13.0", "3.14.0", "3.15.0", "3.16.0"])
def test_a_database_of_another_mlflow_is_used_as_it_is(version, tmp_path):
    # Beside the environment, which has all that it needs.
    packages = Path(sys.prefix) / f"mlflow-{version}"
    if not packages.exists():
        pinned = [f"{name}=={version}" for name in ("mlflow", "mlflow-skinny", "mlflow-tracing")]
        partial = packages.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--target", partial, *pinned], check=True)
        partial.rename(packages)
    database = f"sqlite:///{tmp_path}/m.db"
    done = subprocess.run([sys.executable, "-c", FILL, database], env={**CLEAN, "PYTHONPATH": str(packages)}, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split()[-1:] == [version], done.stderr[-3000:]
    head = list(sqlite3.connect(tmp_path / "m.db").execute("SELECT version_num FROM alembic_version"))
    with running(serin_server(tmp_path, "--backend-store-uri", database)) as server:
        client = mlflow.MlflowClient(server.url)
        run = client.search_runs([client.get_experiment_by_name("e").experiment_id], "metrics.m > 1 and params.p = '1'")[0]
        client.log_metric(run.info.run_id, "m", 2.5, step=1)
        assert client.get_run(run.info.run_id).data.metrics == {"m": 2.5}
        assert client.get_model_version_by_alias("r", "champion").source == "s3://bucket/x"
        client.create_model_version("r", "s3://bucket/y")
    assert list(sqlite3.connect(tmp_path / "m.db").execute("SELECT version_num FROM alembic_version")) == head
    # And its MLflow goes on with it.
    go_on = f"import mlflow; mlflow.set_tracking_uri({database!r}); c = mlflow.MlflowClient(); print(len(c.search_model_versions()), c.get_metric_history({run.info.run_id!r}, 'm')[1].value)"
    done = subprocess.run([sys.executable, "-c", go_on], env={**CLEAN, "PYTHONPATH": str(packages)}, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1:] == ["2 2.5"], done.stderr[-3000:]
