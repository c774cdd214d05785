"""Runs in Evidently's own environment: scores of two files by the real Evidently, as JSON on standard output."""

import json
import sys
import warnings

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift
from evidently.presets import DataDriftPreset

warnings.simplefilter("ignore")
reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
wanted = json.loads(sys.argv[3])


def run(metrics):
    snapshot = Report(metrics).run(Dataset.from_pandas(current, DataDefinition()), Dataset.from_pandas(reference, DataDefinition()))
    return json.loads(snapshot.json())


answer = {"preset": run([DataDriftPreset()]), "scores": {}}
for column, methods in wanted.items():
    for method in methods:
        try:
            answer["scores"][f"{column} {method}"] = run([ValueDrift(column=column, method=method)])["metrics"][0]["value"]
        except Exception as error:  # noqa: BLE001 - whatever it raises is its answer
            answer["scores"][f"{column} {method}"] = f"error: {error}"
print(json.dumps(answer))
