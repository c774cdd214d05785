//! Rows to train on and rows to judge by, out of the decision log or a file.

use super::{RetrainError, RetrainingLedger, RetrainingPlan, RowSource};
use crate::models::ModelRegistry;
use crate::training::{Observer, TrainingStep};
use serin_dataset::{Dataset, Roles, keys_of, read};
use serin_decisions::DecisionFiles;
use serin_models::LoadedModel;
use serin_scoring::{Signature, Translation};
use serin_tracking::ModelUri;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

const DAY_MS: i64 = 86_400_000;

/// Labelled rows whose labels are complete.
#[derive(Debug)]
pub(super) struct MaturedRows {
    /// Rows to train on.
    pub(super) train: Dataset,
    /// Rows that both models are judged by: newer than all to train on.
    pub(super) judged: Dataset,
    /// Number of matured transactions, labelled or not; those of a file all are.
    matured: usize,
}

impl MaturedRows {
    /// Says why there is no use in training; none where there is.
    pub(super) fn too_little(&self, plan: &RetrainingPlan) -> Option<String> {
        let coverage = (self.train.rows() + self.judged.rows()) as f64 / self.matured.max(1) as f64;
        if self.matured == 0 {
            let days = plan.maturity.delay_ms as f64 / DAY_MS as f64;
            return Some(format!("no transaction is {days} days old, when labels are complete"));
        }
        if coverage < plan.min_coverage {
            return Some(format!(
                "{:.1} % of the matured transactions are labelled, {:.0} % are needed: those that are may not be like the others (--unlabelled genuine where only frauds are reported)",
                coverage * 100.0,
                plan.min_coverage * 100.0
            ));
        }
        for (what, rows) in [("train on", &self.train), ("judge by", &self.judged)] {
            let frauds = rows.labels.iter().filter(|label| **label == 1.0).count() as u64;
            if frauds < plan.min_frauds {
                return Some(format!("{frauds} matured frauds to {what}, {} are needed", plan.min_frauds));
            }
        }
        None
    }
}

/// Collects the matured rows of a source, as rows of the champion's signature.
pub(super) async fn gather(
    (registry, ledger): (&impl ModelRegistry, &impl RetrainingLedger),
    plan: &RetrainingPlan,
    source: &RowSource,
    signature: &Signature,
    now_ms: i64,
    observe: Observer<'_>,
) -> Result<MaturedRows, RetrainError> {
    let matured_ms = plan.as_of_ms.saturating_sub(plan.maturity.delay_ms);
    let judged_ms = matured_ms.saturating_sub(i64::from(plan.gate_days) * DAY_MS);
    let from_ms = judged_ms.saturating_sub(i64::from(plan.train_days) * DAY_MS);
    let (all, matured) = match source {
        RowSource::File { pattern, roles } => {
            let roles = Roles { signature: Some(signature.clone()), ..roles.clone() };
            let told = &mut |rows, done, total| observe(TrainingStep::Reading(rows, done, total));
            (read(pattern, &roles, told)?, None)
        }
        RowSource::Log(folder) => {
            let files = log_at(folder)?;
            let (rows, matured) =
                of_log((registry, ledger), plan, &files, signature, from_ms..matured_ms, now_ms).await?;
            (rows, Some(matured))
        }
    };
    let within = |times: Range<i64>| -> Vec<usize> {
        let mut rows: Vec<usize> = (0..all.rows()).filter(|row| times.contains(&all.times[*row])).collect();
        rows.sort_by(|a, b| by_content(&all, *a, *b));
        rows
    };
    let (train, judged) = (within(from_ms..judged_ms), within(judged_ms..matured_ms));
    tracing::info!("{} transactions to train on, {} of {} days to judge by", train.len(), judged.len(), plan.gate_days);
    let matured = matured.unwrap_or(train.len() + judged.len());
    Ok(MaturedRows { train: all.take(&train), judged: all.take(&judged), matured })
}

/// Orders two rows by what stands in them, their time first: the same rows come in the same order, whatever order the
/// threads of a scoring server have logged them in.
fn by_content(all: &Dataset, a: usize, b: usize) -> Ordering {
    let key = |row: usize| (all.times[row], all.entities.get(row).copied());
    let features = |row: usize| all.features[row * all.width()..][..all.width()].iter().map(|value| value.to_bits());
    key(a).cmp(&key(b)).then_with(|| features(a).cmp(features(b)))
}

/// Collects the labelled decisions of the log that happened within `times_ms`, and counts those that are matured.
async fn of_log(
    (registry, ledger): (&impl ModelRegistry, &impl RetrainingLedger),
    plan: &RetrainingPlan,
    files: &DecisionFiles,
    signature: &Signature,
    times_ms: Range<i64>,
    now_ms: i64,
) -> Result<(Dataset, usize), RetrainError> {
    let since_ms = times_ms.start.saturating_sub(DAY_MS);
    let labels = ledger.labels_known(since_ms, plan.as_of_ms).await.map_err(RetrainError::Registry)?;
    // Each version's rows become rows of the champion, by the model file's SHA-256.
    let mut translations: HashMap<[u8; 32], Translation> = HashMap::new();
    for model in files.models(0, i64::MAX)?.0.iter().filter(|model| model.name == plan.model) {
        let Ok(version) = model.version.parse() else { continue };
        let Ok(found) = registry.resolve(&ModelUri::Version(plan.model.clone(), version)).await else { continue };
        let own = LoadedModel::load(&found, now_ms)?.package.signature;
        match Translation::between(&own, signature) {
            Ok(found) => drop(translations.insert(model.sha256, found)),
            Err(error) => tracing::warn!("decisions of version {version} are not trained on: {error}"),
        }
    }
    let amount = match &plan.amount {
        Some(name) => Some(signature.position(name).ok_or_else(|| RetrainError::NoColumn(name.clone()))?),
        None => None,
    };
    let mut rows = Dataset {
        signature: signature.clone(),
        features: Vec::new(),
        labels: Vec::new(),
        times: Vec::new(),
        entities: Vec::new(),
        amounts: Vec::new(),
        weights: Vec::new(),
    };
    let (mut matured, mut explored, mut priced) = (0, false, false);
    let report = files.read(0, i64::MAX, |decision| {
        let at_ms = decision.happened_at_ms();
        let Some(translation) = translations.get(&decision.model.sha256) else { return true };
        if !times_ms.contains(&at_ms) {
            return true;
        }
        // An alert that exploration held back: those that it let through stand for it, whatever its label says.
        let Some(weight) = decision.stands_for() else {
            explored = true;
            return true;
        };
        matured += 1;
        let label = labels.find(&decision.id, decision.transaction_id);
        let genuine = plan.maturity.unlabelled_is_genuine.then_some(false);
        let Some(fraud) = label.map(|label| label.fraud).or(genuine) else { return true };
        let features = translation.row(&decision.features().collect::<Vec<f32>>());
        rows.features.extend_from_slice(&features);
        rows.labels.push(f32::from(u8::from(fraud)));
        rows.times.push(at_ms);
        rows.entities.push(keys_of(decision.entity).next().unwrap_or(0));
        let known = label.and_then(|label| label.amount);
        let column = || amount.map(|place| f64::from(features[place])).filter(|amount| amount.is_finite());
        let known = known.or_else(column);
        priced |= known.is_some();
        rows.amounts.push(known.unwrap_or(0.0));
        rows.weights.push(weight);
        explored |= decision.propensity.is_some();
        true
    })?;
    report.warn();
    if !explored {
        rows.weights.clear();
    }
    // Where no amount is known, a missed fraud is not free: there is no money to go by.
    if !priced {
        rows.amounts.clear();
    }
    Ok((rows, matured))
}

fn log_at(folder: &Path) -> Result<DecisionFiles, RetrainError> {
    if folder.is_dir() { Ok(DecisionFiles::of(folder)) } else { Err(RetrainError::NoLog(folder.to_owned())) }
}

/// Finds the time of a model's newest transaction in the log of a folder, epoch milliseconds; 0 where there is none.
///
/// # Errors
/// When there is no log, or it cannot be read.
pub fn newest_transaction(folder: &Path, model: &str) -> Result<i64, RetrainError> {
    let mut newest = 0;
    let report = log_at(folder)?.read(0, i64::MAX, |decision| {
        if decision.model.name == model {
            newest = newest.max(decision.happened_at_ms());
        }
        true
    })?;
    report.warn();
    Ok(newest)
}
