//! The live model beside its candidate on the same payments, as the decision log has both: where they disagree, and what the
//! difference is worth.

use super::error::MonitoringError;
use super::performance::{manifest, package};
use super::windows::newest;
use super::{Explained, Sources};
use crate::settings::Clock;
use serin_analysis::performance::{Comparison, PairedRow, compare};
use serin_decisions::{DecisionFiles, Fallback, Record};
use serin_models::LoadedModel;
use serin_tracking::{ModelUri, ResolvedModel};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

/// Bytes of the newest segments that are read for a page.
const RECENT_BYTES: u64 = 160 << 20;
/// Decisions of the newest ones that are looked at for disagreement.
const LOOKED_AT: usize = 100_000;
/// Labelled decisions of the newest ones that are compared in money.
const COMPARED: usize = 200_000;
const RESAMPLES: usize = 300;
const DAY_MS: i64 = 86_400_000;
/// Most reasons of a decision that are named.
const REASONS: usize = 3;

/// A decision on which the candidate would have acted otherwise.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Disagreement {
    pub(crate) id: String,
    pub(crate) at_ms: i64,
    pub(crate) transaction_id: String,
    pub(crate) amount: Option<f64>,
    /// Versions of the live model and of the candidate, in this order, as in `scores` and `alerts`.
    pub(crate) versions: [String; 2],
    pub(crate) scores: [f32; 2],
    pub(crate) alerts: [bool; 2],
    /// Reasons of the live model's score, the strongest first.
    pub(crate) reasons: Vec<String>,
    features: Vec<f32>,
}

/// Disagreements, the newest first.
#[derive(Debug, Default)]
pub(crate) struct Disagreements {
    pub(crate) rows: Vec<Disagreement>,
    /// Number of decisions that both versions scored.
    pub(crate) looked_at: u64,
}

/// The newest disagreements about a model.
pub(crate) async fn disagreements(
    sources: Sources<'_>,
    name: &str,
    most: usize,
) -> Result<Disagreements, MonitoringError> {
    let Some(files) = sources.monitoring.log() else {
        return Ok(Disagreements::default());
    };
    let wanted = name.to_owned();
    let mut found = tokio::task::spawn_blocking(move || read(&files, &wanted, most))
        .await
        .unwrap_or(Err(MonitoringError::Interrupted("reading the decision log")))?;
    let mut models: HashMap<String, Option<Arc<LoadedModel>>> = HashMap::new();
    for row in &mut found.rows {
        let version = &row.versions[0];
        if !models.contains_key(version) {
            let loaded = loaded(sources, name, version).await.ok();
            models.insert(version.clone(), loaded);
        }
        if let Some(model) = &models[version] {
            row.reasons = reasons(model, &row.features, REASONS);
            row.amount = sources.settings.monitoring.amount.as_ref().and_then(|amount| {
                let place = model.package.signature.position(amount)?;
                row.features.get(place).map(|value| f64::from(*value))
            });
        }
    }
    Ok(found)
}

/// Names of the columns that moved a row's margin most.
fn reasons(model: &LoadedModel, features: &[f32], most: usize) -> Vec<String> {
    let columns = &model.package.signature.columns;
    let named = |(place, value): (usize, f32)| {
        let column = &columns[place];
        let name = model.package.descriptions.get(&column.name).unwrap_or(&column.name);
        format!("{name} {}", if value >= 0.0 { "↑" } else { "↓" })
    };
    model.strongest(features, most).map(|found| found.into_iter().map(named).collect()).unwrap_or_default()
}

/// Score and alert of a candidate for one decision.
struct Said {
    version: i64,
    score: f32,
    alert: bool,
}

/// The newest candidate's words by decision, at most so many, in whatever segment they stand: candidates are scored by other threads than
/// those that answer, so mostly in another one.
fn said(
    files: &DecisionFiles,
    most: usize,
    wanted: impl Fn(&[u8; 16]) -> bool,
) -> Result<HashMap<[u8; 16], Said>, MonitoringError> {
    let mut found: HashMap<[u8; 16], Said> = HashMap::new();
    let report = files.newest(0, i64::MAX, RECENT_BYTES, |record| {
        let Some(Record::Shadow(shadow)) = record else { return true };
        let version = shadow.model.version.parse().unwrap_or(0);
        if wanted(&shadow.id) && found.get(&shadow.id).is_none_or(|known| known.version < version) {
            found.insert(shadow.id, Said { version, score: shadow.score, alert: shadow.alert });
        }
        found.len() < most
    })?;
    report.warn();
    Ok(found)
}

fn read(files: &DecisionFiles, name: &str, most: usize) -> Result<Disagreements, MonitoringError> {
    let said = said(files, LOOKED_AT, |_| true)?;
    let mut found = Disagreements::default();
    if said.is_empty() {
        return Ok(found);
    }
    let report = files.newest(0, i64::MAX, RECENT_BYTES, |record| {
        let Some(Record::Decision(decision)) = record else { return found.looked_at < said.len() as u64 };
        if decision.model.name != name {
            return true;
        }
        let Some(candidate) = said.get(&decision.id) else { return true };
        found.looked_at += 1;
        if decision.asked_for_alert() != candidate.alert {
            found.rows.push(Disagreement {
                id: uuid::Uuid::from_bytes(decision.id).to_string(),
                at_ms: decision.at_ms(),
                transaction_id: decision.transaction_id.to_owned(),
                amount: None,
                versions: [decision.model.version.clone(), candidate.version.to_string()],
                scores: [decision.score, candidate.score],
                alerts: [decision.asked_for_alert(), candidate.alert],
                reasons: Vec::new(),
                features: decision.features().collect(),
            });
        }
        // Where most disagree, only the newest are kept.
        if found.rows.len() > 100 * most {
            found.rows.sort_by_key(|row| std::cmp::Reverse(row.at_ms));
            found.rows.truncate(most);
        }
        true
    })?;
    report.warn();
    found.rows.sort_by_key(|row| std::cmp::Reverse(row.at_ms));
    found.rows.truncate(most);
    Ok(found)
}

/// The difference in money, or why there is none yet.
#[derive(Debug)]
pub(crate) enum Compared {
    Found { versions: [String; 2], comparison: Box<Comparison> },
    NotYet(String),
}

/// A candidate's newest decisions beside the live model's, on matured labels.
pub(crate) async fn savings(sources: Sources<'_>, name: &str) -> Result<Compared, MonitoringError> {
    let settings = &sources.settings.monitoring;
    let Some(files) = sources.monitoring.log() else {
        return Ok(Compared::NotYet("This server sees no decision log: start it with --decision-log.".to_owned()));
    };
    let now_ms = match settings.clock {
        Clock::Wall => sources.now_ms,
        // Payments of the past are played again: now is the hour of the newest one.
        Clock::Events => newest(sources, name).await?.unwrap_or(sources.now_ms),
    };
    let since_ms = now_ms - sources.settings.guard.days * DAY_MS;
    let labels = sources.store.labels_known(since_ms, i64::MAX).await?;
    if labels.is_empty() {
        return Ok(Compared::NotYet(
            "No labels yet. Send them to /v1/labels, or give one on a decision's page.".to_owned(),
        ));
    }
    let (maturity, amount, wanted) = (settings.maturity(), settings.amount.clone(), name.to_owned());
    let columns = columns(sources, name).await?;
    let read = tokio::task::spawn_blocking(move || {
        let mut decided = HashMap::new();
        let report = files.newest(since_ms, i64::MAX, RECENT_BYTES, |record| {
            let Some(Record::Decision(decision)) = record else { return decided.len() < COMPARED };
            if decision.model.name != wanted || !Fallback::is_of_a_model(decision.fallback) {
                return true;
            }
            let at_ms = decision.happened_at_ms();
            let Some(label) = labels.find(&decision.id, decision.transaction_id) else { return true };
            let Some(weight) = decision.stands_for() else { return true };
            let place =
                amount.as_ref().and_then(|amount| columns.get(&(decision.model.version.clone(), amount.clone())));
            let of_row = place.and_then(|place| decision.features().nth(*place)).map(f64::from);
            let row = PairedRow {
                fraud: label.fraud,
                amount: label.amount.or(of_row).filter(|amount| amount.is_finite()).unwrap_or(0.0),
                scores: [decision.score, f32::NAN],
                alerts: [decision.asked_for_alert(), false],
                weight: f64::from(weight),
            };
            decided.insert(decision.id, (at_ms, decision.model.version.clone(), row));
            true
        })?;
        report.warn();
        let said = said(&files, usize::MAX, |id| decided.contains_key(id))?;
        let mut pairs: HashMap<[String; 2], Vec<(i64, PairedRow)>> = HashMap::new();
        for (id, candidate) in said {
            let Some((at_ms, version, mut row)) = decided.remove(&id) else { continue };
            (row.scores[1], row.alerts[1]) = (candidate.score, candidate.alert);
            pairs.entry([version, candidate.version.to_string()]).or_default().push((at_ms, row));
        }
        // In one order, whatever that of a hash is: sums and resamples come out the same again.
        for rows in pairs.values_mut() {
            rows.sort_by(|a, b| (a.0, a.1.scores[0].to_bits()).cmp(&(b.0, b.1.scores[0].to_bits())));
        }
        Ok(pairs)
    });
    let pairs = read.await.unwrap_or(Err(MonitoringError::Interrupted("reading the decision log")))?;
    // The newest candidate that was scored beside the newest live version; just promoted, it is for a moment beside itself.
    let number = |text: &String| text.parse::<i64>().unwrap_or(0);
    let others = pairs.into_iter().filter(|([live, candidate], _)| live != candidate);
    let newest = others.max_by_key(|(versions, _)| (number(&versions[1]), number(&versions[0])));
    let Some((versions, rows)) = newest else {
        return Ok(Compared::NotYet("No candidate has scored a labelled payment yet.".to_owned()));
    };
    let all = rows.len();
    let rows: Vec<PairedRow> =
        rows.into_iter().filter(|(at_ms, _)| maturity.is_matured(*at_ms, now_ms)).map(|(_, row)| row).collect();
    if !rows.iter().any(|row| row.fraud) {
        return Ok(Compared::NotYet(format!(
            "Versions {} and {} both scored {all} labelled payments, {} of them matured, with no fraud among those: labels are complete after {} days.",
            versions[0],
            versions[1],
            rows.len(),
            settings.maturity_days
        )));
    }
    let review_cost = settings.review_cost;
    let compared = tokio::task::spawn_blocking(move || compare(&rows, review_cost, RESAMPLES, 1)).await;
    Ok(match compared {
        Ok(Some(comparison)) => Compared::Found { versions, comparison: Box::new(comparison) },
        _ => Compared::NotYet("The rows cannot be compared; the server's log says why.".to_owned()),
    })
}

/// Place of each column in the rows of its version, by version and name of the column.
async fn columns(sources: Sources<'_>, name: &str) -> Result<HashMap<(String, String), usize>, MonitoringError> {
    let mut found = HashMap::new();
    for version in sources.store.versions(name).await? {
        let version = version.version.to_string();
        let Ok(package) = package(sources.store, sources.monitoring, name, &version).await else { continue };
        let Some(manifest) = manifest(&package).await else { continue };
        for (place, column) in manifest.signature.columns.iter().enumerate() {
            found.insert((version.clone(), column.name.clone()), place);
        }
    }
    Ok(found)
}

/// A version of a model, ready to score and to explain.
pub(crate) async fn loaded(
    sources: Sources<'_>,
    name: &str,
    version: &str,
) -> Result<Arc<LoadedModel>, MonitoringError> {
    let number = version
        .parse::<i64>()
        .map_err(|_| MonitoringError::InvalidInput(format!("{version:?} is no version of {name}")))?;
    {
        let kept = sources.monitoring.explained.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = kept.iter().find(|model| model.name == name && model.version == version) {
            return Ok(Arc::clone(model));
        }
    }
    let uri = ModelUri::Version(name.to_owned(), number);
    let path = sources.store.resolve(&uri, &sources.monitoring.cache).await?.path;
    let resolved = ResolvedModel { path, name: Some(name.to_owned()), version: Some(number) };
    let now_ms = sources.now_ms;
    let loading = tokio::task::spawn_blocking(move || LoadedModel::load(&resolved, now_ms)).await;
    let model = match loading {
        Ok(Ok(model)) => Arc::new(model),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(MonitoringError::Interrupted("loading a model")),
    };
    let mut kept = sources.monitoring.explained.0.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= Explained::KEPT {
        kept.remove(0);
    }
    kept.push(Arc::clone(&model));
    Ok(model)
}
