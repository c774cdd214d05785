"""serin's tracking server on its bad days: hostile paths, strangers, crashes, big files, the trash."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from base64 import b64encode
from pathlib import Path

import pytest
from bench.tracking import memory
from servers import CLEAN, SERIN, running, serin_server
from test_tracking import call, get, post


def answer(server, method, path, body=None, headers=None):
    """(status, headers, body); the path goes out as it is written."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    data = json.dumps(body) if isinstance(body, dict) else body
    connection.putrequest(method, path, skip_host="Host" in (headers or {}))
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        connection.putheader(name, value)
    if data is not None:
        connection.putheader("Content-Length", str(len(data)))
    # A body that is refused for its length is answered before it is all sent, and the server closes: the answer is there to be read.
    with contextlib.suppress(BrokenPipeError):
        connection.endheaders(data.encode() if isinstance(data, str) else data)
    response = connection.getresponse()
    return response.status, dict(response.getheaders()), response.read()


def new_run(server, headers=None):
    return json.loads(answer(server, "POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "0"}, headers)[2])["run"]["info"]["run_id"]


ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(serin_server(tmp_path_factory.mktemp("server"))) as started:
        yield started


@pytest.mark.parametrize("path", [
    "../../etc/passwd", "..%2F..%2Fetc%2Fpasswd", "%2e%2e/%2e%2e/etc/passwd", "%252e%252e/x", "%25252e%25252e/x", "a/%2e%2e/%2e%2e/b",
    "a%5C..%5Cb", "a\\..\\b", "/etc/passwd", "%2Fetc%2Fpasswd", "a%00b", "a%0d%0aX-Evil:%201", "a%23b", "./a", "a//b",
])
def test_no_spelling_of_a_path_leaves_the_root(server, path):
    for method in ["GET", "PUT", "DELETE"]:
        status, headers, body = answer(server, method, f"{ARTIFACTS}/{path}", "x" if method == "PUT" else None)
        assert status in (400, 404), (method, path, status, body)
        assert "X-Evil" not in headers and b"root:" not in body
    assert answer(server, "GET", f"{ARTIFACTS}?path={path}")[0] in (200, 400)
    assert b"root:" not in answer(server, "GET", f"/get-artifact?run_id={new_run(server)}&path={path}")[2]


def test_a_link_among_the_artifacts_leads_nowhere(server):
    run = new_run(server)
    root = server.log.parent / "state" / "artifacts" / "0" / run / "artifacts"
    root.mkdir(parents=True)
    (root / "plain.txt").write_text("fine")
    os.symlink("/etc/passwd", root / "link.txt")
    os.symlink("/etc", root / "folder")
    assert answer(server, "GET", f"{ARTIFACTS}/0/{run}/artifacts/plain.txt")[2] == b"fine"
    for path in ["link.txt", "folder/passwd"]:
        status, _, body = answer(server, "GET", f"{ARTIFACTS}/0/{run}/artifacts/{path}")
        assert status == 400 and b"root:" not in body
    assert answer(server, "PUT", f"{ARTIFACTS}/0/{run}/artifacts/folder/new", "x")[0] == 400


@pytest.mark.parametrize("source", [
    "http://169.254.169.254/latest", "https://evil.example/x", "ftp://evil/x", "file:///etc", "/etc", "../x", "mlflow-artifacts:/../x", "javascript:alert(1)",
])
def test_a_source_or_location_makes_the_server_reach_nowhere(server, source):
    answer(server, "POST", "/api/2.0/mlflow/registered-models/create", {"name": "ssrf"})
    status, _, body = answer(server, "POST", "/api/2.0/mlflow/model-versions/create", {"name": "ssrf", "source": source, "run_id": new_run(server)})
    assert status == 400, body
    if not source.startswith(("/", "file:")):
        status, _, body = answer(server, "POST", "/api/2.0/mlflow/experiments/create", {"name": f"e-{source}", "artifact_location": source})
        assert status == 400, body
    # A location elsewhere is stored for clients and never opened by the server.
    made = json.loads(answer(server, "POST", "/api/2.0/mlflow/experiments/create", {"name": f"local {source}", "artifact_location": "/etc"})[2])
    run = post(server, "runs/create", {"experiment_id": made["experiment_id"]})["run"]["info"]["run_id"]
    assert answer(server, "GET", f"/api/2.0/mlflow/artifacts/list?run_id={run}")[0] == 400


def test_a_page_among_the_artifacts_is_handed_out_as_a_file(server):
    run = new_run(server)
    page = "<script>alert(1)</script>"
    for name in ["x.html", "x.svg", "n\"a'm e.html"]:
        quoted = name.replace('"', "%22").replace("'", "%27").replace(" ", "%20")
        assert answer(server, "PUT", f"{ARTIFACTS}/0/{run}/artifacts/{quoted}", page)[0] == 200
        for path in [f"{ARTIFACTS}/0/{run}/artifacts/{quoted}", f"/get-artifact?run_id={run}&path={quoted}"]:
            status, headers, body = answer(server, "GET", path)
            assert (status, body.decode()) == (200, page)
            assert headers["content-disposition"].startswith("attachment") and headers["x-content-type-options"] == "nosniff"
    assert "Set-Cookie" not in answer(server, "GET", f"{ARTIFACTS}/0/{run}/artifacts/x%0d%0aSet-Cookie:a=b")[1]


def test_strange_bodies_are_refused_without_harm(server):
    log_batch = "/api/2.0/mlflow/runs/log-batch"
    run = new_run(server)
    deep = "[" * 100_000 + "]" * 100_000
    for body, headers in [
        ("{", {}), ("[1]", {}), ("nul", {}), (deep, {}), ('{"run_id": "' + "x" * (33 << 20) + '"}', {}),
        # A compressed bomb is not unpacked, it is just not JSON.
        (b"\x1f\x8b\x08" + b"\0" * 1000, {"Content-Encoding": "gzip"}),
        ('{"run_id":"%s","metrics":[{"key":"a","value":1e999,"timestamp":1}]}' % run, {}),
        ('{"run_id":"%s","metrics":[{"key":"a","value":1,"timestamp":99999999999999999999}]}' % run, {}),
        ('{"run_id":"%s","params":[{"key":"a\\u0000","value":"x"}]}' % run, {}),
    ]:
        status, _, answered = answer(server, "POST", log_batch, body, headers)
        assert status == 400 and json.loads(answered)["error_code"] == "INVALID_PARAMETER_VALUE", (body[:50], status, answered[:200])
    assert answer(server, "GET", f"/api/2.0/mlflow/runs/get?run_id={run}")[0] == 200
    assert answer(server, "GET", "/api/2.0/mlflow/nothing")[0] == 404
    status, _, body = answer(server, "PUT", "/api/2.0/mlflow/runs/create", {})
    assert status == 405 and json.loads(body)["error_code"]


def test_errors_do_not_tell_sql_or_paths(server):
    status, _, body = answer(server, "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["0"], "filter": "params.`a' OR 1=1 --` = 'x'"})
    assert status == 200 and b"runs" not in body, "a key is a value, never SQL"
    for path in ["runs/get?run_id=x' OR '1'='1", "runs/get?run_id=" + "x" * 5000]:
        _, _, body = answer(server, "GET", f"/api/2.0/mlflow/{path.replace(' ', '%20')}")
        assert b"SELECT" not in body and b"sqlite" not in body.lower()


def test_an_upload_that_breaks_off_leaves_nothing(server):
    run = new_run(server)
    with socket.create_connection(("127.0.0.1", server.port)) as s:
        s.sendall(f"PUT {ARTIFACTS}/0/{run}/artifacts/half.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n".encode())
        s.sendall(b"x" * 20_000_000)
    time.sleep(0.5)
    assert "files" not in json.loads(answer(server, "GET", f"/api/2.0/mlflow/artifacts/list?run_id={run}")[2])
    assert answer(server, "GET", f"{ARTIFACTS}/0/{run}/artifacts/half.bin")[0] == 404
    left = lambda: [p for p in (server.log.parent / "state" / "artifacts" / "0" / run).rglob("*") if p.is_file()]
    # What was half written goes when the server hears that nothing more comes.
    end = time.monotonic() + 30
    while left():
        assert time.monotonic() < end, left()
        time.sleep(0.1)


def test_two_gigabytes_go_through_in_flat_memory(server):
    run, size, block = new_run(server), 2 << 30, b"\xa5" * (1 << 20)
    before = memory(server.process.pid)
    most = [before]
    done = threading.Event()

    def watch():
        while not done.wait(0.05):
            most.append(memory(server.process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        connection.putrequest("PUT", f"{ARTIFACTS}/0/{run}/artifacts/big.bin")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        for _ in range(size // len(block)):
            connection.send(block)
        assert connection.getresponse().status == 200
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        connection.request("GET", f"{ARTIFACTS}/0/{run}/artifacts/big.bin")
        response, got = connection.getresponse(), 0
        while chunk := response.read(1 << 20):
            assert chunk == block[: len(chunk)]
            got += len(chunk)
        assert got == size
    finally:
        done.set()
        watcher.join()
        call(server, "DELETE", f"{ARTIFACTS}/0/{run}")
    print(f"\n2 GiB up and down: RSS {before:.0f} MiB before, {max(most):.0f} MiB at most")
    assert max(most) - before < 100


def test_a_prefix_moves_everything(tmp_path):
    with running(serin_server(tmp_path, "--static-prefix", "/mlflow")) as server:
        assert answer(server, "GET", "/mlflow/api/2.0/mlflow/experiments/get?experiment_id=0")[0] == 200
        assert answer(server, "GET", "/mlflow/health")[0] == 200 == answer(server, "GET", "/health")[0]
        assert answer(server, "GET", "/api/2.0/mlflow/experiments/get?experiment_id=0")[0] == 404


def serin(folder, *arguments, **more):
    done = subprocess.run([SERIN, *arguments, "--state", str(folder / "state")], capture_output=True, text=True, env=CLEAN, **more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def basic(name, password):
    return {"Authorization": "Basic " + b64encode(f"{name}:{password}".encode()).decode()}


def test_strangers_are_refused_and_users_do_what_they_may(tmp_path):
    refused = subprocess.run([SERIN, "server", "--auth", "--state", str(tmp_path / "state"), "--port", "0"], capture_output=True, text=True, env=CLEAN)
    assert refused.returncode != 0 and "serin user add" in refused.stderr, "there is no default user"
    weak = subprocess.run([SERIN, "user", "add", "x", "--password-stdin", "--state", str(tmp_path / "state")], input="short\n", capture_output=True, text=True, env=CLEAN)
    assert weak.returncode != 0 and "12 characters" in weak.stderr
    serin(tmp_path, "user", "add", "root", "--admin", "--password-stdin", input="a long password\n")
    printed = serin(tmp_path, "user", "add", "ana", "--permission", "EDIT")
    serin(tmp_path, "user", "add", "eve", "--permission", "NO_PERMISSIONS")
    ana = basic("ana", printed.rsplit(" ", 1)[1])
    root, eve = basic("root", "a long password"), {"Authorization": "Bearer " + serin(tmp_path, "user", "token", "eve")}
    expired = {"Authorization": "Bearer " + serin(tmp_path, "user", "token", "eve", "--expires-in", "0m")}
    with running(serin_server(tmp_path, "--auth")) as server:
        create = "/api/2.0/mlflow/experiments/create"
        assert answer(server, "GET", "/health")[0] == 200
        for headers in [{}, basic("ana", "wrong"), basic("nobody", "x"), expired, {"Authorization": "Bearer serin_x"}, {"Authorization": "Digest x"}]:
            status, got, body = answer(server, "POST", create, {"name": "x"}, headers)
            assert status == 401 and got["www-authenticate"] == 'Basic realm="mlflow"', (headers, status, body)
        made = json.loads(answer(server, "POST", create, {"name": "anas"}, ana)[2])["experiment_id"]
        run = json.loads(answer(server, "POST", "/api/2.0/mlflow/runs/create", {"experiment_id": made}, ana)[2])["run"]["info"]["run_id"]
        file = f"{ARTIFACTS}/{made}/{run}/artifacts/a.txt"
        assert answer(server, "PUT", file, "secret", ana)[0] == 200
        metric = {"run_id": run, "key": "m", "value": 1, "timestamp": 1}
        assert answer(server, "POST", "/api/2.0/mlflow/registered-models/create", {"name": "anas"}, ana)[0] == 200
        denied = [
            ("GET", f"/api/2.0/mlflow/runs/get?run_id={run}", None), ("GET", f"/api/2.0/mlflow/runs/get?run_uuid={run}", None),
            ("POST", "/api/2.0/mlflow/runs/log-metric", metric), ("GET", file, None), ("PUT", file, "x"), ("DELETE", file, None),
            ("GET", f"/get-artifact?run_id={run}&path=a.txt", None), ("GET", f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run}", None),
            ("POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": [made]}), ("GET", "/api/2.0/mlflow/registered-models/get?name=anas", None),
            ("POST", "/api/2.0/mlflow/model-versions/create", {"name": "anas", "source": f"runs:/{run}/m", "run_id": run}),
            ("GET", "/api/v1/models/anas/history", None), ("POST", create, {"name": "eves"}), ("GET", ARTIFACTS, None), ("POST", "/api/2.0/mlflow/unknown", {}),
            ("GET", f"/api/2.0/mlflow/metrics/get-history-bulk?run_id={run}&metric_key=m", None),
            ("POST", "/api/2.0/mlflow/experiments/delete", {"experiment_id": made}), ("GET", f"{ARTIFACTS}?path={made}", None),
            ("POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run}&path=x", "x"),
        ]
        for method, path, body in denied:
            assert answer(server, method, path, body, eve)[0] == 403, (method, path)
            assert answer(server, method, path, body)[0] == 401, (method, path)
        assert b"anas" not in answer(server, "POST", "/api/2.0/mlflow/experiments/search", {"max_results": 10}, eve)[2]
        assert b"anas" not in answer(server, "GET", "/api/2.0/mlflow/registered-models/search", None, eve)[2]
        serin(tmp_path, "user", "grant", "eve", "READ", "--experiment", "anas")
        time.sleep(31)
        assert answer(server, "GET", file, None, eve)[2] == b"secret"
        assert b"a.txt" in answer(server, "GET", f"{ARTIFACTS}?path={made}/{run}/artifacts", None, eve)[2]
        assert answer(server, "POST", "/api/2.0/mlflow/runs/log-metric", metric, eve)[0] == 403
        assert answer(server, "POST", "/api/2.0/mlflow/runs/log-metric", metric, ana)[0] == 200
        assert answer(server, "GET", ARTIFACTS, None, root)[0] == 200
        # The maker of an experiment may delete it, though EDIT is all they have elsewhere.
        assert answer(server, "POST", "/api/2.0/mlflow/experiments/delete", {"experiment_id": "0"}, ana)[0] == 403
        assert answer(server, "POST", "/api/2.0/mlflow/experiments/delete", {"experiment_id": made}, ana)[0] == 200
        history = json.loads(answer(server, "GET", "/api/v1/models/anas/history", None, ana)[2])["history"]
        assert history[0]["actor"] == "ana"
        # The ordinary client, by its environment.
        script = "import mlflow; mlflow.set_experiment('by-client'); mlflow.start_run(); mlflow.log_metric('a', 1); mlflow.log_text('x', 'x.txt'); print(mlflow.artifacts.load_text(mlflow.get_artifact_uri('x.txt')))"
        name, password = "root", "a long password"
        env = {**CLEAN, "MLFLOW_TRACKING_URI": server.url, "MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": password}
        assert subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True).stdout.splitlines()[0] == "x"
        token = serin(tmp_path, "user", "token", "root")
        env = {**CLEAN, "MLFLOW_TRACKING_URI": server.url, "MLFLOW_TRACKING_TOKEN": token}
        assert subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True).returncode == 0


def test_the_trash_is_emptied_and_nothing_else(tmp_path):
    with running(serin_server(tmp_path)) as server:
        kept, gone = new_run(server), new_run(server)
        for run in (kept, gone):
            post(server, "runs/log-batch", {"run_id": run, "metrics": [{"key": "a", "value": 1, "timestamp": 1}], "params": [{"key": "p", "value": "v"}]})
            call(server, "PUT", f"{ARTIFACTS}/0/{run}/artifacts/a/b.txt", b"x")
        post(server, "runs/log-inputs", {"run_id": gone, "datasets": [{"dataset": {"name": "d", "digest": "g", "source_type": "t", "source": "s"}, "tags": [{"key": "mlflow.data.context", "value": "train"}]}]})
        post(server, "runs/delete", {"run_id": gone})
        experiment = post(server, "experiments/create", {"name": "gone"})["experiment_id"]
        inside = post(server, "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
        model = post(server, "logged-models", {"experiment_id": experiment, "name": "m", "source_run_id": inside})["model"]["info"]["model_id"]
        call(server, "DELETE", f"/api/2.0/mlflow/logged-models/{model}")
        post(server, "experiments/delete", {"experiment_id": experiment})
        assert serin(tmp_path, "db", "gc", "--dry-run", "--older-than", "1d") == "would remove 0 runs, 0 logged models, 0 experiments"
        assert serin(tmp_path, "db", "gc", "--dry-run", "--older-than", "0d").startswith("would remove 2 runs, 1 logged models")
        assert serin(tmp_path, "db", "gc", "--older-than", "0d") == "removed 2 runs, 1 logged models, 1 experiments"
        with pytest.raises(urllib.error.HTTPError):
            get(server, f"runs/get?run_id={gone}")
        assert get(server, f"runs/get?run_id={kept}")["run"]["data"]["params"]
        root = tmp_path / "state" / "artifacts" / "0"
        assert (root / kept / "artifacts" / "a" / "b.txt").exists() and not (root / gone).exists()
        assert post(server, "experiments/create", {"name": "gone"}), "the name is free again"
        assert serin(tmp_path, "db", "check") == "no damage found"
        serin(tmp_path, "db", "backup", "--out", str(tmp_path / "copy.db"))
    with running(serin_server(tmp_path, "--backend-store-uri", f"sqlite:///{tmp_path}/copy.db")) as copy:
        assert get(copy, f"runs/get?run_id={kept}")["run"]["data"]["params"]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_killed_server_has_kept_what_it_acknowledged(database, tmp_path, postgres):
    options = [] if database == "sqlite" else ["--backend-store-uri", postgres.database()]
    server = serin_server(tmp_path, *options)
    with running(server):
        runs = [new_run(server) for _ in range(32)]
        acknowledged = [[] for _ in runs]
        versions = [[] for _ in runs]
        post(server, "registered-models/create", {"name": "m"})

        def writer(i):
            step = 0
            while True:
                batch = {"run_id": runs[i], "metrics": [{"key": f"k{j}", "value": step, "timestamp": 1, "step": step} for j in range(5)], "params": [{"key": f"p{step}", "value": "v"}]}
                try:
                    post(server, "runs/log-batch", batch)
                    acknowledged[i].append(step)
                    if step % 10 == 0:
                        versions[i].append(post(server, "model-versions/create", {"name": "m", "source": "s3://b/k"})["model_version"]["version"])
                except OSError:
                    return
                step += 1

        for kill in range(3):
            threads = [threading.Thread(target=writer, args=(i,)) for i in range(32)]
            [t.start() for t in threads]
            time.sleep(1.5)
            server.stop(signal.SIGKILL)
            [t.join() for t in threads]
            server.start()
            for i, run in enumerate(runs):
                params = {p["key"] for p in get(server, f"runs/get?run_id={run}")["run"]["data"]["params"]}
                assert {f"p{step}" for step in acknowledged[i]} <= params
                for j in range(5):
                    steps = {m["step"] for m in get(server, f"metrics/get-history?run_id={run}&metric_key=k{j}").get("metrics", [])}
                    # A batch is whole: with its param come all of its metrics.
                    assert steps == {int(p[1:]) for p in params}
        assert sum(map(len, acknowledged)) > 300
        numbers = [n for per in versions for n in per]
        assert len(numbers) == len(set(numbers))
        stored = {v["version"] for v in get(server, "model-versions/search?max_results=200000")["model_versions"]}
        assert set(numbers) <= stored
    if database == "sqlite":
        assert serin(tmp_path, "db", "check") == "no damage found"
