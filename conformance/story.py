"""What a data scientist does with an MLflow client, told as plain values: the same calls on any server should tell the
same story. Run as a program (`python story.py URI`) it prints the story as JSON, so that a client of another version,
in another environment, can tell it too."""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ["MLFLOW_TRACKING_USERNAME"] = os.environ.get("MLFLOW_TRACKING_USERNAME", "")


def scrubbed(value):
    """Without what may differ: ids, times, versions of libraries."""
    if isinstance(value, dict):
        return {scrubbed(k): scrubbed(v) for k, v in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [scrubbed(v) for v in value]
    if isinstance(value, str):
        value = re.sub(r"m-[0-9a-f]{32}", "MODEL", value)
        value = re.sub(r"[0-9a-f]{32}", "RUN", value)
        return re.sub(r"mlflow-artifacts:/\d+", "mlflow-artifacts:/E", value)
    if isinstance(value, float):
        return repr(value)
    return value


def error_of(call, *arguments, **named):
    from mlflow.exceptions import MlflowException

    try:
        call(*arguments, **named)
    except MlflowException as error:
        return error.error_code
    return "no error"


def tell(uri: str) -> dict:
    import mlflow
    import numpy as np
    import pandas as pd
    import xgboost as xgb
    from mlflow import MlflowClient

    three = int(mlflow.__version__.split(".")[0]) >= 3
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    told = {}

    # Experiments
    experiment = mlflow.set_experiment("fraud-story")
    client.set_experiment_tag(experiment.experiment_id, "team", "risk")
    other = client.create_experiment("other-story", tags={"a": "b"})
    client.rename_experiment(other, "renamed-story")
    told["twice"] = error_of(client.create_experiment, "fraud-story")
    found = client.search_experiments(filter_string="name LIKE '%-story' AND tags.team = 'risk'")
    told["experiments"] = [(e.name, dict(e.tags)) for e in found]
    client.delete_experiment(other)
    told["deleted"] = [e.name for e in client.search_experiments(view_type=2)]
    client.restore_experiment(other)
    told["by name"] = client.get_experiment_by_name("renamed-story").lifecycle_stage
    told["no such"] = client.get_experiment_by_name("nobody") is None

    # Runs
    frame = pd.DataFrame({"amount": [1.0, 20.0, 300.0, 4.0] * 25, "hour": [1.0, 2.0, 3.0, 4.0] * 25})
    labels = np.array([0, 0, 1, 0] * 25)
    with mlflow.start_run(run_name="parent") as parent:
        mlflow.log_params({"eta": 0.1, "depth": 4})
        mlflow.log_metrics({"auc": 0.9, "nan": float("nan"), "inf": float("inf")})
        for step in range(30):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.set_tags({"stage": "dev", "note": "ünïcode ✓"})
        mlflow.log_input(mlflow.data.from_pandas(frame, name="payments"), context="training")
        mlflow.log_text("hello", "notes/hello.txt")
        mlflow.log_dict({"a": [1, 2]}, "d.json")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "empty").write_bytes(b"")
            (Path(folder) / "sub dir").mkdir()
            (Path(folder) / "sub dir" / "ü.bin").write_bytes(bytes(range(256)))
            mlflow.log_artifacts(folder, "tree")
        told["other value"] = error_of(mlflow.log_param, "eta", 0.2)
        children = []
        for depth in (2, 3):
            with mlflow.start_run(run_name=f"child-{depth}", nested=True) as child:
                mlflow.log_param("depth", depth)
                mlflow.log_metric("auc", depth / 10)
                children.append(child.info.run_id)
    run = client.get_run(parent.info.run_id)
    told["run"] = {
        "status": run.info.status, "params": run.data.params, "metrics": run.data.metrics,
        "tags": {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.") or k == "mlflow.runName"},
        "datasets": [(d.dataset.name, d.dataset.source_type, [(t.key, t.value) for t in d.tags]) for d in run.inputs.dataset_inputs],
        "schema": [json.loads(d.dataset.schema) for d in run.inputs.dataset_inputs],
    }
    told["history"] = [(m.step, m.value) for m in client.get_metric_history(parent.info.run_id, "loss")]
    for name, query in {
        "all": {"order_by": ["start_time ASC"]},
        "metric": {"filter_string": "metrics.auc > 0.25", "order_by": ["metrics.auc DESC"]},
        "param": {"filter_string": "params.depth != '4'", "order_by": ["attributes.run_name"]},
        "tag": {"filter_string": "tags.stage = 'dev' and attributes.status = 'FINISHED'"},
        "parent": {"filter_string": f"tags.mlflow.parentRunId = '{parent.info.run_id}'", "order_by": ["params.depth DESC"]},
        "dataset": {"filter_string": "dataset.name = 'payments' AND dataset.context = 'training'"},
        "nan": {"order_by": ["metrics.nan ASC", "start_time ASC"]},
    }.items():
        table = mlflow.search_runs([experiment.experiment_id], **query)
        told[f"search {name}"] = list(table["tags.mlflow.runName"]) if len(table) else []
    page = client.search_runs([experiment.experiment_id], max_results=2, order_by=["start_time ASC"])
    told["pages"] = [len(page), len(client.search_runs([experiment.experiment_id], max_results=2, page_token=page.token))]
    client.delete_run(children[0])
    told["after delete"] = len(mlflow.search_runs([experiment.experiment_id]))
    client.restore_run(children[0])
    client.set_terminated(children[0], "KILLED")
    client.update_run(children[0], name="renamed")
    client.delete_tag(parent.info.run_id, "note")
    told["changed"] = [client.get_run(children[0]).info.status, client.get_run(children[0]).info.run_name]
    told["no tag"] = error_of(client.delete_tag, parent.info.run_id, "note")
    told["no run"] = error_of(client.get_run, "0" * 32)

    # Artifacts
    told["artifacts"] = [(f.path, f.is_dir, f.file_size) for f in client.list_artifacts(parent.info.run_id)]
    told["tree"] = [(f.path, f.is_dir, f.file_size) for f in client.list_artifacts(parent.info.run_id, "tree")]
    path = Path(mlflow.artifacts.download_artifacts(run_id=parent.info.run_id, artifact_path="tree"))
    told["downloaded"] = sorted((str(f.relative_to(path)), len(f.read_bytes())) for f in path.rglob("*") if f.is_file())
    told["text"] = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/hello.txt")

    # Models
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 2}, xgb.DMatrix(frame, labels), 5)
    name = {"name": "model"} if three else {"artifact_path": "model"}
    with mlflow.start_run(run_name="trained") as trained:
        mlflow.log_metric("auc", 0.5)
        mlflow.xgboost.log_model(booster, registered_model_name="story", input_example=frame.head(2), **name)
        mlflow.xgboost.log_model(booster, registered_model_name="story", **({"name": "second"} if three else {"artifact_path": "second"}))
    client.set_registered_model_alias("story", "champion", "1")
    client.set_registered_model_alias("story", "challenger", "2")
    client.transition_model_version_stage("story", "1", "Production")
    client.transition_model_version_stage("story", "2", "Production", archive_existing_versions=True)
    client.set_model_version_tag("story", "1", "checked", "yes")
    client.set_registered_model_tag("story", "owner", "risk")
    client.update_registered_model("story", "the story's model")
    client.update_model_version("story", "1", "the first")
    expected = booster.predict(xgb.DMatrix(frame))
    loads = {}
    for uri_of in ["models:/story/1", "models:/story@champion", "models:/story/Production", "models:/story/latest", f"runs:/{trained.info.run_id}/model"]:
        loads[uri_of] = bool(np.allclose(mlflow.pyfunc.load_model(uri_of).predict(frame), expected))
    told["loads"] = loads
    told["flavor"] = type(mlflow.xgboost.load_model("models:/story@champion")).__name__
    model = client.get_registered_model("story")
    told["model"] = {
        "description": model.description, "tags": dict(model.tags), "aliases": {alias: str(number) for alias, number in dict(model.aliases).items()},
        "latest": sorted((v.version if isinstance(v.version, str) else str(v.version), v.current_stage) for v in model.latest_versions),
    }
    version = client.get_model_version("story", "1")
    told["version"] = [version.current_stage, version.description, dict(version.tags), list(version.aliases), version.status, version.run_id == trained.info.run_id]
    told["versions"] = [str(v.version) for v in client.search_model_versions("name = 'story'")]
    told["tagged"] = [str(v.version) for v in client.search_model_versions("tags.checked = 'yes'")]
    told["models"] = [m.name for m in client.search_registered_models("name ILIKE 'STO%'")]
    told["by stage"] = [str(v.version) for v in client.get_latest_versions("story", ["Archived"])]
    client.delete_registered_model_alias("story", "champion")
    told["no alias"] = error_of(client.get_model_version_by_alias, "story", "champion")
    client.copy_model_version("models:/story/1", "copied")
    told["copied"] = bool(np.allclose(mlflow.pyfunc.load_model("models:/copied/1").predict(frame), expected))
    client.delete_model_version("story", "1")
    told["deleted version"] = error_of(client.get_model_version, "story", "1")
    client.rename_registered_model("story", "saga")
    told["renamed"] = [str(v.version) for v in client.search_model_versions("name = 'saga'")]
    client.delete_registered_model("saga")
    told["deleted model"] = error_of(client.get_registered_model, "saga")
    if three:
        models = mlflow.search_logged_models([experiment.experiment_id], order_by=[{"field_name": "name"}], output_format="list")
        told["logged models"] = [(m.name, str(m.status), m.source_run_id == trained.info.run_id) for m in models]
        loaded = mlflow.get_logged_model(models[0].model_id)
        client.set_logged_model_tags(loaded.model_id, {"k": "v"})
        client.delete_logged_model_tag(loaded.model_id, "k")
        told["outputs"] = len(client.get_run(trained.info.run_id).outputs.model_outputs)

    # Autolog
    mlflow.set_experiment("auto-story")
    mlflow.xgboost.autolog(log_input_examples=False, silent=True)
    xgb.train({"objective": "binary:logistic", "eval_metric": "auc"}, xgb.DMatrix(frame, labels), 4, evals=[(xgb.DMatrix(frame, labels), "train")], verbose_eval=False)
    mlflow.xgboost.autolog(disable=True)
    automatic = client.search_runs([client.get_experiment_by_name("auto-story").experiment_id])[0]
    told["autolog"] = [sorted(automatic.data.params)[:6], sorted(automatic.data.metrics), len(client.get_metric_history(automatic.info.run_id, "train-auc"))]
    told["autolog artifacts"] = sorted(f.path for f in client.list_artifacts(automatic.info.run_id) if "feature" in f.path)
    return scrubbed(told)


if __name__ == "__main__":
    print("STORY" + json.dumps(tell(sys.argv[1])))
