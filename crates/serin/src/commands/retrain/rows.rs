//! Rows to train on and rows to judge by: the decision log with its labels, or a file.

use crate::cli::Retrain;
use crate::commands::train::read_with_progress;
use crate::registry::Registry;
use anyhow::{Context, bail};
use serin_dataset::{Dataset, Roles, keys_of};
use serin_decisions::DecisionFiles;
use serin_models::LoadedModel;
use serin_scoring::{Signature, Translation};
use serin_store::Store;
use serin_tracking::ModelUri;
use std::cmp::Ordering;
use std::collections::HashMap;

const DAY_MS: i64 = 86_400_000;

/// Rows that were gathered.
pub(super) struct Rows {
    pub(super) train: Dataset,
    pub(super) gate: Dataset,
    /// Transactions old enough, and those of them with a label.
    matured: usize,
    labelled: usize,
}

impl Rows {
    /// Why there is no use in training.
    pub(super) fn too_little(&self, args: &Retrain) -> Option<String> {
        let coverage = self.labelled as f64 / self.matured.max(1) as f64;
        if self.matured == 0 {
            return Some(format!(
                "no transaction is {} days old, when labels are complete",
                args.counting.maturity_days
            ));
        }
        if coverage < args.min_coverage {
            return Some(format!(
                "{:.1} % of the matured transactions are labelled, {:.0} % are needed: those that are may not be like the others (--unlabelled genuine where only frauds are reported)",
                coverage * 100.0,
                args.min_coverage * 100.0
            ));
        }
        let frauds = |rows: &Dataset| rows.labels.iter().filter(|label| **label == 1.0).count() as u64;
        for (what, rows) in [("train on", &self.train), ("judge by", &self.gate)] {
            let found = frauds(rows);
            if found < args.min_frauds {
                return Some(format!("{found} matured frauds to {what}, {} are needed", args.min_frauds));
            }
        }
        None
    }
}

fn log_of(args: &Retrain) -> anyhow::Result<DecisionFiles> {
    let own = || args.backend.state.join(serin_scorer::serve::DECISIONS);
    let folder = args.counting.decision_log.clone().unwrap_or_else(own);
    if !folder.is_dir() {
        bail!(
            "there is no decision log at {}: name its folder with --decision-log, or a file with --data",
            folder.display()
        );
    }
    Ok(DecisionFiles::of(&folder))
}

/// When the newest transaction of the log happened.
pub(super) fn newest(args: &Retrain) -> anyhow::Result<i64> {
    let mut newest = 0;
    let report = log_of(args)?.read(0, i64::MAX, |decision| {
        if decision.model.name == args.model {
            newest = newest.max(decision.happened_at_ms());
        }
        true
    })?;
    report.warn();
    Ok(newest)
}

pub(super) async fn gather(
    args: &Retrain,
    store: &Store,
    registry: &Registry,
    signature: &Signature,
    as_of_ms: i64,
) -> anyhow::Result<Rows> {
    let matured_ms = as_of_ms.saturating_sub((args.counting.maturity_days.max(0.0) * DAY_MS as f64) as i64);
    let gate_ms = matured_ms - i64::from(args.gate_days) * DAY_MS;
    let from_ms = gate_ms - i64::from(args.train_days) * DAY_MS;
    let (all, matured) = match &args.data {
        Some(data) => of_file(args, data, signature.clone())?,
        None => of_log(args, store, registry, signature, (from_ms, matured_ms), as_of_ms).await?,
    };
    let within = |from: i64, until: i64| -> Vec<usize> {
        let mut rows: Vec<usize> = (0..all.rows()).filter(|row| (from..until).contains(&all.times[*row])).collect();
        rows.sort_by(|a, b| by_content(&all, *a, *b));
        rows
    };
    let (train, gate) = (within(from_ms, gate_ms), within(gate_ms, matured_ms));
    let labelled = train.len() + gate.len();
    tracing::info!("{} transactions to train on, {} of {} days to judge by", train.len(), gate.len(), args.gate_days);
    Ok(Rows { train: all.take(&train), gate: all.take(&gate), matured: matured.unwrap_or(labelled), labelled })
}

/// The order of two rows by what stands in them, their time first: the same rows come in the same order, whatever order the threads of
/// a scoring server have logged them in.
fn by_content(all: &Dataset, a: usize, b: usize) -> Ordering {
    let key = |row: usize| (all.times[row], all.entities.get(row).copied());
    let features = |row: usize| all.features[row * all.width()..][..all.width()].iter().map(|value| value.to_bits());
    key(a).cmp(&key(b)).then_with(|| features(a).cmp(features(b)))
}

fn of_file(args: &Retrain, data: &str, signature: Signature) -> anyhow::Result<(Dataset, Option<usize>)> {
    let (Some(label), Some(time)) = (&args.label, &args.time) else {
        bail!("--data {data} needs --label and --time");
    };
    let roles = Roles {
        label: label.clone(),
        time: Some(time.clone()),
        entity: args.entity.clone(),
        amount: args.amount.clone(),
        signature: Some(signature),
        ..Roles::default()
    };
    Ok((read_with_progress(data, &roles)?, None))
}

/// The labelled ones of the log, and how many are matured.
async fn of_log(
    args: &Retrain,
    store: &Store,
    registry: &Registry,
    signature: &Signature,
    (from_ms, until_ms): (i64, i64),
    as_of_ms: i64,
) -> anyhow::Result<(Dataset, Option<usize>)> {
    let files = log_of(args)?;
    let genuine = match args.counting.unlabelled.as_str() {
        "genuine" => true,
        "excluded" => false,
        other => bail!("--unlabelled {other:?}: write excluded or genuine"),
    };
    let labels = store.labels_known(from_ms.saturating_sub(DAY_MS), as_of_ms).await?;
    // Each version's rows become rows of the champion, by the model file's SHA-256.
    let mut translations: HashMap<[u8; 32], Translation> = HashMap::new();
    for model in files.models(0, i64::MAX)?.0.iter().filter(|model| model.name == args.model) {
        let Ok(version) = model.version.parse() else { continue };
        let Ok(found) = registry.resolve(&ModelUri::Version(args.model.clone(), version)).await else { continue };
        let own = LoadedModel::load(&found, crate::commands::now_ms())?.package.signature;
        match Translation::between(&own, signature) {
            Ok(found) => drop(translations.insert(model.sha256, found)),
            Err(error) => tracing::warn!("decisions of version {version} are not trained on: {error}"),
        }
    }
    let amount = args
        .amount
        .as_ref()
        .map(|name| signature.position(name).with_context(|| format!("--amount {name}: the model has no such column")));
    let amount = amount.transpose()?;
    let mut rows = Dataset {
        signature: signature.clone(),
        features: Vec::new(),
        labels: Vec::new(),
        times: Vec::new(),
        entities: Vec::new(),
        amounts: Vec::new(),
        weights: Vec::new(),
    };
    let (mut matured, mut explored) = (0, false);
    let report = files.read(0, i64::MAX, |decision| {
        let at_ms = decision.happened_at_ms();
        let Some(translation) = translations.get(&decision.model.sha256) else { return true };
        if !(from_ms..until_ms).contains(&at_ms) {
            return true;
        }
        // An alert that exploration held back: those that it let through stand for it, whatever its label says.
        let Some(weight) = decision.stands_for() else {
            explored = true;
            return true;
        };
        matured += 1;
        let label = labels.find(&decision.id, decision.transaction_id);
        let Some(fraud) = label.map(|label| label.fraud).or(genuine.then_some(false)) else { return true };
        let features = translation.row(&decision.features().collect::<Vec<f32>>());
        rows.features.extend_from_slice(&features);
        rows.labels.push(f32::from(u8::from(fraud)));
        rows.times.push(at_ms);
        rows.entities.push(keys_of(decision.entity).next().unwrap_or(0));
        let known = label.and_then(|label| label.amount);
        let column = || amount.map(|place| f64::from(features[place])).filter(|amount| amount.is_finite());
        rows.amounts.push(known.or_else(column).unwrap_or(0.0));
        rows.weights.push(weight);
        explored |= decision.propensity.is_some();
        true
    })?;
    report.warn();
    if !explored {
        rows.weights.clear();
    }
    Ok((rows, Some(matured)))
}
