"""Alerts that are let through on purpose: they stand for those that were stopped, in figures and in later models."""

import json
import urllib.request

import duckdb
import pytest
from servers import running
from test_monitoring import DAY, Shop, call, decide, milliseconds, run, samples


def test_what_is_let_through_stands_for_what_is_stopped(tmp_path):
    shop = Shop(tmp_path, days=70, train_days=30, customers=1500, train=("--alert-rate", "0.02"), serving=("--explore", "0.4"))
    with running(shop.server):
        later = shop.between(30, 70)
        actions = decide(shop.port, later, shop.features)
        text = urllib.request.urlopen(f"http://127.0.0.1:{shop.port}/metrics", timeout=10).read().decode()
        [(_, explored)] = samples(text, "serin_explored_total")
        assert explored > 20

        file = tmp_path / "later.parquet"
        later.to_parquet(file)
        truth = json.loads(run("evaluate", file, *shop.columns[:8], "--model", "models:/fraud_detection@champion", "--state", shop.state, "--json"))
        truth = truth.get("metrics", truth)

        # Nobody learns what a stopped payment was: it has a label that says genuine, since nobody complained.
        passed = [action == "pass" for action in actions]
        labels = shop.labels(later)
        for label, went in zip(labels, passed):
            label["label"] = label["label"] if went else 0
        assert call(f"{shop.control}/v1/labels", {"labels": labels})[0] == 200
        as_of = milliseconds(later.TX_DATETIME).max() + 8 * DAY
        url = f"{shop.control}/v1/performance?name=fraud_detection&amount=TX_AMOUNT&as_of={as_of}"
        [group] = call(url)[1]["groups"]
        assert group["alerts"] == group["explored"] + group["held"], "every alert is one of them"
        assert group["explored"] > 20 and group["held"] > group["explored"]
        # Within what chance does to so few (three deviations of the weighted share), where labels alone say a recall far off.
        found = group["metrics"]
        assert found["recall"] == pytest.approx(truth["recall"], abs=0.12)
        assert found["precision"] == pytest.approx(truth["precision"], abs=0.2)
        assert found["alert_rate"] == pytest.approx(truth["alert_rate"], rel=0.25)
        # Who asks again hears the same; an alert that passes says so.
        known = [row for row, went in enumerate(passed) if not went]
        assert decide(shop.port, later.iloc[known[:50]], shop.features) == ["alert"] * len(known[:50])
        again = [{"transaction_id": f"tx-{row.TRANSACTION_ID}", "features": {name: float(getattr(row, name)) for name in shop.features}} for row in later.head(4000).itertuples()]
        made = call(f"http://127.0.0.1:{shop.port}/v1/decisions", {"transactions": again})[1]["decisions"]
        assert [decision["action"] for decision in made] == actions[:4000]
        told = next(decision for decision in made if "explored" in decision)
        assert told["action"] == "pass" and told["score"] >= told["threshold"] and 0.04 <= told["explored"] <= 0.4000001
        naive = later.TX_FRAUD[passed]
        assert naive.sum() < 0.75 * later.TX_FRAUD.sum(), "what passed holds too few of the frauds"

    # One decision by its id: what was asked for, what was done, and the same bits.
    replayed = json.loads(run("replay", "--id", told["decision_id"], "--state", shop.state, "--json"))
    assert replayed["action"] == "pass" and replayed["replayed"]["same_bits"] is True
    assert replayed["exploration"] == {"propensity": pytest.approx(told["explored"]), "let_through": True}
    # A later model is trained and judged without those that were held, the others weighted; on files with --weight too.
    outcome = json.loads(run("retrain", "--state", shop.state, "--as-of", as_of, "--gate-days", 10, "--train-days", 30, "--min-frauds", 10, "--json", "--", "--rounds", "20").splitlines()[0])
    day = shop.between(61, 70)
    assert outcome["version"] == 2 and 0 < outcome["comparison"]["rows"] < len(day) * 1.2, outcome
    run("export", "--out", tmp_path / "out", "--state", shop.state)
    rows = duckdb.sql(f"select alert, propensity, score >= threshold as asked from read_parquet('{tmp_path}/out/**/*.parquet')").df()
    assert (rows.propensity.notna() == rows.asked).all() and not rows.alert[~rows.asked].any()
    assert 0 < (rows.asked & ~rows.alert).sum() < rows.asked.sum()


def test_a_share_that_is_none_is_refused(tmp_path):
    printed = run("serve", "-m", "nowhere", "--explore", "0.9", "--state", tmp_path, ok=False)
    assert "0.9" in printed and "at most 0.5" in printed
