"""Webhooks: the same answers and deliveries as MLflow's server, and none to an address that is not public."""

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from servers import free_port, mlflow_server, running, serin_server
from test_server import answer

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
OPEN = {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": KEY}
API = "/api/2.0/mlflow"
EVENTS = [("REGISTERED_MODEL", "CREATED"), ("MODEL_VERSION", "CREATED"), ("MODEL_VERSION_TAG", "SET"), ("MODEL_VERSION_TAG", "DELETED"),
          ("MODEL_VERSION_ALIAS", "CREATED"), ("MODEL_VERSION_ALIAS", "DELETED")]


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent; answers the statuses of `answers` first, then 200."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.got, self.answers = [], []
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def wait(self, count, seconds=30):
        end = time.monotonic() + seconds
        while len(self.got) < count and time.monotonic() < end:
            time.sleep(0.02)
        assert len(self.got) >= count, self.got
        return self.got


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.answers.pop(0) if self.server.answers else 200
        self.server.got.append((self.path, self.headers, body))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.server.url}/elsewhere")
        self.end_headers()
        self.wfile.write(b"thanks")

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlflow-webhooks")
    with running(mlflow_server(folder, f"sqlite:///{folder}/mlflow.db", env=OPEN)) as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ours(request, tmp_path_factory):
    options = [] if request.param == "sqlite" else ["--backend-store-uri", request.getfixturevalue("postgres").database()]
    with running(serin_server(tmp_path_factory.mktemp("webhooks"), *options, env=OPEN)) as server:
        yield server


def call(server, method, path, body=None):
    status, _, text = answer(server, method, f"{API}/{path}", body)
    return status, json.loads(text)


def webhook(server, url, events=EVENTS, **fields):
    status, made = call(server, "POST", "webhooks", {"name": "w", "url": url, "events": [{"entity": e, "action": a} for e, a in events], **fields})
    assert status == 200, made
    return made["webhook"]["webhook_id"]


def shape(value):
    """Without what differs from server to server: ids and times."""
    text = json.dumps(value, sort_keys=True)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text)
    return re.sub(r'"(creation|last_updated)_timestamp": \d+', r'"\1_timestamp": "<ms>"', text)


def routes(server):
    """Everything that can be asked of the routes, right and wrong."""
    event = [{"entity": "MODEL_VERSION", "action": "CREATED"}]
    for body in [{}, {"name": "a"}, {"name": "a", "url": "http://127.0.0.1/x"}, {"name": "-a", "url": "http://127.0.0.1/x", "events": event},
                 {"name": "a" * 64, "url": "http://127.0.0.1/x", "events": event}, {"name": "a", "url": "ftp://127.0.0.1/x", "events": event},
                 {"name": "a", "url": "http:///x", "events": event}, {"name": "a", "url": "http://127.0.0.1/x", "events": [{"entity": "MODEL_VERSION", "action": "SET"}]}]:
        status, got = call(server, "POST", "webhooks", body)
        yield "create", body, status, got.get("error_code", "")
    status, made = call(server, "POST", "webhooks", {"name": "one", "url": "http://127.0.0.1/x", "events": event, "description": "d", "secret": "s"})
    yield "create", status, made
    path = f"webhooks/{made['webhook']['webhook_id']}"
    yield "get", *call(server, "GET", path)
    for body in [{"description": ""}, {"status": "DISABLED"}, {"name": "two", "url": "http://127.0.0.1/y"}, {"events": [{"entity": "MODEL_VERSION_TAG", "action": "SET"}]}]:
        yield "update", body, *call(server, "PATCH", path, body)
    yield "list", *call(server, "GET", "webhooks?max_results=1")
    for most in ["-1", "1001"]:
        yield "list", most, call(server, "GET", f"webhooks?max_results={most}")[0]
    yield "delete", *call(server, "DELETE", path)
    for method, body in [("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)]:
        status, got = call(server, method, path, body)
        yield method, status, got["error_code"]
    status, got = call(server, "POST", f"{path}/test", {})
    yield "test", status, got["error_code"]
    yield "list", *call(server, "GET", "webhooks")


def test_the_routes_answer_as_mlflows(ours, theirs):
    for mine, reference in zip(routes(ours), routes(theirs), strict=True):
        assert shape(mine) == shape(reference)


def changes(server):
    name = f"m{free_port()}"
    call(server, "POST", "registered-models/create", {"name": name, "description": "d ü", "tags": [{"key": "k", "value": "v"}]})
    call(server, "POST", "model-versions/create", {"name": name, "source": "s3://bucket/x", "tags": [{"key": "a", "value": "b"}]})
    call(server, "POST", "model-versions/set-tag", {"name": name, "version": "1", "key": "k", "value": "v"})
    call(server, "DELETE", "model-versions/delete-tag", {"name": name, "version": "1", "key": "k"})
    call(server, "POST", "registered-models/alias", {"name": name, "alias": "champion", "version": "1"})
    call(server, "DELETE", "registered-models/alias", {"name": name, "alias": "champion"})
    return name


def told(server, receiver):
    made = webhook(server, f"{receiver.url}/told", secret="a secret")
    name = changes(server)
    deliveries = []
    for path, headers, body in receiver.wait(6):
        assert path == "/told" and headers["Content-Type"] == "application/json"
        signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(b"a secret", signed, hashlib.sha256).digest()).decode()
        assert headers["X-MLflow-Signature"] == f"v1,{mac}"
        assert abs(int(headers["X-MLflow-Timestamp"]) - time.time()) < 60
        told = json.loads(body)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", told.pop("timestamp"))
        deliveries.append(json.dumps(told, sort_keys=True).replace(name, "<name>"))
    call(server, "DELETE", f"webhooks/{made}")
    return sorted(deliveries)


@pytest.fixture(scope="module")
def reference(theirs):
    # Once: MLflow looks at its webhooks only every minute.
    server = Receiver()
    yield told(theirs, server)
    server.shutdown()
    server.server_close()


def test_what_is_told_is_what_mlflow_tells(ours, reference, receiver):
    assert told(ours, receiver) == reference


def test_the_example_is_mlflows(ours, theirs, receiver):
    for entity, action in EVENTS:
        got = []
        for server in (ours, theirs):
            receiver.got.clear()
            made = webhook(server, receiver.url)
            body = {"event": {"entity": entity, "action": action}}
            assert call(server, "POST", f"webhooks/{made}/test", body)[1] == {"result": {"success": True, "response_status": 200, "response_body": "thanks"}}
            told = json.loads(receiver.got[0][2])
            told.pop("timestamp")
            got.append(told)
            call(server, "DELETE", f"webhooks/{made}")
        assert got[0] == got[1]


def test_a_delivery_is_tried_again_and_not_redirected(ours, receiver):
    made = webhook(ours, receiver.url, [("REGISTERED_MODEL", "CREATED")])
    off = webhook(ours, receiver.url + "/off", [("REGISTERED_MODEL", "CREATED")], status="DISABLED")
    receiver.answers = [503, 429]
    call(ours, "POST", "registered-models/create", {"name": f"r{free_port()}"})
    got = receiver.wait(3)
    assert len({headers["X-MLflow-Delivery-Id"] for _, headers, _ in got}) == 1, "the receiver can tell that it is one"
    receiver.answers = [302]
    result = call(ours, "POST", f"webhooks/{made}/test", {})[1]["result"]
    assert result["response_status"] == 302
    receiver.answers = [500]
    assert call(ours, "POST", f"webhooks/{made}/test", {})[1]["result"] == {"success": False, "response_status": 500, "response_body": "thanks"}
    time.sleep(0.3)
    assert {path for path, _, _ in receiver.got} == {"/"}, "neither the disabled one nor the redirect's target was called"
    for one in (made, off):
        call(ours, "DELETE", f"webhooks/{one}")


@pytest.mark.parametrize("url", [
    "http://example.com/", "https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://169.254.169.254/latest/meta-data", "https://10.0.0.1/",
    "https://2130706433/", "https://0x7f.1/", "https://127.1/", "https://[::ffff:127.0.0.1]/", "https://0.0.0.0/", "https://user@127.0.0.1/", "file:///etc/passwd",
    "https://no-such-host.invalid/", "https:///", "x", "https://127.0.0.1\r\nX-Injected: 1/",
])
def test_an_address_that_is_not_public_is_refused(url, tmp_path_factory, request):
    server = closed(request, tmp_path_factory)
    status, got = call(server, "POST", "webhooks", {"name": "w", "url": url, "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}]})
    assert status == 400 and got["error_code"] == "INVALID_PARAMETER_VALUE", got
    assert call(server, "GET", "webhooks")[1] == {}


def closed(request, tmp_path_factory):
    """One server with the defaults for all of these."""
    if not hasattr(request.module, "CLOSED"):
        context = running(serin_server(tmp_path_factory.mktemp("closed")))
        request.module.CLOSED = context.__enter__()
        request.session.addfinalizer(lambda: context.__exit__(None, None, None))
    return request.module.CLOSED


def test_one_that_became_private_is_not_called(tmp_path, receiver):
    with running(serin_server(tmp_path, env=OPEN)) as server:
        made = webhook(server, receiver.url)
    with running(serin_server(tmp_path, env={"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http"})) as server:
        result = call(server, "POST", f"webhooks/{made}/test", {})[1]["result"]
        assert not result["success"] and "non-public" in result["error_message"]
        assert not receiver.got


def test_secrets_are_sealed_as_mlflow_seals_them(tmp_path, receiver):
    database = tmp_path / "state" / "serin.db"
    with running(serin_server(tmp_path, env={**OPEN, "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": ""})) as server:
        status, got = call(server, "POST", "webhooks", {"name": "w", "url": receiver.url, "secret": "s", "events": [{"entity": "MODEL_VERSION", "action": "CREATED"}]})
        assert status == 400 and "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY" in got["message"]
    with running(serin_server(tmp_path, env=OPEN)) as server:
        made = webhook(server, receiver.url, secret="a very long secret")
    assert b"a very long secret" not in b"".join(file.read_bytes() for file in database.parent.glob("serin.db*"))
    with running(mlflow_server(tmp_path, f"sqlite:///{database}", env=OPEN)) as server:
        assert call(server, "POST", f"webhooks/{made}/test", {})[1]["result"]["success"]
        theirs = webhook(server, receiver.url, secret="their secret")
    with running(serin_server(tmp_path, env=OPEN)) as server:
        for one in (made, theirs):
            assert call(server, "POST", f"webhooks/{one}/test", {})[1]["result"]["success"]
    for (_, headers, body), secret in zip(receiver.got, [b"a very long secret", b"a very long secret", b"their secret"], strict=True):
        signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.".encode() + body
        assert headers["X-MLflow-Signature"] == "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
