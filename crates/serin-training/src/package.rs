//! The model package: the files that serin, Python `mlflow` and Python `xgboost` load.

use crate::{Evaluation, Fitted, Report, TrainingError, xgboost};
use serde_json::json;
use serin_analysis::monitor::{MonitorProfile, ReferenceRows, Watched};
use serin_analysis::profile::{ColumnProfile, ReferenceProfile};
use serin_analysis::threshold::Rule;
use serin_dataset::Dataset;
use serin_scoring::{ColumnKind, Forest, GoldenRow, GoldenValue, Manifest, REFERENCE_ROWS, ScoringPackage, sha256_hex};
use std::collections::BTreeMap;

const GOLDEN_ROWS: usize = 32;
const MODEL_FILE: &str = "model.ubj";
/// The client that the package is written for; the files are those of `mlflow.xgboost.log_model`.
const MLFLOW_VERSION: &str = "3.17.2";

/// One file of a package.
#[derive(Debug)]
pub struct PackageFile {
    /// Name of the file inside the package, without folders.
    pub name: &'static str,
    /// Content of the file.
    pub bytes: Vec<u8>,
}

/// Model, rows and descriptions that a package is made from.
#[derive(Debug)]
pub struct PackageInputs<'a> {
    /// Trained model and its history.
    pub fitted: &'a Fitted,
    /// Rows that the model was trained on.
    pub train: &'a Dataset,
    /// Rows that the model was evaluated on.
    pub test: &'a Dataset,
    /// Rows that the model has not seen, as live traffic will be; the monitor compares with them.
    pub later: &'a Dataset,
    /// Number of rows of `later`, spread evenly, that go into the package as they are; none for 0.
    pub reference_rows: usize,
    /// Figures of the model on `test`.
    pub evaluation: &'a Evaluation,
    /// Descriptions of columns for people, by column name.
    pub descriptions: &'a BTreeMap<String, String>,
    /// Rule that chose the threshold.
    pub rule: Rule,
    /// Source of the rows, for the report.
    pub source: &'a str,
    /// Id of the MLflow run that made the model.
    pub run_id: &'a str,
    /// Time of creation, UTC, `YYYY-MM-DD HH:MM:SS.ffffff`.
    pub created: &'a str,
}

/// Files of the package and its manifest, after checking that serin serves it with the recorded bits.
///
/// # Errors
/// [`TrainingError::SelfCheck`] when our forest and XGBoost disagree on the golden rows.
pub fn build_package(inputs: &PackageInputs<'_>) -> Result<(Vec<PackageFile>, Manifest), TrainingError> {
    let model = &inputs.fitted.model;
    let forest = Forest::from_bytes(model).map_err(|e| TrainingError::SelfCheck(e.to_string()))?;
    let manifest = Manifest {
        format: Manifest::format(),
        model_file: MODEL_FILE.into(),
        model_sha256: sha256_hex(model),
        signature: inputs.train.signature.clone(),
        descriptions: inputs.descriptions.clone(),
        threshold: inputs.evaluation.threshold,
        threshold_rule: inputs.rule.to_string(),
        golden_rows: golden_rows(inputs.test, model)?,
        data_sha256: fingerprint(inputs.train),
        metrics: inputs
            .evaluation
            .metrics
            .iter()
            .filter(|(_, v)| v.is_finite())
            .map(|(k, v)| (k.clone(), *v))
            .collect(),
        versions: BTreeMap::from([
            ("serin".into(), env!("CARGO_PKG_VERSION").into()),
            ("xgboost".into(), xgboost::version()),
        ]),
    };
    ScoringPackage::new(&manifest, model).map_err(|e| TrainingError::SelfCheck(e.to_string()))?;

    let reference = ReferenceProfile {
        columns: profiles(inputs.train),
        score: ColumnProfile::of("score", inputs.evaluation.window.scores.iter().copied()),
        alert_rate: inputs.evaluation.metrics.get("alert_rate").copied().unwrap_or(0.0),
    };
    let importances: serde_json::Map<_, _> =
        inputs.fitted.importances.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
    let pretty = |value: &serde_json::Value| serde_json::to_vec_pretty(value).unwrap_or_default();
    let file = |name, bytes| PackageFile { name, bytes };
    let scores = scores(&forest, inputs.later);
    let mut files = vec![
        file("MLmodel", mlmodel(inputs).into_bytes()),
        file(MODEL_FILE, model.clone()),
        file("serin.json", serde_json::to_vec_pretty(&manifest).map_err(|e| TrainingError::SelfCheck(e.to_string()))?),
        file("reference.json", serde_json::to_vec(&reference).map_err(|e| TrainingError::SelfCheck(e.to_string()))?),
        file("monitor.json", serde_json::to_vec(&monitor(inputs, &scores)).map_err(|e| TrainingError::SelfCheck(e.to_string()))?),
        file("importances.json", pretty(&serde_json::Value::Object(importances))),
        file("report.html", report(inputs, &forest).html().into_bytes()),
        file("requirements.txt", format!("mlflow=={MLFLOW_VERSION}\nxgboost=={}\n", xgboost::version()).into_bytes()),
        file("python_env.yaml", b"python: 3.12.11\nbuild_dependencies:\n- pip\n- setuptools\n- wheel\ndependencies:\n- -r requirements.txt\n".to_vec()),
        file("conda.yaml", conda().into_bytes()),
    ];
    if inputs.reference_rows > 0 {
        files.push(file(REFERENCE_ROWS, reference_rows(inputs.later, &scores, inputs.reference_rows)));
    }
    Ok((files, manifest))
}

fn scores(forest: &Forest, rows: &Dataset) -> Vec<f32> {
    let mut scores = vec![0.0; rows.rows()];
    forest.margins_into(&rows.features, &mut scores);
    forest.scores_from_margins(&mut scores);
    scores
}

/// Bytes of the package's [`REFERENCE_ROWS`] file: `most` rows at most, spread evenly, each with its score.
fn reference_rows(rows: &Dataset, scores: &[f32], most: usize) -> Vec<u8> {
    let count = rows.rows().min(most);
    let width = rows.width();
    let mut bytes = Vec::with_capacity(count * (width + 1) * 4);
    for number in 0..count {
        let row = number * rows.rows() / count;
        let values = rows.features[row * width..(row + 1) * width].iter().chain([&scores[row]]);
        values.for_each(|value| bytes.extend(value.to_le_bytes()));
    }
    bytes
}

fn monitor(inputs: &PackageInputs<'_>, scores: &[f32]) -> MonitorProfile {
    let later = inputs.later;
    let gain =
        |name: &String| inputs.fitted.importances.iter().find(|(of, _)| of == name).map_or(0.0, |(_, gain)| *gain);
    let columns: Vec<Watched> = later
        .signature
        .columns
        .iter()
        .map(|column| Watched {
            name: column.name.clone(),
            levels: match &column.kind {
                ColumnKind::Category { levels } => Some(levels.len()),
                _ => None,
            },
            gain: gain(&column.name),
        })
        .collect();
    MonitorProfile::of(&ReferenceRows {
        columns: &columns,
        features: &later.features,
        times: &later.times,
        scores,
        threshold: inputs.evaluation.threshold,
    })
}

fn report<'a>(inputs: &'a PackageInputs<'_>, forest: &Forest) -> Report<'a> {
    let introduction = format!(
        "{} trees over {} columns, trained on {} rows ({} frauds) of {}; evaluated on {} later rows over {} days. \
         Threshold {} by {}, chosen on the evaluation rows: figures at the threshold describe this window.",
        forest.num_trees(),
        forest.num_features(),
        inputs.train.rows(),
        inputs.train.labels.iter().sum::<f32>(),
        inputs.source,
        inputs.test.rows(),
        inputs.evaluation.window.days,
        inputs.evaluation.threshold,
        inputs.rule,
    );
    Report {
        introduction,
        evaluation: inputs.evaluation,
        labels: &inputs.test.labels,
        importances: &inputs.fitted.importances,
    }
}

/// Rows spread evenly over the test window, as a client would send them, with XGBoost's own margins.
fn golden_rows(test: &Dataset, model: &[u8]) -> Result<Vec<GoldenRow>, TrainingError> {
    let count = test.rows().min(GOLDEN_ROWS);
    let rows: Vec<usize> = (0..count).map(|i| i * test.rows() / count).collect();
    let picked = test.take(&rows);
    let margins = xgboost::Booster::from_bytes(model)?.predict_dense(&picked.features, picked.width(), true)?;
    Ok(picked
        .features
        .chunks_exact(picked.width())
        .zip(margins)
        .map(|(row, margin)| {
            let values = row.iter().zip(&picked.signature.columns).map(|(value, column)| match &column.kind {
                _ if value.is_nan() => GoldenValue::Null,
                ColumnKind::Category { levels } => {
                    GoldenValue::Text(levels.get(*value as usize).cloned().unwrap_or_default())
                }
                _ => GoldenValue::Number(f64::from(*value)),
            });
            GoldenRow { values: values.collect(), margin_bits: margin.to_bits() }
        })
        .collect())
}

fn profiles(dataset: &Dataset) -> Vec<ColumnProfile> {
    let width = dataset.width();
    (0..width)
        .map(|column| {
            let values = dataset.features.iter().skip(column).step_by(width).copied();
            ColumnProfile::of(&dataset.signature.columns[column].name, values)
        })
        .collect()
}

fn fingerprint(dataset: &Dataset) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for column in &dataset.signature.columns {
        hash.update(column.name.as_bytes());
        hash.update([0]);
    }
    for value in dataset.features.iter().chain(&dataset.labels) {
        hash.update(value.to_le_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn conda() -> String {
    format!(
        "name: mlflow-env\nchannels:\n- conda-forge\ndependencies:\n- python=3.12.11\n- pip\n- pip:\n  - mlflow=={MLFLOW_VERSION}\n  - xgboost=={}\n",
        xgboost::version()
    )
}

/// MLflow's model description (YAML). Only texts that we control or that JSON quotes enter it.
fn mlmodel(inputs: &PackageInputs<'_>) -> String {
    let columns: Vec<_> = inputs
        .train
        .signature
        .columns
        .iter()
        .map(|column| {
            // Python XGBoost wants numbers: a category travels as its code there.
            json!({"type": "double", "name": column.name, "required": !column.nullable})
        })
        .collect();
    let quoted = |value: &serde_json::Value| serde_json::Value::String(value.to_string()).to_string();
    let inputs_json = quoted(&json!(columns));
    let outputs_json = quoted(&json!([{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1]}}]));
    format!(
        "flavors:\n  python_function:\n    data: {MODEL_FILE}\n    env:\n      conda: conda.yaml\n      virtualenv: python_env.yaml\n    \
         loader_module: mlflow.xgboost\n    python_version: 3.12.11\n  xgboost:\n    code: null\n    data: {MODEL_FILE}\n    \
         model_class: xgboost.core.Booster\n    model_format: ubj\n    xgb_version: {}\nmlflow_version: {MLFLOW_VERSION}\n\
         model_size_bytes: {}\nprompts: null\nrun_id: {}\nsignature:\n  inputs: {inputs_json}\n  outputs: {outputs_json}\n  params: null\n\
         utc_time_created: '{}'\n",
        xgboost::version(),
        inputs.fitted.model.len(),
        inputs.run_id,
        inputs.created,
    )
}
