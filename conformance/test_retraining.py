"""The loop closes: a new fraud is missed, labels say so, a challenger is trained, judged, released; and bad labels teach nothing."""

import json

import pandas as pd
from servers import Server, running
from test_monitoring import DAY, Shop, call, decide, milliseconds, run, wait
from test_rollout import CANARY

START, PATTERN, DAYS = 40, 50, 90
CONFIG = """
[monitoring]
clock = "events"
every_seconds = 0.2
amount = "TX_AMOUNT"
review_cost = 1.0
min_frauds = 30

[retraining]
enabled = true
cool_down_days = 2
most_a_week = 3
options = ["--gate-days", "5", "--test-days", "3", "--train-days", "60"]
"""


class Loop(Shop):
    """A shop whose traffic comes day by day, and its labels a week later."""

    def __init__(self, folder, *simulation, config=CONFIG, **more):
        file = folder / "serin.toml"
        file.write_text(config)
        self.canary = folder / "canary.yaml"
        # A version that has learnt a new fraud disagrees with one that has not.
        self.canary.write_text(CANARY.replace("min-shadow: 300ms", 'min-shadow: 300ms, serin.dev/max-disagreement: "0.8", serin.dev/tolerance: "4"'))
        super().__init__(folder, *simulation, customers=1200, days=DAYS, train_days=START, up=["--config", str(file)], train=["--cost", "1"], **more)
        self.stopped = False

    def day(self, day, labelled=True):
        frame = self.between(day, day + 1)
        self.newest = milliseconds(frame.TX_DATETIME).max()
        decide(self.port, frame, self.features, batch=250)
        if labelled:
            labels = self.labels(self.between(day - 7, day - 6))
            if day - 7 >= START:
                status, answer = call(f"{self.control}/v1/labels", {"labels": labels})
                assert status == 200, answer

    def retrainings(self):
        return call(f"{self.control}/v1/retrainings?name=fraud_detection")[1]["retrainings"]

    def caught_up(self):
        """The monitor has looked at every whole hour, and no retraining runs that it has set off."""
        hour = self.newest // 3_600_000 * 3_600_000

        def reached():
            told = call(f"{self.control}/v1/retrainings?name=fraud_detection")[1]
            return (told["looked_until"] or 0) >= hour and not told["running"]

        wait(reached, 300)
        assert all(one["ended_at"] is not None for one in self.retrainings())

    def figures(self, since, until):
        at = lambda day: milliseconds(pd.Series([self.first + pd.Timedelta(days=day)]))[0]
        show = f"{self.control}/v1/performance?name=fraud_detection&as_of=newest&maturity_days=0&since={at(since)}&until={at(until)}"
        [group] = call(show)[1]["groups"]
        return {name: round(group["metrics"][name], 3) for name in ("recall", "precision", "average_precision")}


def test_a_new_fraud_is_learnt_and_released(tmp_path):
    loop = Loop(tmp_path, "--drift", f"new-pattern@{PATTERN}", serving=["--canary", str(tmp_path / "canary.yaml"), "--fast-canary", "--poll", "0.1"])
    status = lambda: call(f"http://127.0.0.1:{loop.port}/v1/rollout")[1]
    timeline, promoted = [], None
    with running(loop.server):
        for day in range(START, DAYS):
            loop.day(day)
            loop.caught_up()
            timeline = list(reversed(loop.retrainings()))
            if promoted is None and any(one["outcome"] == "accepted" for one in timeline):
                for turn in range(100):
                    # Ids of their own: a repeated one keeps its arm, and the split would not be that of chance.
                    decide(loop.port, loop.between(day, day + 1), loop.features, batch=250, prefix=f"again-{turn}-")
                    if status() and status()["phase"] in ("Succeeded", "Failed"):
                        break
                print(f"day {day}: rollout {status()['phase']}: {status()['history'][-1]['message']}")
                if status()["phase"] == "Succeeded":
                    promoted = day
                else:
                    break
            if promoted and day >= promoted + 6:
                break
        for one in timeline:
            at = pd.Timestamp(one["started_at"], unit="ms") - loop.first
            print(f"{at}: {one['cause']} ({one['reason']}): {one['outcome']}, {one['verdict']}")
        assert promoted, timeline
        accepted = next(one for one in timeline if one["outcome"] == "accepted")
        assert accepted["cause"] in ("drift", "performance")
        # What is not known yet is told at last, to see what happened.
        call(f"{loop.control}/v1/labels", {"labels": loop.labels(loop.between(START, day + 1), delay=0)})
        during, after = loop.figures(PATTERN, promoted), loop.figures(promoted + 1, day + 1)
        print("before", loop.figures(START, PATTERN), "new fraud", during, "after", after)
        assert after["average_precision"] > during["average_precision"] + 0.1
        assert after["recall"] > during["recall"]


def outcome(*command):
    return json.loads(next(line for line in run(*command).splitlines() if '"outcome"' in line))


def test_biased_or_few_labels_teach_nothing(tmp_path):
    loop = Loop(tmp_path)
    retrain = ["retrain", "--state", loop.state, "--as-of", "newest", "--amount", "TX_AMOUNT", "--review-cost", 1, "--json"]
    with running(loop.server):
        rows = loop.between(START, START + 28)
        actions = decide(loop.port, rows, loop.features)
        labels = loop.labels(rows)
        # Only what was looked at has a label.
        looked_at = [label for label, action in zip(labels, actions) if action == "alert"]
        call(f"{loop.control}/v1/labels", {"labels": looked_at})
        found = outcome(*retrain)
        assert found["outcome"] == "discarded" and found["version"] is None
        assert "of the matured transactions are labelled" in found["verdict"]
        # Counted as genuine, the missed frauds teach that what is missed is genuine; and the newest labels are complete.
        gate = rows.TX_DATETIME >= rows.TX_DATETIME.max() - pd.Timedelta(days=14)
        call(f"{loop.control}/v1/labels", {"labels": [label for label, newest in zip(labels, gate) if newest]})
        wrong = [{**label, "source": "analyst", "label": 0, "known_at": label["known_at"] - DAY} for label, newest in zip(labels, gate) if not newest and label["label"] and label["occurred_at"] % 3]
        call(f"{loop.control}/v1/labels", {"labels": [{**label, "known_at": label["known_at"] + DAY} for label in wrong]})
        found = outcome(*retrain, "--unlabelled", "genuine")
        assert found["outcome"] == "discarded" and found["version"] == 2, found
        assert "it may be worse" in found["verdict"] or "no proof" in found["verdict"]
        both = [one["outcome"] for one in loop.retrainings()]
        assert both == ["discarded", "discarded"]
        # Nothing moved.
        assert call(f"{loop.control}/api/2.0/mlflow/registered-models/alias?name=fraud_detection&alias=challenger")[0] == 400
        live = call(f"{loop.control}/api/2.0/mlflow/registered-models/alias?name=fraud_detection&alias=champion")[1]
        assert live["model_version"]["version"] == "1"
        version = call(f"{loop.control}/api/2.0/mlflow/model-versions/get?name=fraud_detection&version=2")[1]["model_version"]
        tags = {tag["key"]: tag["value"] for tag in version["tags"]}
        assert tags["serin.gate"].startswith("discarded: ")
        run_tags = call(f"{loop.control}/api/2.0/mlflow/runs/get?run_id={version['run_id']}")[1]["run"]["data"]["tags"]
        assert {"key": "serin.cause", "value": "manual"} in run_tags
