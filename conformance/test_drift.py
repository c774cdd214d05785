"""`serin drift` beside the real Evidently, on random frames; its environment is its own, since it needs an older pandas."""

import json
import math
import os
import subprocess

import numpy as np
import pandas as pd
import pytest
from servers import CLEAN, SERIN

ORACLE = os.environ["EVIDENTLY_PYTHON"]
NUM = ["ks", "wasserstein", "jensenshannon", "psi", "kl_div", "hellinger", "t_test", "mannw", "es", "anderson", "cramer_von_mises", "ed"]
CAT = ["chisquare", "z", "jensenshannon", "psi", "kl_div", "hellinger", "g_test", "fisher_exact"]


def frame(rng, rows, shift):
    return pd.DataFrame({
        "amount": np.round(rng.lognormal(3 + shift, 1, rows), 2),
        "score": rng.beta(1, 30 - 40 * shift, rows),
        "gaps": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(shift, 1, rows)),
        "hour": rng.integers(0, 24, rows),
        "few": rng.poisson(2 + shift, rows).clip(0, 6),
        "level": rng.integers(0, 5, rows).astype(float) / 4,
        "night": (rng.random(rows) < 0.2 + shift).astype(int),
        "channel": rng.choice(["app", "pos", "web"], rows, p=[0.5 - shift, 0.3 + shift, 0.2]),
        "is_new": rng.random(rows) < 0.1,
    })


def ours(reference, current, *options):
    done = subprocess.run([SERIN, "drift", str(reference), str(current), *options], capture_output=True, text=True, env=CLEAN)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("seed", "rows", "shift"), [(1, (700, 500), 0.1), (2, (1000, 1300), 0.0), (3, (1001, 400), 0.05), (4, (3000, 2500), 0.2), (5, (600, 600), 0.02)])
def test_random_frames_score_as_evidently_scores_them(seed, rows, shift, tmp_path):
    rng = np.random.default_rng(seed)
    sides = frame(rng, rows[0], 0), frame(rng, rows[1], shift)
    paths = [tmp_path / "reference.parquet", tmp_path / "current.parquet"]
    for side, path in zip(sides, paths):
        side.to_parquet(path)
    kinds = {column["column"]: column["type"] for column in ours(*paths, "--json")["columns"]}
    wanted = {column: NUM if kind == "num" else CAT for column, kind in kinds.items()}
    theirs = json.loads(subprocess.run([ORACLE, "conformance/evidently_oracle.py", *map(str, paths), json.dumps(wanted)], capture_output=True, text=True, env={**CLEAN, "DO_NOT_TRACK": "1"}, check=True).stdout)
    report = tmp_path / "report.json"
    mine = ours(*paths, "--json", "--evidently-json", str(report))
    # The default report: same columns, same tests, same verdict, same numbers.
    preset, own = theirs["preset"]["metrics"], json.loads(report.read_text())["metrics"]
    assert {metric["metric_name"] for metric in own} == {metric["metric_name"] for metric in preset}
    values = {metric["metric_name"]: metric["value"] for metric in preset}
    for metric in own:
        expected = values[metric["metric_name"]]
        if isinstance(expected, dict):
            assert metric["value"] == pytest.approx(expected)
        else:
            assert metric["value"] == pytest.approx(expected, rel=1e-9, abs=1e-12), metric
    assert mine["share"] == pytest.approx(values[own[0]["metric_name"]]["share"])
    worst, compared, refused = 0.0, 0, 0
    for column, methods in wanted.items():
        for method in methods:
            expected = theirs["scores"][f"{column} {method}"]
            got = ours(*paths, "--json", "--columns", column, "--method", method)["columns"][0]
            if isinstance(expected, str) and expected.startswith("error"):
                assert "error" in got, (column, method, expected, got)
                refused += 1
                continue
            if expected is None or math.isnan(expected):
                assert got["score"] is None, (column, method, got)
                continue
            difference = abs(got["score"] - expected) / max(abs(expected), 1e-6)
            allowed = 1e-9 if abs(expected) > 1e-9 else 1e-3
            assert difference < allowed or (method == "cramer_von_mises" and abs(got["score"] - expected) < 1e-13), (column, method, got, expected)
            worst, compared = max(worst, difference if abs(expected) > 1e-9 else 0), compared + 1
    print(f"seed {seed}: {compared} scores, largest relative difference {worst:.1e}, {refused} refused by both")
    assert compared > 60


def test_files_pages_and_statuses(tmp_path):
    rng = np.random.default_rng(9)
    reference, current = frame(rng, 2000, 0), frame(rng, 2000, 0.3)
    reference["when"] = current["when"] = pd.Timestamp("2026-11-25")
    reference["note"] = [f"note {i}" for i in range(2000)]
    current["note"] = reference["note"]
    paths = [tmp_path / "reference.csv", tmp_path / "current.csv"]
    reference.to_csv(paths[0], index=False)
    current.to_csv(paths[1], index=False)
    page = tmp_path / "drift.html"

    def run(*options):
        return subprocess.run([SERIN, "drift", *map(str, options)], capture_output=True, text=True, env=CLEAN)

    done = run(*paths, "--html", page)
    assert done.returncode == 0 and "not compared: " in done.stdout and "note (free text)" in done.stdout and "when (points in time)" in done.stdout, done.stdout
    assert "amount" in page.read_text() and "<svg" in page.read_text() and "http" not in page.read_text().replace("http-equiv", "")
    assert run(*paths, "--fail-on", "dataset").returncode == 3
    assert run(paths[0], paths[0], "--fail-on", "column").returncode == 0
    for options, words in [
        ([paths[0], tmp_path / "none.csv"], "no file matches"),
        ([*paths, "--method", "kolmogorov"], "there are ks, wasserstein"),
        ([*paths, "--columns", "amuont"], "amuont"),
        ([*paths, "--columns", "when"], "no column of numbers or categories"),
    ]:
        failed = run(*options)
        assert failed.returncode == 1 and words in failed.stderr, failed.stderr
    empty = tmp_path / "empty.csv"
    current.assign(amount=np.nan).to_csv(empty, index=False)
    told = json.loads(run(paths[0], empty, "--json", "--columns", "amount").stdout)["columns"][0]
    assert told["error"] == "the current column has no values" and told["missing_current"] == 1.0
