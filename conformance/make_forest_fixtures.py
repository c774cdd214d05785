"""Writes small models of the installed XGBoost, with rows and margins, for serin-scoring's tests.

Run once per XGBoost version (needs numpy, scipy): python make_forest_fixtures.py OUT_DIR
Files: VERSION-KIND.{json,ubj} and VERSION-KIND.f32 (rows x columns float32, then rows x outputs margins).
"""

import sys
from pathlib import Path

import numpy as np
import xgboost as xgb

ROWS, COLUMNS = 200, 6


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    version = xgb.__version__
    x = rng.normal(size=(2000, COLUMNS)).astype(np.float32)
    x[:, 4] = rng.integers(0, 9, 2000)
    x[rng.random(x.shape) < 0.05] = np.nan
    filled = np.nan_to_num(x)
    signal = filled[:, 0] + filled[:, 1] * filled[:, 2] + (filled[:, 4] == 3)
    y = (signal + rng.normal(size=2000) > 0.8).astype(np.float32)
    classes = np.clip(np.digitize(signal, [-1, 0, 1]), 0, 3)
    kinds = {
        "logistic": ({"objective": "binary:logistic", "max_depth": 5}, y),
        "squared": ({"objective": "reg:squarederror", "max_depth": 4}, signal.astype(np.float32)),
        "gamma": ({"objective": "reg:gamma"}, np.abs(signal).astype(np.float32) + 0.1),
        "softprob": ({"objective": "multi:softprob", "num_class": 4, "max_depth": 3}, classes),
        "dart": ({"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.3, "max_depth": 3}, y),
        "categorical": ({"objective": "binary:logistic", "tree_method": "hist", "max_depth": 4, "max_cat_to_onehot": 1}, y),
    }
    rows = x[:ROWS]
    for kind, (parameters, label) in kinds.items():
        types = ["float"] * COLUMNS
        if kind == "categorical":
            types[4] = "c"
        train = xgb.DMatrix(x, label, feature_types=types, enable_categorical=True)
        booster = xgb.train({"seed": 1, "nthread": 1, **parameters}, train, 12)
        matrix = xgb.DMatrix(rows, feature_types=types, enable_categorical=True)
        margins = booster.predict(matrix, output_margin=True).astype(np.float32)
        for extension in ("json", "ubj"):
            booster.save_model(out / f"{version}-{kind}.{extension}")
        (out / f"{version}-{kind}.f32").write_bytes(rows.tobytes() + margins.tobytes())


main(Path(sys.argv[1]))
