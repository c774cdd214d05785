"""Late labels after a promotion: the version before is put back where a loss is proven, and only there."""

import json

import pytest
from mlflow import MlflowClient
from servers import running
from test_monitoring import DAY, Shop, alerts, call, decide, milliseconds, run, wait

CONFIG = """
[monitoring]
clock = "events"
every_seconds = 0.2
maturity_days = 7
amount = "TX_AMOUNT"
review_cost = 2.0
[guard]
{guard}
"""


def promoted(tmp_path, training, guard=""):
    """A shop whose version 2, trained so, takes the place of version 1 before there is any traffic."""
    config = tmp_path / "serin.toml"
    config.write_text(CONFIG.format(guard=guard))
    shop = Shop(tmp_path, days=75, train_days=40, customers=1000, up=("--config", str(config)), serving=("--monitor-every", "0.3"))
    run("train", tmp_path / "training.parquet", *shop.columns, "--state", shop.state, "--delay-days", 5, "--test-days", 7, "--alert-rate", "0.01", *training)
    return shop


def live(shop):
    [model] = call(f"http://127.0.0.1:{shop.port}/v1/models")[1]["models"]
    return model["version"]


def play(shop, frame):
    """Days one after the other, each seen before the next begins; labels are known a week after."""
    assert call(f"{shop.control}/v1/labels", {"labels": shop.labels(frame)})[0] == 200
    for _, day in frame.groupby(frame.TX_DATETIME.dt.normalize()):
        decide(shop.port, day, shop.features)
        hour = milliseconds(day.TX_DATETIME).max() // 3_600_000 * 3_600_000
        wait(lambda: call(f"{shop.control}/v1/drift?name=fraud_detection")[1].get("until", 0) > hour)


def history(shop):
    return call(f"{shop.control}/api/v1/models/fraud_detection/history")[1]["history"]


def test_a_promoted_version_that_loses_money_is_put_back(tmp_path):
    shop = promoted(tmp_path, ["--rounds", 1, "--set", "max_depth=1"])
    with running(shop.server):
        assert call(f"{shop.control}/v1/guard?name=fraud_detection")[0] == 404, "version 1 took nobody's place"
        client = MlflowClient(shop.control)
        client.set_registered_model_alias("fraud_detection", "champion", "2")
        wait(lambda: live(shop) == "2")
        play(shop, shop.between(40, 62))
        wait(lambda: live(shop) == "1")
        assert client.get_model_version_by_alias("fraud_detection", "champion").version in (1, "1")
        [undone] = [entry for entry in history(shop) if entry["change"] == "alias" and entry["actor"] == "serin guard"]
        assert str(undone["version"]) == "1" and "version 2 lost" in undone["reason"] and "cost is" in undone["reason"]
        [alert] = [alert for alert in alerts(shop) if alert["subject"] == "promotion"]
        assert alert["severity"] == "critical" and alert["resolved_at"] and "version 1 is live again" in alert["message"]
        assert client.get_model_version("fraud_detection", "2").tags["serin.rollout"].startswith("RolledBack")
        # What it put back is not put back again: version 1 answers, whatever comes.
        play(shop, shop.between(62, 68))
        assert live(shop) == "1" and len([entry for entry in history(shop) if entry["actor"] == "serin guard" and entry["change"] == "alias"]) == 1


def test_a_version_that_is_as_good_stays_and_a_loss_can_be_an_alert_only(tmp_path):
    (tmp_path / "same").mkdir()
    shop = promoted(tmp_path / "same", ["--rounds", 55])
    with running(shop.server):
        MlflowClient(shop.control).set_registered_model_alias("fraud_detection", "champion", "2")
        wait(lambda: live(shop) == "2")
        frame = shop.between(40, 75)
        play(shop, frame)
        as_of = milliseconds(frame.TX_DATETIME).max()
        status, found = call(f"{shop.control}/v1/guard?name=fraud_detection&as_of={as_of}")
        assert status == 200, [entry["reason"] for entry in history(shop)]
        assert (found["version"], found["previous"], found["target"], found["loss"]) == (2, 1, "champion", None)
        matured = frame[milliseconds(frame.TX_DATETIME) + 7 * DAY <= as_of]
        assert (found["matured"], found["frauds"]) == (len(matured), matured.TX_FRAUD.sum()) and found["frauds"] >= 50
        recall = found["at_as_many_alerts"]["recall"]
        assert recall["interval"][0] <= recall["gain"] <= recall["interval"][1]
        # The promoted version's own figures are those of `serin evaluate` on the same rows.
        file = tmp_path / "matured.parquet"
        matured.to_parquet(file)
        for version, side in [(1, "previous"), (2, "promoted")]:
            batch = json.loads(run("evaluate", file, *shop.columns[:8], "--model", f"models:/fraud_detection/{version}", "--state", shop.state, "--review-cost", 2, "--json"))
            batch = batch.get("metrics", batch)
            own = found["at_own_thresholds"]
            assert own["recall"][side] == pytest.approx(batch["recall"]) and own["cost"][side] == pytest.approx(batch["cost"])
        assert live(shop) == "2" and not [entry for entry in history(shop) if entry["actor"] == "serin guard"]

    (tmp_path / "told").mkdir()
    shop = promoted(tmp_path / "told", ["--rounds", 1, "--set", "max_depth=1"], guard="rollback = false")
    with running(shop.server):
        MlflowClient(shop.control).set_registered_model_alias("fraud_detection", "champion", "2")
        wait(lambda: live(shop) == "2")
        play(shop, shop.between(40, 62))
        [*_, alert] = wait(lambda: [alert for alert in alerts(shop) if alert["subject"] == "promotion"])
        assert "is worse than 1 before it" in alert["message"] and "live again" not in alert["message"]
        assert live(shop) == "2"
