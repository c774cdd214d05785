"""What became of decisions: labels late, shuffled, twice and corrected give the batch's figures; on SQLite and PostgreSQL."""

import http.client
import json
import os
import random
import subprocess
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


def decide(port, frame, features, batch=2000):
    """Sends payments in their order, with their times; the actions."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times, actions = milliseconds(frame.TX_DATETIME).tolist(), []
    rows = frame[features].astype(float).to_dict("records")
    ids, cards = frame.TRANSACTION_ID.tolist(), frame.CUSTOMER_ID.tolist()
    for start in range(0, len(rows), batch):
        part = range(start, min(start + batch, len(rows)))
        transactions = [
            {"transaction_id": f"tx-{ids[i]}", "entity": str(cards[i]), "timestamp": times[i], "features": {name: None if value != value else value for name, value in rows[i].items()}}
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

    def __init__(self, folder, *simulation, days=50, train_days=30, customers=600, up=(), train=()):
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
        run("train", file, *columns, "--state", self.state, "--rounds", 60, "--delay-days", 5, "--test-days", 7, "--alert-rate", "0.01", "--alias", "champion", *train)
        self.columns = columns
        self.port, self.own = free_port(), free_port()
        command = [SERIN, "up", "--state", str(self.state), "--port", str(self.own), "--scoring-port", str(self.port), *up, "--", "-m", "models:/fraud_detection@champion"]
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
        assert call(f"{server.url}/v1/performance?name=fraud_detection")[1]["groups"] == []


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
