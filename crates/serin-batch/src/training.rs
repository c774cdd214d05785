//! A training from rows to a registered version: fit, evaluation, package, run.

use crate::models::{ModelRegistry, RegistryFailure};
use serin_analysis::threshold::Rule;
use serin_dataset::{Dataset, SplitError, TimeSplit, random_split};
use serin_scoring::{Forest, ForestError};
use serin_tracking::{Change, Metric, Registration, RunStatus, Stage, StoredModel, Tag};
use serin_training::{
    Evaluation, Fitted, PackageInputs, Parameters, Round, TrainingError, build_package, evaluate, fit,
};
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;

/// Run that a training starts with.
#[derive(Debug, Clone)]
pub struct TrainingRun {
    /// Name of the experiment, which is made where there is none.
    pub experiment: String,
    /// Name of the run.
    pub name: String,
    /// Name of the person who trains.
    pub user: String,
    /// Time at which the run starts, epoch milliseconds.
    pub started_ms: i64,
    /// Tags of the run, beside those that say who made it.
    pub tags: Vec<Tag>,
}

/// Registry that keeps what a training makes.
pub trait TrainingRegistry: ModelRegistry {
    /// Refuses names that a model or an alias cannot have, so that nothing is trained for them.
    ///
    /// # Errors
    /// When one of them is no such name.
    fn check_names(&self, model: &str, alias: Option<&str>) -> Result<(), RegistryFailure>;

    /// Starts a run and returns its id.
    fn start_run(&self, run: TrainingRun) -> impl Future<Output = Result<String, RegistryFailure>> + Send;

    /// Logs metrics and parameters of a run.
    fn log(
        &self,
        run_id: &str,
        metrics: Vec<Metric>,
        params: Vec<Tag>,
    ) -> impl Future<Output = Result<(), RegistryFailure>> + Send;

    /// Stores the files of a package, each with its name and bytes, as the model of a run.
    fn put_model(
        &self,
        run_id: &str,
        files: Vec<(String, Vec<u8>)>,
        now_ms: i64,
    ) -> impl Future<Output = Result<StoredModel, RegistryFailure>> + Send;

    /// Registers a stored package as the next version of its model and returns the version's number.
    fn register(
        &self,
        model: &Registration,
        stored: &StoredModel,
        change: Change,
    ) -> impl Future<Output = Result<i64, RegistryFailure>> + Send;

    /// Ends a run; `now_ms` is the time of its end, epoch milliseconds.
    fn finish_run(
        &self,
        run_id: &str,
        status: RunStatus,
        now_ms: i64,
    ) -> impl Future<Output = Result<(), RegistryFailure>> + Send;
}

/// Step of a training that is told while it goes on.
#[derive(Debug)]
pub enum TrainingStep<'a> {
    /// Reading a file of rows: rows so far, bytes read, bytes of the file.
    Reading(usize, u64, u64),
    /// Start of a run, with its id.
    RunBegun(&'a str),
    /// Start of a retraining, with its id in the history.
    RetrainingBegun(&'a str),
    /// The end of a boosting round, with the number of rounds at most.
    Round(Round<'a>, usize),
}

/// Observer of a training's steps.
pub type Observer<'a> = &'a mut (dyn FnMut(TrainingStep<'_>) + Send);

/// Rule by which rows become rows to train on and rows to test on.
#[derive(Debug, Clone, PartialEq)]
pub enum SplitRule {
    /// Test on a random fraction of the rows, above 0 and below 1.
    Random(f64),
    /// Test on days that are later than those of the training.
    Later {
        /// Start of the training window, epoch milliseconds; none for the first day of the rows.
        train_from_ms: Option<i64>,
        /// Length of the training window, days; none for all days up to the delay.
        train_days: Option<u32>,
        /// Days until a label is known; rows in between are not used.
        delay_days: u32,
        /// Length of the test window, days.
        test_days: u32,
        /// True to keep test rows of cards whose fraud was already known.
        keep_known_cards: bool,
    },
}

/// Rows of a training by what they are for.
#[derive(Debug, Clone)]
pub struct TrainingRows {
    /// Rows that the model is trained on.
    pub train: Dataset,
    /// Rows that the model is tested on, and that set the threshold.
    pub test: Dataset,
    /// Rows that live traffic is compared with: those after the training window.
    pub later: Dataset,
}

impl TrainingRows {
    /// Splits rows by a rule.
    ///
    /// # Errors
    /// When the fraction is none, or a window holds no rows.
    pub fn split(rows: &Dataset, rule: &SplitRule) -> Result<Self, TrainError> {
        let (split, later) = match *rule {
            SplitRule::Random(share) => {
                if !(share > 0.0 && share < 1.0) {
                    return Err(TrainError::NoFraction(share));
                }
                let split = random_split(rows.rows(), share, 0);
                for (what, side) in [("train on", &split.train), ("test on", &split.test)] {
                    if side.is_empty() {
                        return Err(TrainError::EmptySide(share, what, rows.rows()));
                    }
                }
                let later = split.test.clone();
                (split, later)
            }
            SplitRule::Later { train_from_ms, train_days, delay_days, test_days, keep_known_cards } => {
                let mut split = TimeSplit::at_the_end(rows, delay_days, test_days)?;
                split.drop_known_entities = !keep_known_cards;
                if let Some(from_ms) = train_from_ms {
                    let end_ms = split.train_from_ms + i64::from(split.train_days) * DAY_MS;
                    split.train_from_ms = from_ms;
                    split.train_days =
                        train_days.unwrap_or_else(|| u32::try_from((end_ms - from_ms) / DAY_MS).unwrap_or(0));
                }
                (split.split(rows)?, split.after_training(rows))
            }
        };
        Ok(Self { train: rows.take(&split.train), test: rows.take(&split.test), later: rows.take(&later) })
    }
}

/// What a training is asked for.
#[derive(Debug, Clone)]
pub struct TrainingPlan {
    /// Name of the registered model.
    pub model: String,
    /// Name of the experiment that the run is of.
    pub experiment: String,
    /// Name of the person who trains.
    pub user: String,
    /// Tags of the run.
    pub tags: Vec<Tag>,
    /// Source of the rows, for the report.
    pub source: String,
    /// Parameters of XGBoost and number of rounds.
    pub parameters: Parameters,
    /// Rule that chooses the threshold.
    pub rule: Rule,
    /// Number of later rows that go into the package as they are; none for 0.
    pub reference_rows: usize,
    /// Descriptions of columns for people, by column name.
    pub descriptions: BTreeMap<String, String>,
    /// True to register the package as a version.
    pub register: bool,
    /// Alias that moves to the new version; none moves none.
    pub alias: Option<String>,
    /// Stage that the new version comes to; none leaves it without one.
    pub stage: Option<Stage>,
}

/// Result of a training.
#[derive(Debug, Clone)]
pub struct Trained {
    /// Figures of the model on the test rows, by name.
    pub metrics: BTreeMap<String, f64>,
    /// Threshold that the rule chose.
    pub threshold: f32,
    /// Id of the run.
    pub run_id: String,
    /// Number of the registered version; none where none was asked for.
    pub version: Option<i64>,
    /// Folder of the package on this machine, or its URI.
    pub package: String,
    /// Number of rows that the model was trained on.
    pub train_rows: usize,
    /// Number of rows that the model was tested on.
    pub test_rows: usize,
    /// Number of boosting rounds in the model.
    pub rounds: usize,
    /// Time that fit, evaluation and packaging took, milliseconds.
    pub took_ms: i64,
}

/// Error that says why no version came out of a training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The fraction of test rows is not one.
    #[error("--random-split {0}: the share of test rows lies between 0 and 1")]
    NoFraction(f64),
    /// A column is described that is no feature.
    #[error("--describe {0}=…: {0:?} is none of the features")]
    NoFeature(String),
    /// One side of a random split has no rows.
    #[error("--random-split {0} leaves no rows to {1}: there are {2}")]
    EmptySide(f64, &'static str, usize),
    /// A threshold of least cost is asked for, and no amount is known.
    #[error(
        "a threshold of least cost needs the money at stake: name its column with --amount, or choose another rule (--alert-rate, --review-capacity, --threshold)"
    )]
    NoAmounts,
    /// A number that the plan holds is none, or beyond its bounds.
    #[error("{0} {1}: {2}")]
    Number(&'static str, f64, &'static str),
    /// The rows cannot be split.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// XGBoost or a check of the package refuses.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// The trained model cannot be read back.
    #[error(transparent)]
    Forest(#[from] ForestError),
    /// The clock shows a time that no calendar has.
    #[error(transparent)]
    Clock(#[from] jiff::Error),
    /// The registry does not keep what was made.
    #[error(transparent)]
    Registry(RegistryFailure),
}

/// Trains, evaluates, packages and, where the plan says so, registers a version. `clock` shows epoch milliseconds.
///
/// # Errors
/// When XGBoost refuses the rows or parameters, or the registry does not answer. A run that was started ends as failed.
pub async fn train(
    registry: &impl TrainingRegistry,
    plan: &TrainingPlan,
    rows: &TrainingRows,
    clock: fn() -> i64,
    observe: Observer<'_>,
) -> Result<Trained, TrainError> {
    let unknown = plan.descriptions.keys().find(|name| rows.train.signature.position(name).is_none());
    if let Some(name) = unknown {
        return Err(TrainError::NoFeature(name.clone()));
    }
    check_rule(plan.rule)?;
    if matches!(plan.rule, Rule::Cost(_)) && rows.test.amounts.is_empty() {
        return Err(TrainError::NoAmounts);
    }
    registry.check_names(&plan.model, plan.alias.as_deref()).map_err(TrainError::Registry)?;
    let started_ms = clock();
    let run = TrainingRun {
        experiment: plan.experiment.clone(),
        name: plan.model.clone(),
        user: plan.user.clone(),
        started_ms,
        tags: plan.tags.clone(),
    };
    let run_id = registry.start_run(run).await.map_err(TrainError::Registry)?;
    observe(TrainingStep::RunBegun(&run_id));
    match work(registry, plan, rows, &run_id, (clock, started_ms), observe).await {
        Ok(trained) => {
            registry.finish_run(&run_id, RunStatus::Finished, clock()).await.map_err(TrainError::Registry)?;
            Ok(trained)
        }
        Err(error) => {
            // The reason that counts is the first one.
            if let Err(second) = registry.finish_run(&run_id, RunStatus::Failed, clock()).await {
                tracing::warn!("run {run_id} is not marked as failed: {second}");
            }
            Err(error)
        }
    }
}

/// Refuses a rule whose number is none or beyond what it can mean.
fn check_rule(rule: Rule) -> Result<(), TrainError> {
    let (name, value, most, bounds) = match rule {
        Rule::Fixed(threshold) => ("--threshold", f64::from(threshold), 1.0, "a score lies between 0 and 1"),
        Rule::AlertRate(rate) => ("--alert-rate", rate, 1.0, "a share of the rows lies between 0 and 1"),
        Rule::ReviewCapacity(per_day) => ("--review-capacity", per_day, f64::MAX, "a number of alerts is 0 or more"),
        Rule::Cost(review) => ("--cost", review, f64::MAX, "the cost of a review is 0 or more"),
    };
    check_number(name, value, most, bounds)
}

/// Refuses an option's number that is none, below 0 or above `most`; `bounds` says so to the person who gave it.
pub(crate) fn check_number(name: &'static str, value: f64, most: f64, bounds: &'static str) -> Result<(), TrainError> {
    if (0.0..=most).contains(&value) { Ok(()) } else { Err(TrainError::Number(name, value, bounds)) }
}

async fn work(
    registry: &impl TrainingRegistry,
    plan: &TrainingPlan,
    rows: &TrainingRows,
    run_id: &str,
    (clock, started_ms): (fn() -> i64, i64),
    observe: Observer<'_>,
) -> Result<Trained, TrainError> {
    let (fitted, evaluation, files) = fit_and_package(plan, rows, run_id, clock(), observe)?;
    let took_ms = clock() - started_ms;
    let (metrics, params) = logged(plan, &fitted, &evaluation, started_ms);
    registry.log(run_id, metrics, params).await.map_err(TrainError::Registry)?;
    let stored = registry.put_model(run_id, files, clock()).await.map_err(TrainError::Registry)?;
    let mut version = None;
    if plan.register {
        let model = Registration {
            name: plan.model.clone(),
            run_id: run_id.to_owned(),
            alias: plan.alias.clone(),
            stage: plan.stage,
        };
        let change = Change::new(plan.user.clone(), "serin train", clock());
        version = Some(registry.register(&model, &stored, change).await.map_err(TrainError::Registry)?);
    }
    Ok(Trained {
        metrics: evaluation.metrics,
        threshold: evaluation.threshold,
        run_id: run_id.to_owned(),
        version,
        package: stored.location,
        train_rows: rows.train.rows(),
        test_rows: rows.test.rows(),
        rounds: fitted.rounds,
        took_ms,
    })
}

/// Model, its figures on the test rows, and the files of its package, each with its name and bytes.
type Packaged = (Fitted, Evaluation, Vec<(String, Vec<u8>)>);

fn fit_and_package(
    plan: &TrainingPlan,
    rows: &TrainingRows,
    run_id: &str,
    now_ms: i64,
    observe: Observer<'_>,
) -> Result<Packaged, TrainError> {
    let parameters = &plan.parameters;
    let mut rounds = |round: Round<'_>| observe(TrainingStep::Round(round, parameters.rounds));
    let fitted = if parameters.early_stopping.is_some() {
        let (early, late) = last_fifth(&rows.train);
        fit(&early, Some(&late), parameters, &mut rounds)?
    } else {
        fit(&rows.train, None, parameters, &mut rounds)?
    };
    let forest = Forest::from_bytes(&fitted.model)?;
    let review_cost = if let Rule::Cost(review) = plan.rule { review } else { 0.0 };
    let evaluation = evaluate(&forest, &rows.test, plan.rule, review_cost);
    let created = jiff::Timestamp::from_millisecond(now_ms)?.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let inputs = PackageInputs {
        fitted: &fitted,
        train: &rows.train,
        test: &rows.test,
        later: &rows.later,
        reference_rows: plan.reference_rows,
        evaluation: &evaluation,
        descriptions: &plan.descriptions,
        rule: plan.rule,
        source: &plan.source,
        run_id,
        created: &created,
    };
    let (files, _) = build_package(&inputs)?;
    let files = files.into_iter().map(|file| (file.name.to_owned(), file.bytes)).collect();
    Ok((fitted, evaluation, files))
}

/// Splits off the last fifth of the rows, by time where there is one, else by row order.
fn last_fifth(train: &Dataset) -> (Dataset, Dataset) {
    let mut order: Vec<usize> = (0..train.rows()).collect();
    if !train.times.is_empty() {
        order.sort_by_key(|row| train.times[*row]);
    }
    let cut = order.len() - order.len() / 5;
    (train.take(&order[..cut]), train.take(&order[cut..]))
}

/// Metrics and parameters of a run, as they are logged; `at_ms` is the time of the metrics, epoch milliseconds.
fn logged(plan: &TrainingPlan, fitted: &Fitted, evaluation: &Evaluation, at_ms: i64) -> (Vec<Metric>, Vec<Tag>) {
    let effective = plan.parameters.effective().into_iter();
    let mut params: Vec<Tag> = effective.map(|(key, value)| Tag { key, value }).collect();
    params.push(Tag::new("rounds", fitted.rounds.to_string()));
    params.push(Tag::new("threshold", evaluation.threshold.to_string()));
    let metric = |key: String, value: f64, step: usize| Metric {
        key,
        value,
        timestamp_ms: at_ms,
        step: step as i64,
        ..Metric::default()
    };
    let mut metrics: Vec<Metric> =
        evaluation.metrics.iter().map(|(key, value)| metric(key.clone(), *value, 0)).collect();
    let history = fitted.history.iter();
    metrics.extend(history.map(|(round, set, name, value)| metric(format!("{set}-{name}"), *value, *round)));
    (metrics, params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serin_scoring::{Column, ColumnKind, Signature};

    fn rows(count: usize) -> Dataset {
        let column = Column { name: "x".to_owned(), kind: ColumnKind::Number, nullable: false };
        Dataset {
            signature: Signature { columns: vec![column] },
            features: (0..count).map(|row| row as f32).collect(),
            labels: (0..count).map(|row| f32::from(u8::from(row % 3 == 0))).collect(),
            times: Vec::new(),
            entities: Vec::new(),
            amounts: Vec::new(),
            weights: Vec::new(),
        }
    }

    #[test]
    fn a_random_split_has_rows_on_both_sides_or_is_refused() {
        let split = |count, share| TrainingRows::split(&rows(count), &SplitRule::Random(share));
        let found = split(100, 0.3).unwrap();
        assert_eq!(found.train.rows() + found.test.rows(), 100);
        for share in [0.0, 1.0, -1.0, f64::NAN] {
            assert!(matches!(split(100, share), Err(TrainError::NoFraction(_))), "{share}");
        }
        for (count, share) in [(100, 0.0001), (1, 0.5), (2, 0.99)] {
            let refused = split(count, share);
            assert!(matches!(refused, Err(TrainError::EmptySide(..))) || refused.unwrap().test.rows() > 0, "{share}");
        }
        assert!(matches!(split(100, 0.0001), Err(TrainError::EmptySide(..))));
        let later = SplitRule::Later {
            train_from_ms: None,
            train_days: None,
            delay_days: 7,
            test_days: 7,
            keep_known_cards: false,
        };
        assert!(matches!(TrainingRows::split(&rows(9), &later), Err(TrainError::Split(_))), "there are no times");
    }

    #[test]
    fn rules_of_no_meaning_are_refused() {
        for rule in
            [Rule::Fixed(0.0), Rule::Fixed(1.0), Rule::AlertRate(0.0), Rule::ReviewCapacity(1e9), Rule::Cost(0.0)]
        {
            assert!(check_rule(rule).is_ok(), "{rule}");
        }
        for rule in [
            Rule::Fixed(7.0),
            Rule::Fixed(f32::NAN),
            Rule::AlertRate(2.0),
            Rule::AlertRate(f64::NAN),
            Rule::ReviewCapacity(f64::INFINITY),
            Rule::Cost(-5.0),
            Rule::Cost(f64::NAN),
        ] {
            assert!(check_rule(rule).is_err(), "{rule}");
        }
    }
}
