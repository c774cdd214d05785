"""Replaying the recorded traffic of MLflow 3.17.2's server (fixtures/mlflow_wire_probe.jsonl) against another one.

An id in a recorded answer stands for whatever the other server put there; times, random names and the texts of SQL
errors are not compared, nor is the order of tags, params and metrics, which MLflow does not define.
"""

import http.client
import json
import re
from pathlib import Path

PROBE = Path(__file__).parent / "fixtures" / "mlflow_wire_probe.jsonl"
ID = re.compile(r"^(m-)?[0-9a-f]{32}$")
TIMES = {
    "creation_time", "last_update_time", "creation_timestamp", "last_updated_timestamp", "creation_timestamp_ms",
    "last_updated_timestamp_ms",
}
SETS = {"tags", "params", "metrics", "aliases", "latest_versions", "dataset_inputs", "files"}

# label -> why serin answers otherwise than the recorded server
DEVIATIONS = {
    "run create no exp": "a run without experiment goes to experiment 0 instead of failing with an SQL text",
    "bad json": "malformed JSON is the caller's mistake (400), not a 500 that clients retry for minutes",
    "misc /metrics": "the monitor's figures for Prometheus",
    "graphql": "GraphQL serves MLflow's own browser UI only",
    "exp rename deleted": "400 instead of a 500 that clients retry",
    "stage archive none": "400 instead of a 500 that clients retry",
    "art backslash": "a backslash in a path is refused",
    "art list root": "so that file is not there",
    "misc /api/3.0/mlflow/server-info": "there is no AI gateway",
    "misc /ajax-api/3.0/mlflow/server-info": "there is no AI gateway",
    "misc /": "serin shows its own page",
    "lm params dup": "the same param again is no error: clients retry",
    "outputs dup": "the same output again is no error: clients retry",
    "lm search: status='READY'": "a status is compared by its name, not with the number in the column",
    "lm search: foo='x'": "an unknown attribute is the caller's mistake (400)",
}


class Replay:
    def __init__(self, host: str, port: int):
        self.host, self.port, self.ids = host, port, {}

    def translated(self, text: str) -> str:
        for recorded, ours in self.ids.items():
            text = text.replace(recorded, ours)
        return text

    def send(self, record):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        headers, body = {}, None
        if record["req"] is not None:
            raw = isinstance(record["req"], str)
            body = record["req"] if raw else self.translated(json.dumps(record["req"]))
            headers["Content-Type"] = "application/json"
        if "mlflow-artifacts/artifacts" in record["url"]:
            headers.pop("Content-Type", None)
        label = record["label"]
        if "text/plain" in label or "ctype" in label:
            headers["Content-Type"] = "text/plain"
        if label == "no ctype" or "missing ctype" in label:
            headers.pop("Content-Type", None)
        if label == "bad host":
            headers["Host"] = "evil.example"
        if label == "bad origin":
            headers["Origin"] = "http://evil.example"
        connection.request(record["method"], self.translated(record["url"]), body, headers)
        response = connection.getresponse()
        content = response.read().decode("utf-8", "replace")
        try:
            content = json.loads(content)
        except ValueError:
            pass
        return response.status, content

    def same(self, recorded, got, key=""):
        """Differences between a recorded and a received value."""
        if key in TIMES:
            return [] if isinstance(got, int) else [f"{key}: {got!r} is no time"]
        if isinstance(recorded, str) and isinstance(got, str) and ID.match(recorded) and ID.match(got):
            if self.ids.setdefault(recorded, got) != got:
                return [f"{key}: another id"]
            return []
        if isinstance(recorded, dict) and isinstance(got, dict):
            differences = []
            for name in sorted(set(recorded) | set(got)):
                if name in ("sqlstate", "error_class"):
                    continue
                if name not in got:
                    differences.append(f"{key}.{name} is missing")
                elif name not in recorded:
                    differences.append(f"{key}.{name} is more: {got[name]!r}")
                else:
                    differences += self.same(recorded[name], got[name], name)
            return differences
        if isinstance(recorded, list) and isinstance(got, list):
            if len(recorded) != len(got):
                return [f"{key}: {len(got)} items instead of {len(recorded)}"]
            if key in SETS:
                by = lambda item: json.dumps(item.get("key", item.get("path", item.get("version", item))) if isinstance(item, dict) else item)
                recorded, got = sorted(recorded, key=by), sorted(got, key=by)
            return [d for a, b in zip(recorded, got) for d in self.same(a, b, key)]
        if isinstance(recorded, str) and isinstance(got, str):
            wanted = self.translated(recorded)
            if re.fullmatch(r"[a-z]+-[a-z]+-\d+", recorded) and re.fullmatch(r"[a-z]+-[a-z]+-\d+", got):
                return []
            return [] if wanted == got else [f"{key}: {got!r} instead of {wanted!r}"]
        return [] if recorded == got else [f"{key}: {got!r} instead of {recorded!r}"]

    def compare(self, record):
        """(differences in meaning, differences in wording)"""
        status, got = self.send(record)
        recorded = record["resp"]
        hard, soft = [], []
        if status != record["status"]:
            hard.append(f"status {status} instead of {record['status']}: {str(got)[:200]}")
        elif isinstance(recorded, dict) and "error_code" in recorded:
            if not isinstance(got, dict) or got.get("error_code") != recorded["error_code"]:
                hard.append(f"{got} instead of {recorded['error_code']}")
            elif self.same(recorded["message"], got["message"]):
                soft.append(f"{got['message'][:160]!r} instead of {recorded['message'][:160]!r}")
        elif status < 400 or isinstance(recorded, dict):
            # Twice: the first time learns the ids.
            self.same(recorded, got)
            hard += self.same(recorded, got)
        return hard, soft


def records():
    """The recording, with the values of metric `lat` that it reads but does not show being written."""
    for line in PROBE.read_text().splitlines():
        record = json.loads(line)
        if record["label"] == "bulk":
            run = re.search("run_ids=([0-9a-f]{32})", record["url"]).group(1)
            for step, timestamp, value in [(2, 5, 7.0), (1, 9, 9.0), (1, 10, 0.5), (1, 10, 1.0), (1, 10, 2.0), (0, 20, 6.0)]:
                metric = {"run_id": run, "key": "lat", "value": value, "timestamp": timestamp, "step": step}
                url = "/api/2.0/mlflow/runs/log-metric"
                yield {"label": "lat", "method": "POST", "url": url, "req": metric, "status": 200, "resp": {}}
        yield record


if __name__ == "__main__":
    import sys

    replay = Replay("127.0.0.1", int(sys.argv[1]))
    same = worded = total = 0
    for record in records():
        hard, soft = replay.compare(record)
        total += 1
        same += not hard
        worded += not hard and bool(soft)
        for line in hard:
            print("DIFFERS", record["label"], "|", record["method"], record["url"][:100], "|", line[:260])
        for line in soft:
            print("  words", record["label"], "|", line)
    print(f"{same} of {total} alike, {worded} of them in other words")
