"""serin's model package and figures as Python's own tools see them."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from servers import CLEAN, SERIN
from sklearn import metrics as sk

FEATURES = [
    "TX_AMOUNT", "TX_DURING_WEEKEND", "TX_DURING_NIGHT", "CUSTOMER_ID_NB_TX_7DAY_WINDOW",
    "CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW", "TERMINAL_ID_NB_TX_7DAY_WINDOW", "TERMINAL_ID_RISK_7DAY_WINDOW",
]


def serin(*arguments: str) -> str:
    done = subprocess.run([SERIN, *arguments], capture_output=True, text=True, env=CLEAN)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serin")
    data = folder / "payments.parquet"
    serin("simulate", "--out", str(data), "--customers", "800", "--terminals", "1600", "--days", "50", "--seed", "5")
    out = serin(
        "train", str(data), "--label", "TX_FRAUD", "--time", "TX_DATETIME", "--entity", "CUSTOMER_ID", "--amount", "TX_AMOUNT",
        "--features", ",".join(FEATURES), "--rounds", "40", "--json", "--keep-known-cards", "--cost", "5",
        "--state", str(folder / "state"), "--stage", "Production",
    )
    result = json.loads(out)
    frame = pd.read_parquet(data)
    last = frame["TX_DATETIME"].dt.normalize().max()
    test = frame[frame["TX_DATETIME"] >= last - pd.Timedelta(days=6)]
    return folder, result, Path(result["package"]), test


def margins(package: Path, frame: pd.DataFrame) -> np.ndarray:
    booster = xgb.Booster(model_file=package / "model.ubj")
    return booster.predict(xgb.DMatrix(frame[FEATURES].astype("float32")), output_margin=True)


def test_the_file_has_the_published_columns_and_types(trained):
    frame = trained[3]
    assert len(frame.columns) == 23
    assert str(frame["TX_DATETIME"].dtype).startswith("datetime64") and frame["CUSTOMER_ID"].dtype == np.int32


def test_xgboost_loads_the_model_and_gives_the_golden_bits(trained):
    _, _, package, _ = trained
    manifest = json.loads((package / "serin.json").read_text())
    rows = pd.DataFrame([row["values"] for row in manifest["golden_rows"]], columns=FEATURES)
    expected = np.array([row["margin_bits"] for row in manifest["golden_rows"]], dtype=np.uint32)
    assert (margins(package, rows).view(np.uint32) == expected).all()


def test_mlflow_loads_the_package(trained):
    import mlflow

    _, _, package, test = trained
    rows = test[FEATURES].astype("float64").head(500)
    expected = 1 / (1 + np.exp(-margins(package, rows).astype("float64")))
    booster = mlflow.xgboost.load_model(str(package))
    assert isinstance(booster, xgb.Booster) and booster.feature_names == FEATURES
    model = mlflow.pyfunc.load_model(str(package))
    assert [column.name for column in model.metadata.signature.inputs] == FEATURES
    np.testing.assert_allclose(model.predict(rows), expected, rtol=1e-6)
    with pytest.raises(Exception, match="missing inputs"):
        model.predict(rows.drop(columns=["TX_AMOUNT"]))


def test_metrics_equal_scikit_learn(trained):
    _, result, package, test = trained
    scores = xgb.Booster(model_file=package / "model.ubj").predict(xgb.DMatrix(test[FEATURES].astype("float32")))
    labels = test["TX_FRAUD"].to_numpy()
    threshold = np.float32(result["threshold"])
    alerts = scores >= threshold
    fpr, tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    expected = {
        "rows": len(test),
        "frauds": labels.sum(),
        "auc_roc": sk.roc_auc_score(labels, scores),
        "average_precision": sk.average_precision_score(labels, scores),
        "log_loss": sk.log_loss(labels, scores.astype("float64")),
        "brier": sk.brier_score_loss(labels, scores.astype("float64")),
        "precision": sk.precision_score(labels, alerts),
        "recall": sk.recall_score(labels, alerts),
        "f1": sk.f1_score(labels, alerts),
        "recall_at_fpr_1pct": tpr[fpr <= 0.01].max(),
        "recall_at_fpr_0.1pct": tpr[fpr <= 0.001].max(),
        "cost": test["TX_AMOUNT"][(labels == 1) & ~alerts].sum() + 5 * alerts.sum(),
        "card_precision_at_100": card_precision(test, scores, 100),
    }
    for name, value in expected.items():
        assert result["metrics"][name] == pytest.approx(value, rel=1e-12, abs=1e-12), name


def card_precision(test: pd.DataFrame, scores: np.ndarray, k: int) -> float:
    frame = test.assign(score=scores, day=test["TX_DATETIME"].dt.date)
    found, values = set(), []
    for _, day in frame.groupby("day"):
        cards = day.groupby("CUSTOMER_ID")[["score", "TX_FRAUD"]].max()
        cards = cards[~cards.index.isin(found)]
        top = cards.sort_values("score", ascending=False, kind="stable").head(k)
        hits = top.index[top["TX_FRAUD"] == 1]
        found |= set(hits)
        values.append(len(hits) / k)
    return float(np.mean(values))


def test_mlflow_reads_the_database_rows(trained):
    """The tables hold what MLflow's own columns promise."""
    import sqlite3

    folder, result, _, _ = trained
    database = sqlite3.connect(folder / "state" / "serin.db")
    status, lifecycle = database.execute("select status, lifecycle_stage from runs where run_uuid = ?", (result["run_id"],)).fetchone()
    assert (status, lifecycle) == ("FINISHED", "active")
    assert database.execute("select current_stage from model_versions").fetchall() == [("Production",)]
    stored = dict(database.execute("select key, value from latest_metrics where run_uuid = ?", (result["run_id"],)))
    assert stored["auc_roc"] == result["metrics"]["auc_roc"]
