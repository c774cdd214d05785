"""Artifacts in S3: moto's server (from PyPI) stands in for the bucket; boto3 and MLflow's client look at the same one."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import boto3
import pyarrow.parquet as pq
import pytest
from servers import CLEAN, SERIN, Server, free_port, running, serin_server
from test_server import answer, new_run
from test_tracking import FEATURES, payments, predict, train, wait_ready  # noqa: F401

BUCKET = "models"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    port, folder = free_port(), tmp_path_factory.mktemp("s3")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, env={**CLEAN, **KEYS}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=1)
            break
        except OSError:
            time.sleep(0.1)
    client = boto3.client("s3", endpoint_url=url, aws_access_key_id="test", aws_secret_access_key="secret", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    client.environment = {**KEYS, "MLFLOW_S3_ENDPOINT_URL": url}
    yield client
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def keys(s3):
    return sorted(entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []))


CLIENT = """
import mlflow, sys
from pathlib import Path
mlflow.set_experiment("s3")
with mlflow.start_run() as run:
    mlflow.log_text("hello", "a/b ü.txt")
    Path(sys.argv[1], "empty").write_bytes(b"")
    mlflow.log_artifact(str(Path(sys.argv[1], "empty")))
print(sorted(f.path for f in mlflow.MlflowClient().list_artifacts(run.info.run_id)))
print(mlflow.artifacts.load_text(run.info.artifact_uri + "/a/b ü.txt"))
"""


@pytest.mark.parametrize("mode", ["proxied", "direct"])
def test_the_client_writes_and_reads(mode, s3, tmp_path):
    prefix = f"s3://{BUCKET}/{mode}"
    options = ["--artifacts-destination", prefix] + (["--no-serve-artifacts"] if mode == "direct" else [])
    with running(serin_server(tmp_path, *options, env=s3.environment)) as server:
        # Only in direct mode does the client know of the bucket.
        env = {**CLEAN, "MLFLOW_TRACKING_URI": server.url, **(s3.environment if mode == "direct" else {})}
        done = subprocess.run([sys.executable, "-c", CLIENT, str(tmp_path)], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.splitlines()[-2:] == ["['a', 'empty']", "hello"]
        run = json.loads(answer(server, "POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["1"]})[2])["runs"][0]["info"]
        assert run["artifact_uri"].startswith("mlflow-artifacts:/1/" if mode == "proxied" else f"{prefix}/1/")
        assert f"{mode}/1/{run['run_id']}/artifacts/a/b ü.txt" in keys(s3)
        listed = json.loads(answer(server, "GET", f"/api/2.0/mlflow/artifacts/list?run_id={run['run_id']}")[2])["files"]
        assert [file["path"] for file in listed] == ["a", "empty"]


def test_a_large_file_goes_in_parts_and_a_broken_one_not_at_all(s3, tmp_path):
    with running(serin_server(tmp_path, "--artifacts-destination", f"s3://{BUCKET}/large", env=s3.environment)) as server:
        run = new_run(server)
        path = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts"
        content = bytes(range(256)) * (40 * 4096)
        assert answer(server, "PUT", f"{path}/big.bin", content)[0] == 200
        assert answer(server, "GET", f"{path}/big.bin")[2] == content
        assert "-" in s3.head_object(Bucket=BUCKET, Key=f"large/0/{run}/artifacts/big.bin")["ETag"], "it went in parts"
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            s.sendall(f"PUT {path}/half.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content[: 20 << 20])
        time.sleep(1)
        assert not [key for key in keys(s3) if "half" in key]
        # They go when the server hears that nothing more comes.
        end = time.monotonic() + 30
        while s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads"):
            assert time.monotonic() < end, "no parts are left to be paid for"
            time.sleep(0.2)
        answer(server, "POST", "/api/2.0/mlflow/runs/delete", {"run_id": run})
        done = subprocess.run([SERIN, "db", "gc", "--older-than", "0d", "--state", str(tmp_path / "state"), "--artifacts-destination", f"s3://{BUCKET}/large"],
                              env={**CLEAN, **s3.environment}, capture_output=True, text=True)
        assert done.stdout.startswith("removed 1 runs"), done.stderr
        assert not [key for key in keys(s3) if key.startswith("large/")]


PARTS = """
import mlflow, os, sys
mlflow.set_experiment("parts")
with mlflow.start_run() as run:
    mlflow.log_artifact(sys.argv[1], "deep")
got = mlflow.artifacts.download_artifacts(run.info.artifact_uri + "/deep/big.bin", dst_path=sys.argv[2])
assert open(got, "rb").read() == open(sys.argv[1], "rb").read()
print(run.info.run_id)
"""


def test_the_client_sends_parts_to_the_bucket_itself(s3, tmp_path):
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(13 << 20))
    with running(serin_server(tmp_path, "--artifacts-destination", f"s3://{BUCKET}/parts", env=s3.environment)) as server:
        info = json.loads(answer(server, "GET", "/api/3.0/mlflow/server-info")[2])
        assert info["multipart_uploads_enabled"] and info["multipart_downloads_enabled"]
        # No key of the bucket is the client's: what it does there, the server signed.
        env = {**CLEAN, "MLFLOW_TRACKING_URI": server.url, "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
               "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(6 << 20), "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 << 20)}
        done = subprocess.run([sys.executable, "-c", PARTS, str(big), str(tmp_path)], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        path = f"1/{done.stdout.split()[-1]}/artifacts/deep"
        assert s3.head_object(Bucket=BUCKET, Key=f"parts/{path}/big.bin")["ETag"].strip('"').endswith("-3"), "three parts"

        root = "/api/2.0/mlflow-artifacts"
        signed = json.loads(answer(server, "GET", f"{root}/presigned/{path}/big.bin")[2])
        with urllib.request.urlopen(signed["url"]) as got:
            assert signed["file_size"] == big.stat().st_size == int(got.headers["Content-Length"])
            assert "attachment" in got.headers["Content-Disposition"]
        assert answer(server, "GET", f"{root}/presigned/{path}/none")[0] == 404
        assert answer(server, "GET", f"{root}/presigned/1/..%2f..%2fetc")[0] == 400

        def begin(name, **fields):
            status, _, body = answer(server, "POST", f"{root}/mpu/create/{path}", {"path": name, **fields})
            return status, json.loads(body)

        assert begin("x", num_parts=0)[0] == begin("x", num_parts=10_001)[0] == begin("a/..", num_parts=1)[0] == 400
        status, started = begin("/tmp/late.bin", num_parts=2)
        assert status == 200 and [c["part_number"] for c in started["credentials"]] == [1, 2]
        end = {"path": "/tmp/late.bin", "upload_id": started["upload_id"]}
        for parts in [[], [{"part_number": 2, "etag": "x"}], [{"part_number": 1}]]:
            assert answer(server, "POST", f"{root}/mpu/complete/{path}", {**end, "parts": parts})[0] == 400
        assert answer(server, "POST", f"{root}/mpu/abort/{path}", end)[0] == 200
        assert not s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads")
        assert answer(server, "POST", f"{root}/mpu/abort/{path}", {**end, "upload_id": "gone"})[0] in (404, 500)


def test_urls_of_a_direct_store_are_signed(s3, tmp_path):
    options = ["--artifacts-destination", f"s3://{BUCKET}/urls", "--no-serve-artifacts"]
    with running(serin_server(tmp_path, *options, env=s3.environment)) as server:
        run, root = new_run(server), "/api/2.0/mlflow/artifacts"
        put = json.loads(answer(server, "POST", f"{root}/presigned-upload-url", {"run_id": run, "path": "a/b.txt"})[2])
        urllib.request.urlopen(urllib.request.Request(put["presigned_url"], data=b"hello", method="PUT", headers={"Content-Type": "text/plain", **put["headers"]})).read()
        got = json.loads(answer(server, "POST", f"{root}/presigned-download-url", {"run_id": run, "path": "a/b.txt", "expiration": 60})[2])
        assert urllib.request.urlopen(got["presigned_url"]).read() == b"hello" and got["file_size"] == 5
        for bad in [{"path": "x"}, {"run_id": run}, {"run_id": run, "path": "../x"}, {"run_id": run, "path": "x", "expiration": 0},
                    {"run_id": run, "path": "x", "model_id": "m-1"}]:
            assert answer(server, "POST", f"{root}/presigned-upload-url", bad)[0] == 400, bad
        assert answer(server, "POST", f"{root}/presigned-download-url", {"run_id": run, "path": "none"})[0] == 404


def test_a_store_that_is_away_is_said_plainly(s3, tmp_path):
    env = {**s3.environment, "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "AWS_MAX_ATTEMPTS": "1"}
    with running(serin_server(tmp_path, "--artifacts-destination", f"s3://{BUCKET}/away", env=env)) as server:
        run = new_run(server)
        status, _, body = answer(server, "PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/x", "x")
        assert status == 500 and b"secret" not in body and b"127.0.0.1" not in body
        assert b"127.0.0.1" in server.log.read_bytes() and b"secret" not in server.log.read_bytes()


@pytest.mark.parametrize("mode", ["proxied", "direct"])
def test_train_and_serve_from_the_bucket(mode, s3, tmp_path, payments, monkeypatch):  # noqa: F811
    for name, value in s3.environment.items():
        monkeypatch.setitem(CLEAN, name, value)
    options = ["--artifacts-destination", f"s3://{BUCKET}/trained-{mode}"] + (["--no-serve-artifacts"] if mode == "direct" else [])
    with running(serin_server(tmp_path, *options)) as server:
        train(server, payments, tmp_path)
        assert [key for key in keys(s3) if key.startswith(f"trained-{mode}/") and key.endswith("/model.ubj")]
        port = free_port()
        process = subprocess.Popen([SERIN, "serve", "-m", "models:/fraud_detection@champion", "--tracking-uri", server.url, "--state", str(tmp_path / "serve"), "--port", str(port)],
                                   env=CLEAN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_ready(port)
            assert len(predict(port)) == 2
        finally:
            process.terminate()
            process.wait()


def test_sealed_decisions_go_to_s3_as_parquet_and_an_erased_card_leaves_it(s3, payments, tmp_path):  # noqa: F811
    state = tmp_path / "state"
    done = subprocess.run([SERIN, "train", str(payments), "--label", "TX_FRAUD", "--time", "TX_DATETIME", "--features", FEATURES, "--rounds", "5", "--state", str(state), "--stage", "Production"],
                          capture_output=True, text=True, env=CLEAN)
    assert done.returncode == 0, done.stderr
    log, port = tmp_path / "log", free_port()
    command = [SERIN, "serve", "--state", str(state), "--decision-log", str(log), "--export-decisions", f"s3://{BUCKET}/decisions", "--port", str(port)]

    def decide(entity, count):
        transactions = [{"transaction_id": f"{entity}-{i}", "entity": entity, "features": {name: 1.0 for name in FEATURES.split(",")}} for i in range(count)]
        body = json.dumps({"transactions": transactions}).encode()
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/v1/decisions", body, {"Content-Type": "application/json"})).read()

    def rows(wanted):
        """Entities in the bucket, when they are what is waited for."""
        end = time.monotonic() + 40
        while time.monotonic() < end:
            found = []
            for key in keys(s3):
                if key.startswith("decisions/"):
                    table = pq.read_table(io.BytesIO(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()))
                    found += table["entity"].to_pylist()
            if sorted(found) == sorted(wanted):
                return True
            time.sleep(0.3)
        raise AssertionError((found, keys(s3)))

    server = Server(command, port, tmp_path, s3.environment)
    decide("ana", 3)
    decide("bob", 2)
    server.stop()  # Seals what it wrote; the next one finds it.
    with running(Server(command, port, tmp_path, s3.environment)) as server:
        assert rows(["ana"] * 3 + ["bob"] * 2)
        assert all(key.startswith("decisions/model=fraud_detection/version=1/hour=") for key in keys(s3) if key.startswith("decisions/"))
        decide("carl", 1)
        assert rows(["ana"] * 3 + ["bob"] * 2), "what is being written is not exported"
        done = subprocess.run([SERIN, "replay", "--erase-entity", "ana", "--decision-log", str(log)], capture_output=True, text=True, env=CLEAN)
        assert "removed 3 decisions" in done.stdout, done.stdout + done.stderr
        server.stop()
    with running(Server(command, port, tmp_path, s3.environment)):
        assert rows(["bob"] * 2 + ["carl"])
