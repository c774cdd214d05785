//! Training proper: parameters, rounds, early stopping.

use crate::TrainingError;
use crate::xgboost::{Booster, DMatrix, take_warnings};
use serin_dataset::Dataset;

/// Defaults for fraud; see the crate's README for what they are worth.
pub const DEFAULTS: [(&str, &str); 7] = [
    ("objective", "binary:logistic"),
    ("tree_method", "hist"),
    ("max_bin", "4096"),
    ("base_score", "0.5"),
    ("eta", "0.1"),
    ("max_depth", "4"),
    ("seed", "0"),
];

/// XGBoost's second names; given both, which of them wins would be left to it.
const ALIASES: [(&str, &str); 4] =
    [("learning_rate", "eta"), ("min_split_loss", "gamma"), ("reg_lambda", "lambda"), ("reg_alpha", "alpha")];

/// Parameters of a training.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    /// XGBoost parameters that replace or add to [`DEFAULTS`], as (name, value), in the order given.
    pub set: Vec<(String, String)>,
    /// Number of boosting rounds; with early stopping, the most.
    pub rounds: usize,
    /// Number of rounds without a better last metric on the evaluation rows after which training stops; `None` never
    /// stops early.
    pub early_stopping: Option<usize>,
}

impl Parameters {
    /// Defaults with what was set laid over them.
    #[must_use]
    pub fn effective(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        let defaults = DEFAULTS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        for (name, value) in defaults.chain(self.set.iter().cloned()) {
            let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, known)| (*known).to_owned());
            // eval_metric may be given several times.
            if name != "eval_metric"
                && let Some(known) = all.iter_mut().find(|(known, _)| *known == name)
            {
                known.1 = value;
            } else {
                all.push((name, value));
            }
        }
        all
    }
}

/// Progress of a training, told after every round.
#[derive(Debug)]
pub struct Round<'a> {
    /// Number of the round, from 0.
    pub round: usize,
    /// Metrics of the round, each as (set, metric, value); empty without evaluation rows.
    pub metrics: &'a [(String, String, f64)],
}

/// Result of a training: the model and its history.
#[derive(Debug)]
pub struct Fitted {
    /// The model as UBJSON, cut after the best round when training stopped early.
    pub model: Vec<u8>,
    /// Number of rounds in the model.
    pub rounds: usize,
    /// Best round (from 0) and its metric value, with early stopping; else `None`.
    pub best: Option<(usize, f64)>,
    /// Total gain of each feature by name, largest first.
    pub importances: Vec<(String, f64)>,
    /// Every evaluation as (round, set, metric, value).
    pub history: Vec<(usize, String, String, f64)>,
}

/// Trains on `train`, evaluating on `valid` where there is one.
///
/// # Errors
/// XGBoost's, unknown parameters by name, and data without both classes.
pub fn fit(
    train: &Dataset,
    valid: Option<&Dataset>,
    parameters: &Parameters,
    observe: &mut dyn FnMut(Round<'_>),
) -> Result<Fitted, TrainingError> {
    let frauds = train.labels.iter().filter(|label| **label == 1.0).count();
    if frauds == 0 || frauds == train.rows() {
        return Err(TrainingError::Data(format!(
            "{frauds} of {} training rows are frauds: both classes are needed",
            train.rows()
        )));
    }
    if parameters.early_stopping.is_some() && valid.is_none() {
        return Err(TrainingError::Data("early stopping needs evaluation rows".into()));
    }
    let _ = take_warnings();
    let matrix = matrix_of(train)?;
    let valid = valid.map(matrix_of).transpose()?;
    let mut sets = vec![(&matrix, "train")];
    if let Some(valid) = &valid {
        sets.push((valid, "valid"));
    }
    let matrices: Vec<&DMatrix> = sets.iter().map(|(matrix, _)| *matrix).collect();
    let mut effective = parameters.effective();
    // The C API stays silent about unknown names unless it is asked, as Python's package asks it.
    effective.push(("validate_parameters".to_owned(), "1".to_owned()));
    let mut booster = Booster::new(&effective, &matrices)?;

    let mut history = Vec::new();
    let mut best: Option<(usize, f64)> = None;
    let mut done = 0;
    for round in 0..parameters.rounds {
        booster.update(round, &matrix)?;
        done = round + 1;
        if round == 0 {
            refuse_unknown()?;
        }
        let metrics = if valid.is_some() { booster.evaluate(round, &sets)? } else { Vec::new() };
        observe(Round { round, metrics: &metrics });
        if let Some((_, metric, value)) = metrics.iter().rfind(|(set, _, _)| set == "valid") {
            let better =
                best.is_none_or(|(_, so_far)| if is_larger_better(metric) { *value > so_far } else { *value < so_far });
            if better {
                best = Some((round, *value));
            }
        }
        history.extend(metrics.into_iter().map(|(set, metric, value)| (round, set, metric, value)));
        if let (Some(patience), Some((best_round, _))) = (parameters.early_stopping, best)
            && round - best_round >= patience
        {
            break;
        }
    }
    if let (Some(_), Some((best_round, value))) = (parameters.early_stopping, best) {
        booster = booster.first_rounds(best_round + 1)?;
        done = best_round + 1;
        booster.set_attribute("best_iteration", &best_round.to_string())?;
        booster.set_attribute("best_score", &value.to_string())?;
    } else {
        best = None;
    }
    name_features(train, |field, values| booster.set_features(field, values))?;
    let mut importances = booster.total_gain()?;
    importances.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(Fitted { model: booster.save("ubj")?, rounds: done, best, importances, history })
}

fn matrix_of(dataset: &Dataset) -> Result<DMatrix, TrainingError> {
    let mut matrix = DMatrix::from_dense(&dataset.features, dataset.width())?;
    matrix.set_info("label", &dataset.labels)?;
    if !dataset.weights.is_empty() {
        matrix.set_info("weight", &dataset.weights)?;
    }
    name_features(dataset, |field, values| matrix.set_features(field, values))?;
    Ok(matrix)
}

fn name_features(
    dataset: &Dataset,
    mut set: impl FnMut(&str, &[&str]) -> Result<(), crate::xgboost::XgboostError>,
) -> Result<(), TrainingError> {
    let names: Vec<&str> = dataset.signature.columns.iter().map(|column| column.name.as_str()).collect();
    let types: Vec<&str> = dataset.signature.columns.iter().map(serin_scoring::Column::xgboost_type).collect();
    set("feature_name", &names)?;
    set("feature_type", &types)?;
    Ok(())
}

/// XGBoost warns `Parameters: { "x" } are not used.` after the first round.
fn refuse_unknown() -> Result<(), TrainingError> {
    for warning in take_warnings() {
        if let Some((_, rest)) = warning.split_once("Parameters: {")
            && let Some((names, _)) = rest.split_once('}')
        {
            return Err(TrainingError::UnknownParameter(names.replace('"', "").trim().to_owned()));
        }
    }
    Ok(())
}

/// Metrics of which more is better; the rest are losses.
fn is_larger_better(metric: &str) -> bool {
    ["auc", "map", "ndcg", "pre"].iter().any(|name| metric.starts_with(name))
}
