"""What became of decisions: labels late, shuffled, twice and corrected give the batch's figures; on SQLite and PostgreSQL."""

import http.client
import http.server
import json
import os
import random
import re
import socketserver
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pandas as pd
import pytest
from servers import CLEAN, SERIN, Server, free_port, running, serin_server

DAY = 86_400_000
ROLES = {"TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_TIME_SECONDS", "TX_TIME_DAYS", "TX_FRAUD", "TX_FRAUD_SCENARIO"}


def run(*arguments, ok=True):
    done = subprocess.run([SERIN, *map(str, arguments)], capture_output=True, text=True, env=CLEAN)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def call(url, body=None, kind="application/json"):
    """Status and JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": kind} if data is not None else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


def milliseconds(times):
    return (times - pd.Timestamp("1970-01-01")) // pd.Timedelta(milliseconds=1)


def decide(port, frame, features, batch=2000, prefix="tx-"):
    """Sends payments in their order, with their times; the actions."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times, actions = milliseconds(frame.TX_DATETIME).tolist(), []
    rows = frame[features].astype(float).to_dict("records")
    ids, cards = frame.TRANSACTION_ID.tolist(), frame.CUSTOMER_ID.tolist()
    for start in range(0, len(rows), batch):
        part = range(start, min(start + batch, len(rows)))
        transactions = [
            {"transaction_id": f"{prefix}{ids[i]}", "entity": str(cards[i]), "timestamp": times[i], "features": {name: None if value != value else value for name, value in rows[i].items()}}
            for i in part
        ]
        connection.request("POST", "/v1/decisions", json.dumps({"transactions": transactions}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200, body
        actions += [decision["action"] for decision in body["decisions"]]
    return actions


class Shop:
    """A model, a running `serin up`, and payments it has not seen."""

    def __init__(self, folder, *simulation, days=50, train_days=30, customers=600, up=(), train=(), serving=()):
        self.folder, self.state = folder, folder / "state"
        data = folder / "payments.parquet"
        run("simulate", "--out", data, "--customers", customers, "--terminals", 2 * customers, "--days", days, "--seed", 11, *simulation)
        self.frame = pd.read_parquet(data)
        self.features = [name for name in self.frame.columns if name not in ROLES]
        self.first = self.frame.TX_DATETIME.min().normalize()
        training = self.between(0, train_days)
        file = folder / "training.parquet"
        training.to_parquet(file)
        columns = ["--label", "TX_FRAUD", "--time", "TX_DATETIME", "--entity", "CUSTOMER_ID", "--amount", "TX_AMOUNT", "--features", ",".join(self.features)]
        run("train", file, *columns, "--state", self.state, "--rounds", 60, "--delay-days", 5, "--test-days", 7, *(train or ["--alert-rate", "0.01"]), "--alias", "champion")
        self.columns = columns
        self.port, self.own = free_port(), free_port()
        command = [SERIN, "up", "--state", str(self.state), "--port", str(self.own), "--scoring-port", str(self.port), *up, "--", "-m", "models:/fraud_detection@champion", "--max-event-age", "36500d", *serving]
        self.server = Server(command, self.port, folder)
        self.control = f"http://127.0.0.1:{self.own}"

    def between(self, start, end):
        at = self.frame.TX_DATETIME
        return self.frame[(at >= self.first + pd.Timedelta(days=start)) & (at < self.first + pd.Timedelta(days=end))]

    def labels(self, frame, delay=7):
        return [
            {"transaction_id": f"tx-{number}", "label": int(fraud), "source": "chargeback" if fraud else "timeout-genuine", "occurred_at": time, "known_at": time + delay * DAY, "amount": amount}
            for number, fraud, time, amount in zip(frame.TRANSACTION_ID, frame.TX_FRAUD, milliseconds(frame.TX_DATETIME).tolist(), frame.TX_AMOUNT)
        ]


def test_late_shuffled_and_repeated_labels_give_the_batch_answer(tmp_path):
    shop = Shop(tmp_path)
    with running(shop.server):
        later = shop.between(30, 50)
        labels = shop.labels(later)
        random.Random(4).shuffle(labels)
        # Half of the labels come before their transactions.
        half = len(labels) // 2
        status, stored = call(f"{shop.control}/v1/labels", {"labels": labels[:half]})
        assert (status, stored) == (200, {"new": half, "known": 0})
        decide(shop.port, later, shop.features)
        again = labels[half // 2 :] + labels[half : half + 100]
        random.Random(5).shuffle(again)
        status, stored = call(f"{shop.control}/v1/labels", {"labels": again})
        assert status == 200 and stored["new"] == len(labels) - half

        newest = milliseconds(later.TX_DATETIME).max()
        show = f"{shop.control}/v1/performance?name=fraud_detection&amount=TX_AMOUNT&review_cost=2.5&as_of={newest + 7 * DAY}"
        _, found = call(show)
        [group] = found["groups"]
        assert (group["decisions"], group["coverage"]) == (len(later), 1.0)
        file = tmp_path / "later.parquet"
        later.to_parquet(file)
        batch = json.loads(run("evaluate", file, *shop.columns[:8], "--model", "models:/fraud_detection@champion", "--state", shop.state, "--review-cost", 2.5, "--json"))
        batch = batch.get("metrics", batch)
        compared = ["auc_roc", "average_precision", "log_loss", "brier", "precision", "recall", "f1", "alert_rate", "recall_at_fpr_0.1pct", "recall_at_fpr_1pct", "cost", "cost_without_model"]
        different = {name: (group["metrics"][name], batch[name]) for name in compared if group["metrics"][name] != batch[name]}
        assert not different
        assert group["metrics"]["card_precision"] == batch["card_precision_at_100"]

        # A week earlier a third of it was mature, and the young rows change nothing.
        early = newest - 6 * DAY
        _, found = call(show.replace(f"as_of={newest + 7 * DAY}", f"as_of={early}"))
        [group] = found["groups"]
        assert group["matured"] == group["labelled"] == int((milliseconds(later.TX_DATETIME) + 7 * DAY <= early).sum())
        assert 0.3 < group["coverage"] < 0.45
        assert "estimate" in group["estimate"]["what"]

        by_version = call(show + "&by=version")[1]["groups"]
        assert [g["group"] for g in by_version] == ["1"]
        nights = call(show + "&by=segment:TX_DURING_NIGHT")[1]["groups"]
        assert [g["group"] for g in nights] == ["TX_DURING_NIGHT=0", "TX_DURING_NIGHT=1"]
        assert sum(g["frauds"] for g in nights) == later.TX_FRAUD.sum()
        assert len(call(show + "&by=segment:TX_AMOUNT")[1]["groups"]) == 4
        assert call(show + "&by=segment:NOPE")[0] == 400
        printed = run("performance", "--state", shop.state, "--amount", "TX_AMOUNT", "--as-of", newest + 7 * DAY)
        assert f"{len(later)} decisions" in printed and "average_precision" in printed


def test_files_of_labels(tmp_path):
    with running(serin_server(tmp_path)) as server:
        labels = f"{server.url}/v1/labels"
        csv = "transaction_id,label,source,known_at,amount\na,fraud,chargeback,2026-01-02T00:00:00Z,12.5\nb,0,analyst,,\n"
        assert call(labels, csv.encode(), "text/csv") == (200, {"new": 2, "known": 0})
        assert call(labels, csv.encode(), "text/csv") == (200, {"new": 0, "known": 2})
        frame = pd.DataFrame({"transaction_id": ["a", "c"], "label": [True, False], "source": ["chargeback", "random-review"], "known_at": pd.to_datetime(["2026-01-02", "2026-01-03"], utc=True), "amount": [12.5, None]})
        file = tmp_path / "labels.parquet"
        frame.to_parquet(file)
        assert call(labels, file.read_bytes(), "application/vnd.apache.parquet") == (200, {"new": 1, "known": 1})
        for body, kind, expected in [
            (b"PAR1 no", "application/vnd.apache.parquet", "the file"),
            (b"{", "application/json", "not JSON"),
            (b"x", "text/plain", "text/csv"),
            (b"transaction_id,label,source\nz,1,analyst\ny,9,analyst\n", "text/csv", 'line 3: label "9"'),
            (json.dumps({"labels": [{"transaction_id": "z", "label": 1, "source": "timeout-genuine"}]}).encode(), "application/json", "label 0"),
        ]:
            status, answer = call(labels, body, kind)
            assert status == 400 and expected in answer["message"], answer
        assert call(f"{labels}?transaction_id=z")[1] == {"label": None, "history": []}, "all or none"

        # From a file on another machine, with other names.
        frame = pd.DataFrame({"ID": [1, 2, 3], "FRAUD": [1, 0, 0], "AT": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-09"])})
        frame.to_csv(tmp_path / "own.csv", index=False)
        names = ["--column", "transaction_id=ID", "--column", "label=FRAUD", "--column", "occurred_at=AT"]
        command = ["labels", "import", tmp_path / "own.csv", *names, "--source", "analyst", "--known-after", "7d", "--known-before", "2026-01-12", "--tracking-uri", server.url]
        assert "2 labels are new, 0 were there" in run(*command)
        assert "0 labels are new, 2 were there" in run(*command)
        shown = json.loads(run("labels", "show", "--transaction-id", "1", "--tracking-uri", server.url))
        assert shown["label"]["label"] == "fraud" and shown["label"]["known_at"] == 1767830400000
        assert "--column" in run("labels", "import", tmp_path / "own.csv", "--source", "analyst", "--tracking-uri", server.url, ok=False)
        status, answer = call(f"{server.url}/v1/performance?name=fraud_detection")
        assert status == 400 and "--decision-log" in answer["message"]


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_corrections_keep_their_history_and_survive_a_kill(tmp_path, database, request):
    options = [] if database == "sqlite" else ["--backend-store-uri", request.getfixturevalue("postgres").database()]
    server = serin_server(tmp_path, *options)
    with running(server):
        url = f"{server.url}/v1/labels"
        said = [("timeout-genuine", 0, 90), ("chargeback", 1, 60), ("analyst", 0, 10), ("analyst", 1, 80), ("analyst", 0, 70)]
        random.Random(int(os.environ.get("SEED", "1"))).shuffle(said)
        for source, label, day in said:
            sent = {"transaction_id": "t", "label": label, "source": source, "known_at": day * DAY, "amount": 3.25}
            assert call(url, sent) == (200, {"new": 1, "known": 0})
            assert call(url, sent) == (200, {"new": 0, "known": 1})
        server.stop(9)
        server.start()
        shown = call(f"{url}?transaction_id=t")[1]
        assert [(row["source"], row["label"]) for row in shown["history"]] == [
            ("analyst", "genuine"), ("chargeback", "fraud"), ("analyst", "genuine"), ("analyst", "fraud"), ("timeout-genuine", "genuine")
        ]  # fmt: skip
        # The last one who knew; silence is not knowledge.
        assert (shown["label"]["source"], shown["label"]["known_at"], shown["label"]["amount"]) == ("analyst", 80 * DAY, 3.25)


class Listener:
    """Takes what is posted to it, and mail."""

    def __init__(self):
        self.posted, self.mails = [], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                outer.posted.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        class Smtp(socketserver.StreamRequestHandler):
            def handle(self):
                say = lambda text: self.wfile.write(text.encode() + b"\r\n")
                say("220 test")
                while line := self.rfile.readline().strip():
                    if line.upper() == b"DATA":
                        say("354 go on")
                        mail = b""
                        while (part := self.rfile.readline()) != b".\r\n":
                            mail += part
                        outer.mails.append(mail.decode())
                    say("221 bye" if line.upper() == b"QUIT" else "250 fine")
                    if line.upper() == b"QUIT":
                        return

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.smtp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp)
        for server in (self.http, self.smtp):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url, self.mail = f"http://127.0.0.1:{self.http.server_port}", f"smtp://127.0.0.1:{self.smtp.server_address[1]}"


def looked_until(shop):
    """Every hour before it has been looked at by the monitor, epoch milliseconds."""
    return call(f"{shop.control}/v1/retrainings?name=fraud_detection")[1]["looked_until"] or 0


def wait(reached, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := reached():
            return found
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")


def samples(text, name):
    """Labels and value of every line of a metric."""
    lines = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.M)
    return [(dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for labels, value in lines]


def alerts(shop):
    return call(f"{shop.control}/v1/alerts?name=fraud_detection")[1]["alerts"]


def test_amounts_in_cents_are_alerted_and_told_once(tmp_path):
    listener = Listener()
    config = tmp_path / "serin.toml"
    config.write_text(f"""
[monitoring]
clock = "events"
every_seconds = 0.2
min_decisions = 500

[alerts]
mute = ["drift:CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW"]

[[alerts.to]]
kind = "webhook"
url = "{listener.url}/hook"

[[alerts.to]]
kind = "slack"
url = "{listener.url}/slack"

[[alerts.to]]
kind = "alertmanager"
url = "{listener.url}"

[[alerts.to]]
kind = "email"
smtp = "{listener.mail}"
from = "serin@example.org"
to = "fraud team <team@example.org>"
""")
    shop = Shop(tmp_path, "--drift", "cents@56", days=60, train_days=50, up=["--config", str(config)])
    with running(shop.server):
        # Quiet days, then cents; the last hour is over when a later one begins.
        decide(shop.port, shop.between(50, 56), shop.features, batch=200)
        wait(lambda: call(f"{shop.control}/v1/drift?name=fraud_detection")[1].get("until", 0) >= milliseconds(pd.Series([shop.first + pd.Timedelta(days=56)]))[0] - 3_600_000)
        assert alerts(shop) == []
        quiet = call(f"{shop.control}/v1/drift?name=fraud_detection&window_hours=120")[1]
        assert quiet["decisions"] > 2000 and not any(watch["alarm"] for watch in quiet["drift"] + quiet["data_quality"])
        assert {"exact"} >= {w["certainty"] for w in quiet["drift"] if w["name"] == "TX_DURING_NIGHT"}
        decide(shop.port, shop.between(56, 58), shop.features, batch=200)
        on = wait(lambda: [a for a in alerts(shop) if a["rule"] == "drift" and a["subject"] == "TX_AMOUNT"])
        began = pd.Timestamp(on[0]["fired_at"], unit="ms") - shop.first - pd.Timedelta(days=56)
        assert pd.Timedelta(0) < began <= pd.Timedelta(hours=12), began
        assert wait(lambda: [a for a in alerts(shop) if a["rule"] == "drifted-share"])[0]["severity"] == "critical"
        wait(lambda: len(listener.mails) >= 2)
        # Nothing is looked at any more, and what was found is told at every address.
        wait(lambda: looked_until(shop) >= milliseconds(shop.between(56, 58).TX_DATETIME).max() // 3_600_000 * 3_600_000)
        muted = ("drift", "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW")
        heard = [alert for alert in alerts(shop) if (alert["rule"], alert["subject"]) != muted]
        changes = sum(1 + (alert["resolved_at"] is not None) for alert in heard)
        posted = lambda to: [body for path, body in listener.posted if path == to]
        wait(lambda: len(posted("/hook")) >= changes and len(posted("/slack")) >= changes)
        told = [(body["rule"], body["subject"], body["state"]) for path, body in listener.posted if path == "/hook"]
        assert ("drift", "TX_AMOUNT", "firing") in told and len(told) == len(set(told)), told
        assert not any(subject == "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW" for rule, subject, _ in told if rule == "drift")
        assert len([body for path, body in listener.posted if path == "/slack"]) == len(told)
        # Begun once; what is on is told again every minute, all of it in one message.
        sent, *_ = [body for path, body in listener.posted if path == "/api/v2/alerts" and body[0]["labels"]["subject"] == "TX_AMOUNT" and body[0]["labels"]["rule"] == "drift"]
        assert sent[0]["labels"]["alertname"] == "SerinMonitor" and "startsAt" in sent[0]
        assert any("TX_AMOUNT" in mail and "To: " in mail for mail in listener.mails)

        text = urllib.request.urlopen(f"{shop.control}/metrics", timeout=10).read().decode()
        alarm = {labels["column"]: value for labels, value in samples(text, "serin_drift_alarm")}
        assert alarm["TX_AMOUNT"] == 1 and alarm["TX_DURING_NIGHT"] == 0
        firing = {labels["rule"]: value for labels, value in samples(text, "serin_alerts_firing")}
        assert firing["drift"] >= 1
        text = urllib.request.urlopen(f"http://127.0.0.1:{shop.port}/metrics", timeout=10).read().decode()
        [(_, seen)], [(_, dropped)] = samples(text, "serin_monitor_rows_total"), samples(text, "serin_monitor_dropped_total")
        assert dropped == 0 and seen == len(shop.between(50, 58))

        # A restart tells nothing twice, and nothing that was seen is lost by a clean stop.
        own = lambda: [path for path, _ in listener.posted if path != "/api/v2/alerts"]
        jobs = {(job["name"], job["model"]): job for job in call(f"{shop.control}/v1/jobs")[1]["jobs"]}
        assert {name for name, model in jobs if model == "fraud_detection"} >= {"watch", "performance", "guard"}, jobs
        assert all(job["failures"] == 0 for job in jobs.values()), jobs
        before, rows = len(own()), call(f"{shop.control}/v1/drift?name=fraud_detection&window_hours=240")[1]["decisions"]
        assert rows == seen
        shop.server.stop()
        shop.server.start()
        wait(lambda: looked_until(shop))
        assert len(own()) == before
        assert call(f"{shop.control}/v1/drift?name=fraud_detection&window_hours=240")[1]["decisions"] == rows


def test_several_data_planes_are_one_window(tmp_path):
    shop = Shop(tmp_path, days=60, train_days=50)
    with running(shop.server):
        port = free_port()
        remote = Server([SERIN, "serve", "-m", "models:/fraud_detection@champion", "--tracking-uri", shop.control, "--state", str(tmp_path / "other"), "--port", str(port), "--monitor-every", "0.2", "--max-event-age", "36500d"], port, tmp_path)
        with running(remote):
            frame = shop.between(50, 53)
            decide(shop.port, frame[::2], shop.features)
            decide(port, frame[1::2], shop.features)
            show = f"{shop.control}/v1/drift?name=fraud_detection&window_hours=96"
            wait(lambda: call(show)[1].get("decisions") == len(frame), 30)
            # The server away: the plane answers, and hands over when it is back.
            shop.server.stop()
            more = shop.between(53, 54)
            decide(port, more, shop.features)
            shop.server.start()
            wait(lambda: call(show)[1].get("decisions") == len(frame) + len(more), 30)
            assert call(f"{shop.control}/v1/panes", {"panes": [{"id": "x"}]})[0] == 400


def test_a_configuration_that_is_wrong_is_refused(tmp_path):
    config = tmp_path / "serin.toml"
    for text, expected in [
        ("[monitoring]\nwindow = 3\n", "unknown field `window`"),
        ('[alerts]\nmute = ["noise"]\n', "the rules are drift"),
        ('[retraining]\nschedule = "sometimes"\n', "retraining.schedule"),
        ('[[alerts.to]]\nkind = "slack"\nurl = "hooks"\n', "http"),
        ('[[alerts.to]]\nkind = "pigeon"\n', "pigeon"),
        ('[[alerts.to]]\nkind = "email"\nsmtp = "smtp://user:secret@127.0.0.1"\nfrom = "nobody"\nto = "a@b.c"\n', "from"),
    ]:
        config.write_text(text)
        printed = run("server", "--state", tmp_path / "state", "--port", free_port(), "--config", config, ok=False)
        assert expected in printed and "secret" not in printed, printed


def backtest(folder, seed, *drift):
    """A model of days 30 to 70, and what the monitor says of four later weeks."""
    data = folder / "payments.parquet"
    run("simulate", "--out", data, "--customers", 2000, "--terminals", 4000, "--days", 98, "--seed", seed, *drift)
    frame = pd.read_parquet(data)
    first = frame.TX_DATETIME.min().normalize()
    between = lambda a, b: frame[(frame.TX_DATETIME >= first + pd.Timedelta(days=a)) & (frame.TX_DATETIME < first + pd.Timedelta(days=b))]
    between(30, 70).to_parquet(folder / "training.parquet")
    between(70, 98).to_parquet(folder / "later.parquet")
    columns = ["--label", "TX_FRAUD", "--time", "TX_DATETIME"]
    features = [name for name in frame.columns if name not in ROLES]
    run("train", folder / "training.parquet", *columns, "--features", ",".join(features), "--state", folder / "state", "--rounds", 50, "--alert-rate", "0.01", "--alias", "champion")
    found = json.loads(run("monitor", folder / "later.parquet", *columns, "--state", folder / "state", "--model", "models:/fraud_detection@champion", "--json"))
    began = [alert for alert in found["alerts"] if alert["began"]]
    hours = lambda alert: (pd.Timestamp(alert["at"]).tz_localize(None) - first) / pd.Timedelta(hours=1) - 80 * 24
    return found["looks"], [(hours(alert), alert["rule"], alert["subject"]) for alert in began]


@pytest.mark.parametrize("seed", [1, 2])
def test_four_quiet_weeks_are_quiet(tmp_path, seed):
    looks, began = backtest(tmp_path, seed)
    assert looks == 28 * 24 and began == []


@pytest.mark.parametrize("drift,rule,subject,within", [
    ("cents@80", "drift", "TX_AMOUNT", 6),
    ("null:TERMINAL_ID_RISK_7DAY_WINDOW@80", "data-quality", "TERMINAL_ID_RISK_7DAY_WINDOW", 6),
    ("shifted-population@80", "drift", "TX_AMOUNT", 24),
])  # fmt: skip
def test_injected_drift_is_alerted_in_time(tmp_path, drift, rule, subject, within):
    _, began = backtest(tmp_path, 3, "--drift", drift)
    print(began)
    assert all(hour > 0 for hour, *_ in began), "nothing before"
    assert any(hour <= within and (kind, of) == (rule, subject) for hour, kind, of in began)
