"""serin's scoring server as the tools of its protocols see it: `mlflow models serve`, a Triton client, a fuzzer of OpenAPI contracts."""

import json
import os
import signal
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.dataset
import pytest
import tritonclient.http as triton
from servers import CLEAN, SERIN, Server, free_port, running
from test_package import FEATURES, trained  # noqa: F401


def serving(folder, *command, env=None):
    """A scoring server; its last option is the port."""
    port = free_port()
    return Server([*command, str(port)], port, folder, env)


@pytest.fixture(scope="module")
def ours(trained, tmp_path_factory):  # noqa: F811
    folder = trained[0]
    log = tmp_path_factory.mktemp("log")
    with running(serving(log, SERIN, "serve", "--state", str(folder / "state"), "--decision-log", str(log / "decisions"), "--max-rows", "1000", "--port")) as server:
        yield f"127.0.0.1:{server.port}"


def post(address, path, body, kind="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}{path}", data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request) as got:
            return got.status, json.loads(got.read())
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text.startswith(b"{") else text


def bits(numbers):
    return [struct.pack("f", number) for number in numbers]


def test_invocations_answer_as_mlflow_models_serve(trained, ours, tmp_path):  # noqa: F811
    frame = trained[3][FEATURES].head(50).astype("float64")
    rows = frame.to_numpy().tolist()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(trained[2]), "--env-manager", "local", "-p"]
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with running(serving(tmp_path, *command, env=env)) as server:
        theirs = f"127.0.0.1:{server.port}"
        for kind, body in [
            ("application/json", {"dataframe_split": {"columns": FEATURES, "data": rows}}),
            ("application/json", {"dataframe_split": json.loads(frame.iloc[:, ::-1].to_json(orient="split"))}),
            ("application/json", {"dataframe_records": frame.to_dict(orient="records")}),
            ("application/json", {"inputs": frame.to_dict(orient="list")}),
            ("text/csv", frame.to_csv(index=False).encode()),
        ]:
            (status, mine), (their_status, reference) = post(ours, "/invocations", body, kind), post(theirs, "/invocations", body, kind)
            assert status == their_status == 200, (mine, reference)
            assert bits(mine["predictions"]) == bits(reference["predictions"]), "to the bit"
        for body in [{}, {"dataframe_split": {}}, {"dataframe_split": 1}, {"dataframe_split": {"columns": FEATURES[:2], "data": [[1, 2]]}},
                     {"instances": [[1]], "inputs": [[1]]}, {"other": 1}]:
            (status, mine), (their_status, reference) = post(ours, "/invocations", body), post(theirs, "/invocations", body)
            assert status == their_status == 400 and mine["error_code"] == reference["error_code"], (body, mine, reference)
        assert post(ours, "/invocations", b"{", "application/json")[0] == post(theirs, "/invocations", b"{", "application/json")[0] == 400
        assert post(ours, "/invocations", b"x", "text/plain")[0] == post(theirs, "/invocations", b"x", "text/plain")[0] == 415


def test_a_triton_client_infers(trained, ours):  # noqa: F811
    frame = trained[3][FEATURES].head(20).astype("float32")
    expected = post(ours, "/invocations", {"instances": frame.to_numpy().astype(float).tolist()})[1]["predictions"]
    client = triton.InferenceServerClient(ours)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("fraud_detection")
    assert client.is_model_ready("fraud_detection", "1") and not client.is_model_ready("nobody")
    described = client.get_model_metadata("fraud_detection")
    assert described["inputs"][0]["shape"] == [-1, len(FEATURES)] and [out["name"] for out in described["outputs"]] == ["score", "prediction", "model_version", "decision_id"]
    whole = triton.InferInput("features", list(frame.shape), "FP32")
    whole.set_data_from_numpy(frame.to_numpy(), binary_data=False)
    columns = []
    for name in FEATURES:
        columns.append(triton.InferInput(name, [len(frame)], "FP32"))
        columns[-1].set_data_from_numpy(frame[name].to_numpy(), binary_data=False)
    outputs = [triton.InferRequestedOutput(name, binary_data=False) for name in ("score", "prediction")]
    for inputs in ([whole], columns):
        got = client.infer("fraud_detection", inputs, outputs=outputs, request_id="r1")
        assert got.get_response()["id"] == "r1" and got.get_response()["model_version"] == "1"
        np.testing.assert_array_equal(got.as_numpy("score"), np.array(expected, dtype=np.float32))
        assert set(got.as_numpy("prediction")) <= {0, 1}
    with pytest.raises(triton.InferenceServerException, match="there is: fraud_detection"):
        client.infer("nobody", [whole])


def test_no_request_breaks_the_openapi_contract(ours, tmp_path):
    """Statuses, bodies and content types are those of the document, whatever is sent; and nothing answers 5xx."""
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", f"http://{ours}/openapi.json", "--max-examples", "40", "--seed", "7", "--phases", "examples,coverage,fuzzing",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance", "--no-color",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=CLEAN, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_decision_log_is_parquet_for_duckdb_and_pandas(trained, tmp_path):  # noqa: F811
    folder, log, out = trained[0], tmp_path / "log", tmp_path / "out"
    frame = trained[3][FEATURES].head(300).astype("float64")
    with running(serving(tmp_path, SERIN, "serve", "--state", str(folder / "state"), "--decision-log", str(log), "--port")) as server:
        transactions = [{"transaction_id": f"t{i}", "entity": f"card {i % 7}", "timestamp": 1_764_000_000_000 + i, "features": row}
                        for i, row in enumerate(frame.to_dict(orient="records"))]
        status, answer = post(f"127.0.0.1:{server.port}", "/v1/decisions", {"transactions": transactions, "explain": "all"})
        assert status == 200
        server.stop(signal.SIGKILL)
    # The server was killed: what it acknowledged is there, sealed or not.
    done = subprocess.run([SERIN, "export", "--out", str(out), "--reasons", "all", "--decision-log", str(log), "--state", str(folder / "state")], capture_output=True, text=True, env=CLEAN)
    assert done.returncode == 0 and done.stdout.startswith("300 decisions in "), done.stderr
    table = pyarrow.dataset.dataset(out, partitioning="hive").to_table().to_pandas().sort_values("timestamp")
    assert table["transaction_id"].tolist() == [f"t{i}" for i in range(300)]
    assert table["decision_id"].tolist() == [made["decision_id"] for made in answer["decisions"]]
    assert bits(table["score"]) == bits(made["score"] for made in answer["decisions"])
    reasons = [[reason["feature"] for reason in made["reasons"]] for made in answer["decisions"]]
    assert [list(names) for names in table["reasons"]] == reasons
    assert bits(table["reason_contributions"].iloc[0]) == bits(reason["contribution"] for reason in answer["decisions"][0]["reasons"])
    np.testing.assert_array_equal(table[FEATURES].to_numpy(), frame.to_numpy().astype(np.float32))
    assert str(table["timestamp"].dt.tz) == "UTC" and table["timestamp"].iloc[1] == pd.Timestamp(1_764_000_000_001, unit="ms", tz="UTC")
    assert set(table["model"]) == {"fraud_detection"} and (table["alert"] == (table["score"] >= table["threshold"])).all()
    found = duckdb.sql(f"SELECT version, count(*), sum(alert::int), count(DISTINCT entity) FROM read_parquet('{out}/**/*.parquet', hive_partitioning=true) GROUP BY 1").fetchall()
    assert found == [(1, 300, int(table["alert"].sum()), 7)]
    again = subprocess.run([SERIN, "export", "--out", str(out), "--decision-log", str(log), "--state", str(folder / "state")], capture_output=True, text=True, env=CLEAN)
    assert again.returncode == 0 and len(pyarrow.dataset.dataset(out, partitioning="hive").to_table()) == 300, "the same files again"
    none = subprocess.run([SERIN, "export", "--out", str(out), "--decision-log", str(log), "--until", "2020-01-01"], capture_output=True, text=True, env=CLEAN)
    assert none.returncode == 1 and "no decision in that time" in none.stderr
