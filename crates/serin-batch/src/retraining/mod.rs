//! A retraining: rows whose labels are complete → training → the gate → challenger, or discarded with the reason.
//!
//! Nothing is promoted here: a challenger is released by a rollout.

mod judge;
mod rows;

pub use rows::newest_transaction;

use crate::causes::with_causes;
use crate::models::RegistryFailure;
use crate::training::{
    Observer, SplitRule, TrainError, TrainingPlan, TrainingRegistry, TrainingRows, TrainingStep, check_number, train,
};
use judge::judge;
use serin_analysis::performance::{Comparison, Gate, GateRules, Maturity, gate};
use serin_analysis::threshold::Rule;
use serin_dataset::{DatasetError, Roles};
use serin_decisions::LogError;
use serin_models::{LoadError, LoadedModel};
use serin_scoring::{Manifest, TranslationError};
use serin_tracking::{Change, Labels, ModelUri, Tag};
use std::path::{Path, PathBuf};

/// Characters of a verdict that a version's tag holds.
const TAG_LENGTH: usize = 4000;

/// Ledger of what a retraining goes by and leaves behind: labels, the history of retrainings, verdicts on versions.
pub trait RetrainingLedger: Sync {
    /// Returns the labels that became known from `from_ms` to `as_of_ms`, epoch milliseconds.
    fn labels_known(&self, from_ms: i64, as_of_ms: i64)
    -> impl Future<Output = Result<Labels, RegistryFailure>> + Send;

    /// Enters a retraining into the history and returns its id; `at_ms` is the time of its start, epoch milliseconds.
    fn begin_retraining(
        &self,
        model: &str,
        cause: &str,
        reason: &str,
        at_ms: i64,
    ) -> impl Future<Output = Result<String, RegistryFailure>> + Send;

    /// Enters how a retraining ended: `accepted`, `discarded` or `failed`, the version that it made, and why.
    fn end_retraining(
        &self,
        id: &str,
        outcome: &str,
        version: Option<i64>,
        verdict: &str,
        at_ms: i64,
    ) -> impl Future<Output = Result<(), RegistryFailure>> + Send;

    /// Sets a tag of a version.
    fn tag_version(
        &self,
        model: &str,
        version: i64,
        tag: Tag,
    ) -> impl Future<Output = Result<(), RegistryFailure>> + Send;

    /// Points an alias at a version.
    fn point(
        &self,
        alias: &ModelUri,
        version: i64,
        change: Change,
    ) -> impl Future<Output = Result<(), RegistryFailure>> + Send;
}

/// Place that the rows come from.
#[derive(Debug)]
pub enum RowSource {
    /// Folder of the decision log; the labels are the ledger's.
    Log(PathBuf),
    /// Labelled rows of the CSV or Parquet files that a pattern names; the features are the champion's.
    File {
        /// Path or glob of the files.
        pattern: String,
        /// Names of the label, time, entity and amount columns.
        roles: Roles,
    },
}

/// What a retraining is asked for.
#[derive(Debug, Clone)]
pub struct RetrainingPlan {
    /// Name of the registered model.
    pub model: String,
    /// URI of the live version.
    pub champion: ModelUri,
    /// Alias that an accepted version gets.
    pub challenger: String,
    /// Word for what set the retraining off, such as `schedule` or `drift`.
    pub cause: String,
    /// Reason for the retraining, in a sentence.
    pub reason: String,
    /// Time whose knowledge counts, epoch milliseconds.
    pub as_of_ms: i64,
    /// Age at which labels are complete, and what a transaction without a label is.
    pub maturity: Maturity,
    /// Column with the money at stake, for labels without an amount.
    pub amount: Option<String>,
    /// Cost of a review, in the unit of the amounts.
    pub review_cost: f64,
    /// Days of the newest matured transactions that both models are judged by.
    pub gate_days: u32,
    /// Days before them to train on.
    pub train_days: u32,
    /// The last of those days, which only set the threshold.
    pub test_days: u32,
    /// Least number of frauds to train on, and to judge by.
    pub min_frauds: u64,
    /// Least fraction of the matured transactions that is labelled, 0 to 1.
    pub min_coverage: f64,
    /// The training itself; of its tags the cause and the reason are added.
    pub training: TrainingPlan,
    /// True to draw the threshold by the champion's rule, where its package names one, instead of the training's.
    pub champions_rule: bool,
}

/// Result of a retraining.
#[derive(Debug, Clone)]
pub struct Retrained {
    /// Whether the version became the challenger.
    pub accepted: bool,
    /// Number of the version that was trained; none where there was too little to train on.
    pub version: Option<i64>,
    /// Verdict of the gate, or why nothing was trained, in a sentence.
    pub verdict: String,
    /// Figures of both models on the judged rows; none where nothing was trained or the rows do not allow it.
    pub comparison: Option<Comparison>,
}

impl Retrained {
    /// Returns the outcome in a word: `accepted` or `discarded`.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        if self.accepted { "accepted" } else { "discarded" }
    }
}

/// Error that says why a retraining came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RetrainError {
    /// There is no live version to judge by.
    #[error("the champion {uri}")]
    Champion {
        /// URI of the version that was asked for.
        uri: ModelUri,
        /// Answer of the registry.
        source: RegistryFailure,
    },
    /// The model has no column of the name that holds the money at stake.
    #[error("--amount {0}: the model has no such column")]
    NoColumn(String),
    /// A model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no folder where the log should be.
    #[error("there is no decision log at {}: name its folder with --decision-log, or a file with --data", .0.display())]
    NoLog(PathBuf),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The file cannot be read, or does not have the columns.
    #[error(transparent)]
    Data(#[from] DatasetError),
    /// The rows do not fit a model.
    #[error(transparent)]
    Translation(#[from] TranslationError),
    /// The training came to no version.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The training was told to register nothing.
    #[error("nothing was registered")]
    NotRegistered,
    /// The registry does not answer.
    #[error(transparent)]
    Registry(RegistryFailure),
}

/// Retrains, judges, and enters the end into the history, whatever it is. `clock` shows epoch milliseconds.
///
/// # Errors
/// When there is no champion, the rows cannot be read, the training fails, or the registry does not answer.
pub async fn retrain(
    registry: &impl TrainingRegistry,
    ledger: &impl RetrainingLedger,
    plan: &RetrainingPlan,
    source: &RowSource,
    clock: fn() -> i64,
    observe: Observer<'_>,
) -> Result<Retrained, RetrainError> {
    let begun = ledger.begin_retraining(&plan.model, &plan.cause, &plan.reason, plan.as_of_ms).await;
    let id = begun.map_err(RetrainError::Registry)?;
    observe(TrainingStep::RetrainingBegun(&id));
    let started_ms = clock();
    let result = judged(registry, ledger, plan, source, clock, observe).await;
    // On the clock that it is dated by.
    let ended_ms = plan.as_of_ms.saturating_add((clock() - started_ms).max(0));
    let ended = match &result {
        Ok(found) => ledger.end_retraining(&id, found.outcome(), found.version, &found.verdict, ended_ms).await,
        Err(error) => ledger.end_retraining(&id, "failed", None, &with_causes(error), ended_ms).await,
    };
    match (result, ended) {
        (Ok(_), Err(error)) => Err(RetrainError::Registry(error)),
        (Err(error), Err(second)) => {
            tracing::warn!("the failed retraining is not in the history: {second}");
            Err(error)
        }
        (result, Ok(())) => result,
    }
}

async fn judged(
    registry: &impl TrainingRegistry,
    ledger: &impl RetrainingLedger,
    plan: &RetrainingPlan,
    source: &RowSource,
    clock: fn() -> i64,
    observe: Observer<'_>,
) -> Result<Retrained, RetrainError> {
    registry.check_names(&plan.model, Some(&plan.challenger)).map_err(RetrainError::Registry)?;
    let bounds = "it is 0 or more, and a share at most 1";
    check_number("--review-cost", plan.review_cost, f64::MAX, bounds)?;
    check_number("--min-coverage", plan.min_coverage, 1.0, bounds)?;
    let found = registry.resolve(&plan.champion).await;
    let champion = found.map_err(|source| RetrainError::Champion { uri: plan.champion.clone(), source })?;
    let live = LoadedModel::load(&champion, clock())?;
    let signature = &live.package.signature;
    let rows = rows::gather((registry, ledger), plan, source, signature, clock(), &mut *observe).await?;
    if let Some(verdict) = rows.too_little(plan) {
        return Ok(Retrained { accepted: false, version: None, verdict, comparison: None });
    }
    let version = train_on(registry, plan, &rows, rule_of(&champion.path), clock, observe).await?;
    let uri = ModelUri::Version(plan.model.clone(), version);
    let challenger = registry.resolve(&uri).await.map_err(RetrainError::Registry)?;
    let challenger = LoadedModel::load(&challenger, clock())?;
    let (comparison, latency_us) = judge([&live, &challenger], &rows.judged, plan.review_cost)?;
    let rules = GateRules { min_frauds: plan.min_frauds, ..GateRules::default() };
    let (accepted, verdict) = match gate(comparison.as_ref(), latency_us, &rules) {
        Gate::Accept(reason) => (true, reason),
        Gate::Discard(reason) => (false, reason),
    };
    let retrained = Retrained { accepted, version: Some(version), verdict, comparison };
    let value = format!("{}: {}", retrained.outcome(), retrained.verdict).chars().take(TAG_LENGTH).collect::<String>();
    let tagged = ledger.tag_version(&plan.model, version, Tag::new("serin.gate", value)).await;
    tagged.map_err(RetrainError::Registry)?;
    if accepted {
        let alias = ModelUri::Alias(plan.model.clone(), plan.challenger.clone());
        let change = Change::new("serin retrain", format!("{}: {}", plan.cause, retrained.verdict), clock());
        ledger.point(&alias, version, change).await.map_err(RetrainError::Registry)?;
    }
    Ok(retrained)
}

/// Trains on the rows and returns the number of the version that was made.
async fn train_on(
    registry: &impl TrainingRegistry,
    plan: &RetrainingPlan,
    rows: &rows::MaturedRows,
    champions_rule: Option<Rule>,
    clock: fn() -> i64,
    observe: Observer<'_>,
) -> Result<i64, RetrainError> {
    let mut training = plan.training.clone();
    for (name, value) in [("serin.cause", &plan.cause), ("serin.reason", &plan.reason)] {
        training.tags.push(Tag::new(name, value));
    }
    if plan.champions_rule
        && let Some(rule) = champions_rule
    {
        training.rule = rule;
    }
    // The log holds what comes, known cards and all.
    let split = SplitRule::Later {
        train_from_ms: None,
        train_days: None,
        delay_days: 0,
        test_days: plan.test_days,
        keep_known_cards: true,
    };
    let mut parts = TrainingRows::split(&rows.train, &split)?;
    // Live traffic is like the newest rows, too.
    parts.later = parts.later.and(&rows.judged);
    let trained = train(registry, &training, &parts, clock, observe).await?;
    trained.version.ok_or(RetrainError::NotRegistered)
}

/// Reads the rule that the threshold of a package was chosen by; none where the package names none.
fn rule_of(package: &Path) -> Option<Rule> {
    let manifest = Manifest::from_bytes(&std::fs::read(package.join("serin.json")).ok()?).ok()?;
    manifest.threshold_rule.parse().ok()
}

#[cfg(test)]
mod tests;
