"""Below the protocols: gRPC, TLS, keys, and crowds of slow clients."""

import http.client
import json
import os
import resource
import socket
import ssl
import threading
import time
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import trustme
from servers import SERIN, running
from test_package import FEATURES, trained  # noqa: F401
from test_serving import ours, post, serving  # noqa: F401
from tritonclient.grpc import service_pb2
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub


def expected(address, frame):
    answer = post(address, "/invocations", {"instances": frame.to_numpy().astype(float).tolist()})[1]
    return np.array(answer["predictions"], dtype=np.float32)


def matrix(frame):
    whole = triton.InferInput("features", list(frame.shape), "FP32")
    whole.set_data_from_numpy(frame.to_numpy())
    return whole


def test_a_triton_client_infers_over_grpc(trained, ours):  # noqa: F811
    frame = trained[3][FEATURES].head(700).astype("float32")
    client = triton.InferenceServerClient(ours)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("fraud_detection", "1")
    assert client.get_server_metadata().name == "serin"
    described = client.get_model_metadata("fraud_detection", as_json=True)
    assert described["inputs"][0]["shape"] == ["-1", str(len(FEATURES))] and [out["name"] for out in described["outputs"]] == ["score", "prediction", "model_version", "decision_id"]
    columns = []
    for name in FEATURES:
        # Each in another type that holds it.
        values = frame[name].to_numpy()
        whole = name in ("TX_DURING_WEEKEND", "TX_DURING_NIGHT")
        columns.append(triton.InferInput(name, [len(frame)], "INT32" if whole else "FP64"))
        columns[-1].set_data_from_numpy(values.astype(np.int32 if whole else np.float64))
    outputs = [triton.InferRequestedOutput(name) for name in ("score", "prediction")]
    for inputs in ([matrix(frame)], columns):
        got = client.infer("fraud_detection", inputs, outputs=outputs, request_id="r1")
        assert got.get_response().id == "r1" and got.get_response().model_version == "1"
        np.testing.assert_array_equal(got.as_numpy("score"), expected(ours, frame))
        assert set(got.as_numpy("prediction")) <= {0, 1}
    # Values in the message instead of beside it; the answer comes in the same form.
    typed = service_pb2.ModelInferRequest(model_name="fraud_detection", inputs=[
        {"name": "features", "datatype": "FP32", "shape": list(frame.shape), "contents": {"fp32_contents": frame.to_numpy().ravel().tolist()}}])
    answer = GRPCInferenceServiceStub(grpc.insecure_channel(ours)).ModelInfer(typed)
    np.testing.assert_array_equal(np.array(answer.outputs[0].contents.fp32_contents, dtype=np.float32), expected(ours, frame))
    for call, code, words in [
        (lambda: client.infer("nobody", [matrix(frame)]), "NOT_FOUND", "there is: fraud_detection"),
        (lambda: client.infer("fraud_detection", [matrix(frame.iloc[:, :2])]), "INVALID_ARGUMENT", "2 columns, the model"),
        (lambda: client.infer("fraud_detection", [matrix(frame.sample(1001, replace=True))]), "RESOURCE_EXHAUSTED", "at most 1000"),
        (lambda: client.infer("fraud_detection", [matrix(frame.replace(frame.iloc[0, 0], np.inf))]), "INVALID_ARGUMENT", "finite"),
        (lambda: client.get_model_repository_index(), "UNIMPLEMENTED", "no call"),
    ]:
        with pytest.raises(triton.InferenceServerException, match=words) as raised:
            call()
        assert code in raised.value.status()
    # The probe of Kubernetes.
    check = grpc.insecure_channel(ours).unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"") == b"\x08\x01" and check(b"\x0a\x0ffraud_detection") == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as unknown:
        check(b"\x0a\x05other")
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
    with urllib.request.urlopen(f"http://{ours}/metrics") as metrics:
        assert b'serin_http_requests_total{route="/inference.GRPCInferenceService/ModelInfer",status="200"} 3' in metrics.read()


def test_tls_keys_and_a_renewed_certificate(trained, tmp_path):  # noqa: F811
    frame = trained[3][FEATURES].head(3).astype("float32")
    authority = trustme.CA()
    certificate, key, keys = tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "keys"
    keys.write_text("key-of-the-shop-0123456789\n")

    def issue():
        issued = authority.issue_cert("localhost", "127.0.0.1")
        key.write_bytes(issued.private_key_pem.bytes())
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return issued

    issue()
    state = str(trained[0] / "state")
    command = [SERIN, "serve", "--no-decision-log", "--poll", "0.1", "--state", state, "--tls-cert", str(certificate), "--tls-key", str(key), "--api-key-file", str(keys), "--port"]
    server = serving(tmp_path, *command)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    body = json.dumps({"data": frame.to_numpy().astype(float).tolist()}).encode()
    address = f"localhost:{server.port}"

    def ask(headers):
        request = urllib.request.Request(f"https://{address}/predict", body, {"Content-Type": "application/json", **headers})
        with urllib.request.urlopen(request, context=context) as got:
            return json.loads(got.read())

    def shown():
        with context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost") as stream:
            return stream.getpeercert()["serialNumber"]

    with running(server):
        assert len(ask({"X-API-Key": "key-of-the-shop-0123456789"})["predictions"]) == 3
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask({})
        with pytest.raises((OSError, http.client.HTTPException)):
            urllib.request.urlopen(f"http://{address}/healthz", timeout=5)
        roots = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(roots)
        client = triton.InferenceServerClient(address, ssl=True, root_certificates=str(roots))
        assert client.is_server_ready()
        got = client.infer("fraud_detection", [matrix(frame)], headers={"x-api-key": "key-of-the-shop-0123456789"})
        assert len(got.as_numpy("score")) == 3
        with pytest.raises(triton.InferenceServerException, match="show a key") as raised:
            client.infer("fraud_detection", [matrix(frame)])
        assert "UNAUTHENTICATED" in raised.value.status()
        before = shown()
        # A faulty file is refused and the certificate before stays.
        key.write_text("nonsense")
        time.sleep(0.5)
        assert shown() == before
        issue()
        end = time.monotonic() + 20
        while shown() == before:
            assert time.monotonic() < end, server.log.read_text()
            time.sleep(0.1)


def test_ten_thousand_slow_connections_cost_the_others_nothing(trained, tmp_path):  # noqa: F811
    crowd = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < crowd + 1000:
        pytest.skip(f"needs {crowd + 1000} open files, this machine allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    row = trained[3][FEATURES].iloc[:1].astype(float).to_numpy().tolist()
    server = serving(tmp_path, SERIN, "serve", "--state", str(trained[0] / "state"), "--no-decision-log", "--max-connections", str(crowd + 100), "--header-timeout", "20", "--port")
    with running(server):
        address = f"127.0.0.1:{server.port}"
        parts = [b"", b"POST /predict HTTP/1.1\r\nhost: x\r\nconte", b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{\"da", b"PRI"]
        sockets = []
        for i in range(crowd):
            sockets.append(socket.create_connection(("127.0.0.1", server.port)))
            sockets[-1].sendall(parts[i % len(parts)])
        for _ in range(200):
            assert post(address, "/predict", {"data": row})[0] == 200
        resident = int(next(line for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1])
        assert resident < 400_000, f"{resident} kB for {crowd} connections"
        # Every one of them is closed by the server when its time is over.
        for stream in sockets:
            stream.settimeout(60)
            try:
                while stream.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            stream.close()
        assert post(address, "/predict", {"data": row})[0] == 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_tenfold_overload_is_refused_fast_and_leaves_nothing_behind(trained, tmp_path):  # noqa: F811
    """More clients than the server admits, each sending as fast as it can; `OVERLOAD_SECONDS` for a longer one."""
    seconds = float(os.environ.get("OVERLOAD_SECONDS", "10"))
    rows = trained[3][FEATURES].sample(100, replace=True, random_state=1).astype(float).to_numpy().tolist()
    body = json.dumps({"data": rows}).encode()
    request = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    server = serving(tmp_path, SERIN, "serve", "--state", str(trained[0] / "state"), "--decision-log", str(tmp_path / "log"), "--keep-decision-bytes", "100000000", "--max-connections", "20", "--port")
    answered, refused, other = [], [], []

    def press(end):
        # On a slow machine for as long as it takes to see both answers.
        while time.monotonic() < end or (time.monotonic() < end + 120 and not (sum(answered) > 100 and sum(refused) > 20)):
            try:
                with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stream:
                    # Several at once on one connection: what the server does not read stays with the client.
                    stream.sendall(request * 5)
                    stream.shutdown(socket.SHUT_WR)
                    answer = b""
                    while part := stream.recv(1 << 16):
                        answer += part
            except OSError:
                refused.append(0)
                continue
            answered.append(answer.count(b"HTTP/1.1 200"))
            refused.append(answer.count(b"HTTP/1.1 503"))
            other.append(answer.count(b"HTTP/1.1 ") - answered[-1] - refused[-1])

    with running(server):
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=press, args=(end,)) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(answered) > 100 and sum(refused) > 20 and sum(other) == 0, (sum(answered), sum(refused), sum(other))
        resident = int(next(line for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1])
        assert resident < 200_000, f"{resident} kB"
        assert post(f"127.0.0.1:{server.port}", "/predict", {"data": rows})[0] == 200, "it is itself again"
        assert "panic" not in server.log.read_text()
