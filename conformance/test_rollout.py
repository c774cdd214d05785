"""Releases on a running server under live traffic: honest retrains pass, faults are stopped, crashes change nothing.

`RETRAINS=50 make conformance` releases fifty harmless retrains instead of three.
"""

import http.client
import http.server
import json
import os
import signal
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from servers import CLEAN, SERIN, Server, free_port, running, serin_server

ROLES = {"TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_TIME_SECONDS", "TX_TIME_DAYS", "TX_FRAUD", "TX_FRAUD_SCENARIO"}
CANARY = """
apiVersion: flagger.app/v1beta1
kind: Canary
metadata:
  name: fraud-detection
  annotations: {serin.dev/min-shadow: 300ms}
spec:
  targetRef: {name: fraud-detection}
  analysis:
    interval: 200ms
    threshold: 3
    stepWeights: [5, 10, 25, 50]
    metrics: [{name: request-success-rate, thresholdRange: {min: 99}}]
    webhooks:
      - {name: event, type: event, url: "http://127.0.0.1:9/nobody"}
---
apiVersion: flagger.app/v1beta1
kind: MetricTemplate
metadata: {name: unused}
spec: {provider: {type: prometheus, address: "http://127.0.0.1:9"}, query: "up"}
"""


def run(*arguments, ok=True):
    done = subprocess.run([SERIN, *map(str, arguments)], capture_output=True, text=True, env=CLEAN)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


class Shop:
    """Payments, versions of a model on them, and a server that decides on them all the time."""

    def __init__(self, folder: Path, remote=None, canary=CANARY, more=(), settings=""):
        self.folder, self.state, self.remote = folder, folder / "state", remote
        self.registry = ["--state", str(self.state)] + (["--tracking-uri", remote] if remote else [])
        data = folder / "payments.parquet"
        run("simulate", "--out", data, "--customers", 800, "--terminals", 1600, "--days", 60, "--seed", 5)
        self.frame = pd.read_parquet(data)
        self.features = [name for name in self.frame.columns if name not in ROLES]
        self.version = 0
        self.canary = folder / "canary.yaml"
        self.canary.write_text(canary)
        self.train(self.frame, "--alias", "champion")
        self.asked, self.live, self.pause = 0, True, 0.0
        late = self.frame[self.frame.TX_DATETIME > self.frame.TX_DATETIME.max() - pd.Timedelta(days=14)]
        self.rows = late[self.features].astype(float).to_numpy()
        port, tracking = free_port(), free_port()
        self.tracking = remote or f"http://127.0.0.1:{tracking}"
        if settings:
            (self.state / "serin.toml").write_text(settings)
        options = ["-m", "models:/fraud_detection@champion", "--canary", str(self.canary), "--fast-canary", "--poll", "0.1", *more]
        if remote:
            command = [SERIN, "serve", *options, "--port", str(port), *self.registry]
        else:
            command = [SERIN, "up", "--state", str(self.state), "--port", str(tracking), "--scoring-port", str(port), "--", *options]
        self.server = Server(command, port, folder)
        self.url = self.server.url
        self.traffic = threading.Thread(target=self.send)
        self.traffic.start()

    def train(self, frame, *more):
        self.version += 1
        file = self.folder / "training.parquet"
        frame.to_parquet(file)
        rule = [] if "--threshold" in more else ["--alert-rate", "0.01"]
        run("train", file, "--label", "TX_FRAUD", "--time", "TX_DATETIME", "--features", ",".join(self.features), "--rounds", 50, *self.registry, *rule, *more)
        return self.version

    def send(self):
        """Payments in any order, 250 a request, until it is over; a server that is away is waited for."""
        rng = np.random.default_rng(3)
        connection = None
        while self.live:
            body = json.dumps({"data": self.rows[rng.integers(len(self.rows), size=250)].tolist()})
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answered = json.loads(answer.read())
                assert answer.status == 200 and len(answered["predictions"]) == 250
                self.asked += 250
                time.sleep(self.pause)
            except (OSError, http.client.HTTPException):
                connection = None
                time.sleep(0.02)

    def status(self):
        with urllib.request.urlopen(f"{self.url}/v1/rollout", timeout=10) as got:
            return json.loads(got.read())

    def wait(self, reached, seconds=90):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                shown = self.status()
                if shown and reached(shown):
                    return shown
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{shown}\n{self.server.log.read_text()[-3000:]}")

    def release(self, version):
        """Starts it and waits for its end; what the shadow saw, what customers saw, why."""
        run("rollout", "start", "--to", version, *self.registry)
        before = self.asked
        shown = self.wait(lambda s: s["phase"] in ("Succeeded", "Failed") and self.tag(version))
        return shown["phase"], shown["history"][-1]["message"], shown["exposed_requests"], self.asked - before

    def history(self):
        import sqlite3

        database = sqlite3.connect(f"file:{self.state / 'serin.db'}?mode=ro", uri=True)
        try:
            return database.execute("SELECT version, change, target, actor, reason FROM serin_ledger ORDER BY at, id").fetchall()
        finally:
            database.close()

    def tag(self, version):
        return [row for row in self.history() if row[0] == version and row[1] == "rollout"]

    def stop(self):
        self.live = False
        self.traffic.join()
        self.server.stop()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("shop"))
    yield shop
    shop.stop()


def faults(shop):
    rng, frame, features = np.random.default_rng(1), shop.frame, shop.features
    money = [name for name in features if "AMOUNT" in name]

    def changed(**columns):
        return frame.assign(**columns)

    yield "amount in cents", lambda: shop.train(changed(**{name: frame[name] * 100 for name in money})), "inputs: .*AMOUNT"
    swapped = ["TX_AMOUNT", "CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW"]
    yield "two columns swapped", lambda: shop.train(changed(**dict(zip(swapped, [frame[name] for name in reversed(swapped)])))), "inputs|fewer alerts|disagreement"
    stale = frame.sort_values("TX_DATETIME").groupby("CUSTOMER_ID").TX_AMOUNT.shift(1)
    yield "a stale feature", lambda: shop.train(changed(TX_AMOUNT=stale.reindex(frame.index).fillna(frame.TX_AMOUNT))), "disagreement|alerts"
    yield "a feature gone NaN", lambda: shop.train(changed(TX_AMOUNT=np.nan)), "inputs: .* TX_AMOUNT "
    yield "another data set", lambda: shop.train(changed(TX_FRAUD=rng.permutation(frame.TX_FRAUD.to_numpy()))), "disagreement|alerts"
    # The clock of the machine that made the training's features is six hours behind.
    clock = frame.TX_DATETIME - pd.Timedelta(hours=6)
    yield "time zone shifted", lambda: shop.train(changed(TX_DURING_NIGHT=(clock.dt.hour <= 6).astype(int), TX_DURING_WEEKEND=(clock.dt.day_of_week >= 5).astype(int))), "inputs: .* TX_DURING_NIGHT "
    yield "wrong threshold", lambda: shop.train(frame, "--threshold", "0.02"), "rolled back: more alerts"

    def truncated():
        version = shop.train(frame)
        newest = max((shop.state / "artifacts").rglob("model.ubj"), key=lambda path: path.stat().st_mtime)
        newest.write_bytes(newest.read_bytes()[:-1000])
        return version

    yield "truncated model file", truncated, "cannot be loaded"


def test_faults_are_stopped_before_a_tenth_of_the_traffic_and_named(shop):
    import re

    for name, make, reason in faults(shop):
        phase, message, exposed, asked = shop.release(make())
        print(f"{name:22} {phase} after {asked} requests, {exposed} of them decided by it: {message}")
        assert phase == "Failed" and re.search(reason, message), (name, phase, message)
        assert exposed < 0.1 * asked, (name, exposed, asked)
        assert shop.status()["stable_version"] == "1"


def test_honest_retrains_are_promoted_and_the_ledger_says_why(shop):
    stopped = []
    retrains = int(os.environ.get("RETRAINS", "3"))
    for number in range(retrains):
        version = shop.train(shop.frame.sample(frac=0.8, random_state=number).sort_values("TX_DATETIME"))
        phase, message, exposed, asked = shop.release(version)
        print(f"retrain {number}: {phase} after {asked} requests, {exposed} decided by it: {message}")
        if phase == "Failed":
            stopped.append((number, message))
            continue
        moved = [row for row in shop.history() if row[0] == version and row[1:3] == ("alias", "champion")]
        assert len(moved) == 1 and moved[0][3] == "serin rollout" and "requests in the shadow" in moved[0][4], moved
        assert shop.wait(lambda s: s["stable_version"] == str(version))
    assert len(stopped) <= max(retrains // 50, 0), stopped


def test_a_killed_server_resumes_in_every_phase_and_promotes_once(shop):
    """Killed while it looks at 5 and at 25 %, and while it promotes."""
    version = shop.train(shop.frame.sample(frac=0.8, random_state=100).sort_values("TX_DATETIME"))
    run("rollout", "start", "--to", version, *shop.registry)
    for reached in (lambda s: s["candidate_version"] == str(version) and s["candidate_loaded"] == str(version),
                    lambda s: s["candidate_weight"] >= 0.05, lambda s: s["candidate_weight"] >= 0.25, lambda s: s["phase"] in ("Promoting", "Finalising", "Succeeded")):
        before = shop.wait(reached)
        shop.server.stop(signal.SIGKILL)
        shop.server.start()
        after = shop.wait(lambda s: True)
        assert after["shadow"]["requests"] >= before["shadow"]["requests"] * 0.5 or after["phase"] != before["phase"], "evidence is kept"
    shop.wait(lambda s: s["phase"] == "Succeeded" and s["stable_version"] == str(version))
    moved = [row for row in shop.history() if row[0] == version and row[1:3] == ("alias", "champion")]
    assert len(moved) == 1, moved


def test_people_pause_abort_and_promote(shop):
    def say(action):
        run("rollout", action, "--server", shop.url)

    # It says nothing before its first look.
    stable = shop.wait(lambda s: s["stable_version"])["stable_version"]
    version = shop.train(shop.frame.sample(frac=0.8, random_state=200).sort_values("TX_DATETIME"))
    run("rollout", "start", "--to", version, *shop.registry)
    shop.wait(lambda s: s["candidate_weight"] >= 0.05)
    say("pause")
    paused = shop.wait(lambda s: s["paused"])
    # A second of looks later it stands where it stood.
    later = shop.wait(lambda s: s["track"][-1]["at_ms"] >= paused["track"][-1]["at_ms"] + 1000)
    assert later["candidate_weight"] == paused["candidate_weight"]
    assert f"(paused): stable {stable}, candidate {version}" in run("rollout", "status", "--server", shop.url)
    say("abort")
    shop.wait(lambda s: s["phase"] == "Failed" and s["candidate_weight"] == 0)
    assert shop.status()["stable_version"] == stable and "by hand" in shop.status()["history"][-1]["message"]
    # B5: what can do nothing is refused, and leaves no line.
    lines = len(shop.status()["history"])
    for action in ("abort", "promote", "pause", "resume"):
        assert "409" in run("rollout", action, "--server", shop.url, ok=False)
    assert "already" in run("rollout", "start", "--to", version, *shop.registry, ok=False)
    assert len(shop.status()["history"]) == lines
    say("retry")
    shop.wait(lambda s: s["phase"] == "Progressing" and s["candidate_loaded"] == str(version))
    assert any("tried again by hand" in line["message"] for line in shop.status()["history"])
    say("abort")
    assert shop.status()["phase"] == "Failed", "it is answered when it is done"
    run("rollout", "start", "--to", version + 99, *shop.registry, ok=False)
    again = shop.train(shop.frame.sample(frac=0.9, random_state=201).sort_values("TX_DATETIME"))
    run("rollout", "start", "--to", again, *shop.registry)
    shop.wait(lambda s: s["candidate_loaded"] == str(again))
    say("promote")
    shop.wait(lambda s: s["phase"] == "Succeeded" and s["stable_version"] == str(again))
    assert "answers 404" in run("rollout", "status", "--server", shop.url + "/nothing", ok=False)


def test_a_registry_that_goes_away_delays_and_breaks_nothing(tmp_path):
    server = serin_server(tmp_path)
    with running(server):
        # Slow steps: the registry has to be gone before the last one.
        shop = Shop(tmp_path, remote=server.url, canary=CANARY.replace("interval: 200ms", "interval: 2s"))
        try:
            version = shop.train(shop.frame.sample(frac=0.8, random_state=300).sort_values("TX_DATETIME"))
            run("rollout", "start", "--to", version, *shop.registry)
            shop.wait(lambda s: s["candidate_weight"] >= 0.05)
            server.stop()
            gone = shop.status()["track"][-1]["at_ms"]
            away = shop.wait(lambda s: s["track"][-1]["at_ms"] >= gone + 4000)
            assert away["stable_version"] == "1" and away["phase"] in ("Progressing", "WaitingPromotion", "Promoting")
            server.start()
            shop.wait(lambda s: s["phase"] == "Succeeded" and s["stable_version"] == str(version))
            moved = [row for row in shop.history() if row[0] == version and row[1:3] == ("alias", "champion")]
            assert len(moved) == 1 and moved[0][3] == "serin rollout" and "requests in the shadow" in moved[0][4], moved
        finally:
            shop.stop()


def test_harm_is_undone_though_the_registry_does_not_answer(tmp_path):
    """It takes connections and says nothing: worse than one that is away. The candidate decides on half of the payments when it turns out to be harmful."""
    server = serin_server(tmp_path)
    canary = CANARY.replace("[5, 10, 25, 50]", "[50]").replace("300ms}", "100ms, serin.dev/min-shadow-requests: '0', serin.dev/max-disagreement: '0.8'}")
    with running(server):
        shop = Shop(tmp_path, remote=server.url, canary=canary)
        shop.live = False
        shop.traffic.join()
        try:
            harmful = shop.train(shop.frame, "--threshold", "0.02")
            run("rollout", "start", "--to", harmful, *shop.registry)
            shop.wait(lambda s: s["candidate_weight"] == 0.5)
            server.process.send_signal(signal.SIGSTOP)
            try:
                shop.live = True
                shop.traffic = threading.Thread(target=shop.send)
                shop.traffic.start()
                shown = shop.wait(lambda s: s["phase"] == "Failed", seconds=30)
                assert shown["candidate_weight"] == 0 and "more alerts" in shown["history"][-1]["message"] and shown["exposed_requests"] > 0
            finally:
                server.process.send_signal(signal.SIGCONT)
            assert shop.wait(lambda s: s["phase"] == "Failed" and s["stable_version"] == "1")
        finally:
            shop.stop()


class Bystander:
    """Webhooks, a Prometheus and a chat: answers by path, and remembers what it was told."""

    def __init__(self):
        self.answers, self.told = {}, []
        told, answers = self.told, self.answers

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                told.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
                self.send_response(answers.get(self.path, 200))
                self.end_headers()

            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)["query"][0]
                told.append(("/prometheus", query))
                value = answers.get("/prometheus", "0.1")
                result = [] if value is None else [{"metric": {}, "value": [1, value]}]
                body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def calls(self, path):
        return [body for told, body in list(self.told) if told == path]


def test_webhooks_queries_and_alerts_keep_flaggers_contract(tmp_path):
    others = Bystander()
    kinds = ["confirm-rollout", "pre-rollout", "rollout", "confirm-traffic-increase", "confirm-promotion", "post-rollout", "rollback", "event"]
    hooks = "".join(f"      - {{name: {kind}, type: {kind}, url: '{others.url}/{kind}', metadata: {{team: risk}}}}\n" for kind in kinds)
    canary = f"""
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {{name: fraud-detection, namespace: shop, annotations: {{serin.dev/min-shadow: 200ms}}}}
spec:
  targetRef: {{name: api}}
  service: {{port: 8000}}
  analysis:
    interval: 150ms
    threshold: 2
    stepWeight: 30
    maxWeight: 50
    metrics:
      - name: drift
        interval: 30s
        thresholdRange: {{max: 0.25}}
        templateRef: {{name: drift}}
        templateVariables: {{column: amount}}
      - {{name: proof, thresholdRange: {{max: 1}}, templateRef: {{name: evidence}}}}
    webhooks:
{hooks}
    alerts:
      - {{name: chat, severity: error, providerRef: {{name: chat}}}}
      - {{name: page, severity: error, providerRef: {{name: page}}}}
---
apiVersion: flagger.app/v1beta1
kind: MetricTemplate
metadata: {{name: drift}}
spec:
  provider: {{type: prometheus, address: "{others.url}"}}
  query: |
    drift{{target="{{{{ target }}}}", column="{{{{ variables.column }}}}"}}
      [{{{{ interval }}}}]
---
apiVersion: flagger.app/v1beta1
kind: AlertProvider
metadata: {{name: chat}}
spec: {{type: slack, channel: risk, address: "{others.url}/slack"}}
---
apiVersion: flagger.app/v1beta1
kind: AlertProvider
metadata: {{name: page}}
spec: {{type: alertmanager, address: "{others.url}/api/v2/alerts"}}
"""
    others.answers.update({"/confirm-rollout": 403, "/rollback": 403, "/prometheus": "0.9"})
    shop = Shop(tmp_path, canary=canary)
    try:
        version = shop.train(shop.frame.sample(frac=0.8, random_state=1).sort_values("TX_DATETIME"))
        run("rollout", "start", "--to", version, *shop.registry)
        shop.wait(lambda s: s["phase"] == "Waiting")
        others.answers["/confirm-rollout"] = 200
        # The first steps pass unmeasured; then the query says too much, twice.
        shop.wait(lambda s: s["phase"] == "Failed")
        assert "2 checks failed" in shop.status()["history"][-1]["message"]
        assert others.calls("/prometheus")[0] == 'drift{target="api", column="amount"} [30s]'
        pre = others.calls("/pre-rollout")
        assert len(pre) == 1 and {key: pre[0][key] for key in ("name", "namespace", "phase", "metadata")} == {
            "name": "fraud-detection", "namespace": "shop", "phase": "Progressing", "metadata": {"team": "risk"}} and pre[0]["checksum"]
        shop.wait(lambda s: others.calls("/post-rollout") and others.calls("/slack") and others.calls("/api/v2/alerts"))
        assert [body["phase"] for body in others.calls("/post-rollout")] == ["Failed"]
        alerts = others.calls("/slack")
        assert len(alerts) == 1 and alerts[0]["channel"] == "risk" and "rolled back" in alerts[0]["attachments"][0]["text"], alerts

        [[page]] = others.calls("/api/v2/alerts")
        assert page["labels"] == {"alertname": "SerinRollout", "severity": "error", "model": "fraud_detection", "version": str(version)}

        # No data holds; then it goes on to the gate of the promotion, where the rollback hook speaks.
        others.answers.update({"/prometheus": None, "/confirm-promotion": 403})
        version = shop.train(shop.frame.sample(frac=0.8, random_state=2).sort_values("TX_DATETIME"))
        run("rollout", "start", "--to", version, *shop.registry)
        held = shop.wait(lambda s: s["candidate_weight"] == 0.3 and "no data" in s["history"][-1]["message"])
        assert held["failed_checks"] == 0
        others.answers["/prometheus"] = "0.1"
        shop.wait(lambda s: s["phase"] == "WaitingPromotion" and s["candidate_weight"] == 0.6)
        others.answers["/rollback"] = 200
        shop.wait(lambda s: s["phase"] == "Failed")
        assert "rollback hook" in shop.status()["history"][-1]["message"] and shop.status()["stable_version"] == "1"

        # And with every gate open it is promoted.
        others.answers.update({"/rollback": 403, "/confirm-promotion": 200})
        version = shop.train(shop.frame.sample(frac=0.8, random_state=3).sort_values("TX_DATETIME"))
        assert shop.release(version)[0] == "Succeeded"
        # Nobody waits for these calls, so they may come after the phase is shown.
        shop.wait(lambda s: len(others.calls("/post-rollout")) == 3)
        assert [body["phase"] for body in others.calls("/post-rollout")] == ["Failed", "Failed", "Succeeded"]
        assert others.calls("/event") and len({body["checksum"] for body in others.calls("/pre-rollout")}) == 3
    finally:
        shop.stop()


def test_a_sticky_split_keeps_a_card_on_its_arm_and_a_repeat_on_its_own_otherwise(tmp_path):
    shop = Shop(tmp_path, canary=CANARY.replace("300ms}", "300ms, serin.dev/sticky: entity}").replace("[5, 10, 25, 50]", "[50]"))
    try:
        version = shop.train(shop.frame.sample(frac=0.8, random_state=1).sort_values("TX_DATETIME"))
        run("rollout", "start", "--to", version, *shop.registry)
        shop.wait(lambda s: s["candidate_weight"] == 0.5)
        run("rollout", "pause", "--server", shop.url)
        row = dict(zip(shop.features, shop.rows[0].tolist()))

        def versions(pairs):
            body = {"transactions": [{"transaction_id": t, "entity": e, "features": row} for t, e in pairs]}
            request = urllib.request.Request(f"{shop.url}/v1/decisions", json.dumps(body).encode(), {"Content-Type": "application/json"})
            return [made["model_version"] for made in json.loads(urllib.request.urlopen(request).read())["decisions"]]

        cards = [f"card-{i}" for i in range(200)]
        first, again = versions([(f"a{card}", card) for card in cards]), versions([(f"b{card}", card) for card in cards])
        assert first == again and 60 < first.count(str(version)) < 140 and set(first) == {"1", str(version)}
        unnamed = [(f"t{i}", "") for i in range(200)]
        assert versions(unnamed) == versions(unnamed), "without an entity a repeated transaction keeps its arm"
    finally:
        shop.stop()
