//! After a promotion: the promoted version and the one before it on the same matured transactions of the decision log, and the
//! way back where a loss is proven.

use super::Monitoring;
use super::error::MonitoringError;
use super::performance::{LabelKeys, package};
use crate::settings::Settings;
use serin_analysis::performance::{GuardRules, GuardVerdict, Guarded, Maturity, guard};
use serin_decisions::{DecisionFiles, DecisionOutline, Fallback, LoggedDecision, text_key};
use serin_models::LoadedModel;
use serin_scoring::{Translation, TranslationError};
use serin_store::{LedgerEntry, Store};
use serin_tracking::{Labels, ModelUri, ResolvedModel, Stage};
use std::collections::HashSet;

pub(crate) const DAY_MS: i64 = 86_400_000;
/// Number of newest rows of the ledger in which a promotion is looked for.
pub(crate) const LEDGER: i64 = 500;
/// Name of the guard in the ledger, as the actor that undoes promotions.
pub(crate) const ACTOR: &str = "serin guard";

/// A version that took another one's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Promotion {
    /// Id of the promotion's row in the ledger.
    pub(crate) id: String,
    /// Alias or stage that the version took.
    pub(crate) target: String,
    pub(crate) version: i64,
    pub(crate) previous: i64,
    pub(crate) at_ms: i64,
}

/// URI of the version at an alias or stage of a model.
pub(crate) fn uri(name: &str, target: &str) -> ModelUri {
    let alias = |_| ModelUri::Alias(name.to_owned(), target.to_owned());
    target.parse().map_or_else(alias, |stage: Stage| ModelUri::Stage(name.to_owned(), stage))
}

/// Promotion of the version that is live, by the ledger (newest first). `None` if it is the first version there, or
/// the guard put it back.
pub(crate) fn promotion(ledger: &[LedgerEntry], settings: &Settings, version: i64) -> Option<Promotion> {
    for target in &settings.guard.live {
        let change = if target.parse::<Stage>().is_ok() { "stage" } else { "alias" };
        let mut moves = ledger.iter().filter(|entry| entry.change == change && entry.target == *target);
        let Some(newest) = moves.next().filter(|entry| entry.version == Some(version)) else { continue };
        if newest.actor == ACTOR {
            return None;
        }
        if let Some(previous) = moves.filter_map(|entry| entry.version).find(|before| *before != version) {
            let (id, at_ms) = (newest.id.clone(), newest.at_ms);
            return Some(Promotion { id, target: target.clone(), version, previous, at_ms });
        }
    }
    None
}

/// Matured decisions of the promoted version, and the version before it.
pub(crate) struct Matured {
    /// Decisions that the promoted version made alone, with their labels.
    pub(crate) rows: Vec<Guarded>,
    /// Features of the rows in the columns of the version before, row-major.
    pub(crate) features: Vec<f32>,
    pub(crate) before: LoadedModel,
    pub(crate) threshold: f32,
}

impl Matured {
    /// Number of frauds that were matured at a point in time, epoch milliseconds.
    pub(crate) fn frauds(&self, as_of_ms: i64, maturity: Maturity) -> u64 {
        let counts = |row: &&Guarded| row.fraud && maturity.is_matured(row.at_ms, as_of_ms);
        self.rows.iter().filter(counts).count() as u64
    }

    /// Scores the rows with the version before, and compares the two.
    fn verdict(mut self, review_cost: f64, rules: &GuardRules) -> Option<GuardVerdict> {
        let package = &self.before.package;
        let mut scores = vec![0.0; self.rows.len()];
        package.forest.margins_into(&self.features, &mut scores);
        package.forest.scores_from_margins(&mut scores);
        self.rows.iter_mut().zip(scores).for_each(|(row, score)| row.scores[0] = score);
        guard(&self.rows, [package.threshold, self.threshold], review_cost, rules)
    }
}

/// Transactions of the promoted version that count at `as_of_ms` (epoch milliseconds) by a rule for when labels are complete.
pub(crate) async fn matured(
    store: &Store,
    monitoring: &Monitoring,
    settings: &Settings,
    maturity: Maturity,
    name: &str,
    promotion: &Promotion,
    as_of_ms: i64,
) -> Result<Option<Matured>, MonitoringError> {
    let Some(files) = monitoring.log() else { return Ok(None) };
    let mut models = Vec::new();
    for version in [promotion.previous, promotion.version] {
        let path = package(store, monitoring, name, &version.to_string()).await?;
        models.push(ResolvedModel { path, name: Some(name.to_owned()), version: Some(version) });
    }
    let since_ms = as_of_ms - settings.guard.days * DAY_MS;
    let labels = store.labels_known(since_ms - DAY_MS, as_of_ms).await?;
    let (settings, name, version) = (settings.clone(), name.to_owned(), promotion.version.to_string());
    let read = tokio::task::spawn_blocking(move || {
        let load = |found: &ResolvedModel| LoadedModel::load(found, 0);
        let [before, promoted] = [load(&models[0])?, load(&models[1])?];
        rows(&files, &settings, maturity, &labels, before, &promoted, (&name, &version), (since_ms, as_of_ms))
    });
    read.await.unwrap_or(Err(MonitoringError::Interrupted("comparing the decision log"))).map(Some)
}

#[expect(clippy::too_many_arguments, reason = "two versions, their window and the rules")]
fn rows(
    files: &DecisionFiles,
    settings: &Settings,
    maturity: Maturity,
    labels: &Labels,
    before: LoadedModel,
    promoted: &LoadedModel,
    (name, version): (&str, &str),
    (since_ms, as_of_ms): (i64, i64),
) -> Result<Matured, MonitoringError> {
    let cannot = |error: TranslationError| {
        MonitoringError::InvalidInput(format!(
            "version {} cannot score what version {version} decided: {error}",
            before.version
        ))
    };
    let translation = Translation::between(&promoted.package.signature, &before.package.signature).map_err(cannot)?;
    let amount = settings.monitoring.amount.as_ref().and_then(|amount| promoted.package.signature.position(amount));
    let add = |found: &mut Found, decision: &LoggedDecision<'_>| {
        let at_ms = decision.happened_at_ms();
        if at_ms < since_ms || !Fallback::is_of_a_model(decision.fallback) {
            return;
        }
        let Some(weight) = decision.stands_for() else { return };
        let label = labels.find(&decision.id, decision.transaction_id);
        let fraud = maturity.label(at_ms, label.map(|label| label.fraud), as_of_ms);
        let Some(fraud) = fraud else { return };
        let row: Vec<f32> = decision.features().collect();
        translation.append(&row, &mut found.features);
        let column = || amount.map(|place| f64::from(row[place])).filter(|amount| amount.is_finite());
        let row = Guarded {
            at_ms,
            fraud,
            amount: label.and_then(|label| label.amount).or_else(column).unwrap_or(0.0),
            scores: [f32::NAN, decision.score],
            weight: f64::from(weight),
        };
        found.rows.push((decision.id, text_key(decision.transaction_id), row));
    };
    let window_ms = (since_ms.max(0), i64::MAX);
    let (parts, report) = if maturity.unlabelled_is_genuine {
        // Every decision counts, so all are read whole, one after the other.
        let mut found = Found::default();
        let report = files.read_of(name, &[version], window_ms.0, window_ms.1, |decision| {
            add(&mut found, decision);
            true
        });
        (vec![found], report?)
    } else {
        let keys = LabelKeys::of(labels);
        let each = |found: &mut Found, decision: &DecisionOutline<'_>| {
            if keys.may_have(decision) && maturity.is_matured(decision.happened_at_ms, as_of_ms) {
                decision.whole(|decision| add(found, decision));
            }
        };
        files.outlines(name, &[version], window_ms, Found::default, each)?
    };
    report.warn();
    let (rows, features) = Found::first_of_each(&parts, before.package.signature.columns.len());
    Ok(Matured { rows, features, before, threshold: promoted.package.threshold })
}

/// Decisions as they are found in the log, a transaction perhaps several times.
#[derive(Default)]
struct Found {
    /// Id of each decision and key of its transaction, 0 without one.
    rows: Vec<([u8; 16], u64, Guarded)>,
    /// Features of each in the columns of the version before, row-major.
    features: Vec<f32>,
}

impl Found {
    /// Rows and their features of so many columns in the order in which they were decided. A transaction that was sent again
    /// counts once, as it was decided first.
    fn first_of_each(parts: &[Self], width: usize) -> (Vec<Guarded>, Vec<f32>) {
        let places =
            parts.iter().enumerate().flat_map(|(part, found)| (0..found.rows.len()).map(move |row| (part, row)));
        let mut places: Vec<(usize, usize)> = places.collect();
        places.sort_unstable_by_key(|(part, row)| parts[*part].rows[*row].0);
        let mut seen: HashSet<u64> = HashSet::new();
        let (mut rows, mut features) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len() * width));
        for (part, place) in places {
            let (_, transaction, row) = parts[part].rows[place];
            if transaction == 0 || seen.insert(transaction) {
                rows.push(row);
                features.extend_from_slice(&parts[part].features[place * width..(place + 1) * width]);
            }
        }
        (rows, features)
    }
}

pub(crate) fn rules(settings: &Settings) -> GuardRules {
    GuardRules { min_frauds: settings.guard.min_frauds, error: settings.guard.error, ..GuardRules::default() }
}

pub(crate) async fn verdict(matured: Matured, settings: &Settings) -> Option<GuardVerdict> {
    let (rules, review_cost) = (rules(settings), settings.monitoring.review_cost);
    tokio::task::spawn_blocking(move || matured.verdict(review_cost, &rules)).await.ok().flatten()
}

/// A planned look at a promotion that was due, and what it found.
#[derive(Debug)]
pub(crate) struct GuardLook {
    pub(crate) promotion: Promotion,
    /// Number of planned looks that are done with this one.
    pub(crate) looks: i64,
    /// Reason for which the promotion is to be undone; `None` if no loss is proven.
    pub(crate) loss: Option<String>,
}

/// The look of a day; `None` where none is due: the frauds that have matured until then, with the labels that are known then, are
/// not enough for a planned look that was not done before. So late labels put a look off, and skip none.
pub(crate) async fn look(
    store: &Store,
    monitoring: &Monitoring,
    settings: &Settings,
    name: &str,
    version: i64,
    as_of_ms: i64,
) -> Result<Option<GuardLook>, MonitoringError> {
    let ledger = store.model_history(name, LEDGER, 0).await?;
    let Some(promotion) = promotion(&ledger, settings, version) else { return Ok(None) };
    let done = u32::try_from(store.guard_looks(&promotion.id).await?).unwrap_or(u32::MAX);
    if done >= rules(settings).looks {
        return Ok(None);
    }
    // Few days have a look: the rows with labels, which hold all frauds, are counted before any other is read.
    let maturity = settings.monitoring.maturity();
    let labelled = Maturity { unlabelled_is_genuine: false, ..maturity };
    let read = async |maturity| matured(store, monitoring, settings, maturity, name, &promotion, as_of_ms).await;
    let Some(mut matured) = read(labelled).await? else { return Ok(None) };
    if rules(settings).due(done, matured.frauds(as_of_ms, maturity)).is_none() {
        return Ok(None);
    }
    if maturity != labelled {
        let Some(all) = read(maturity).await? else { return Ok(None) };
        matured = all;
    }
    let frauds = matured.frauds(as_of_ms, maturity);
    let Some(looks) = rules(settings).due(done, frauds) else { return Ok(None) };
    let loss = verdict(matured, settings).await.and_then(|found| found.loss);
    let said = loss.as_deref().unwrap_or("no loss is proven");
    tracing::info!(model = name, version, previous = promotion.previous, frauds, look = looks, "guard: {said}");
    Ok(Some(GuardLook { promotion, looks: i64::from(looks), loss }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // R27, B8
    #[test]
    fn a_transaction_that_was_sent_again_counts_once_as_it_was_decided_first() {
        let row = |id: u8, transaction: u64| {
            let row = Guarded { at_ms: i64::from(id), fraud: true, amount: 1.0, scores: [f32::NAN, 0.5], weight: 1.0 };
            ([id; 16], transaction, row)
        };
        let parts = [vec![row(5, 7), row(1, 8), row(9, 0)], Vec::new(), vec![row(3, 7), row(4, 8), row(2, 0)]];
        let parts = parts.into_iter().map(|rows| {
            let features = rows.iter().flat_map(|row| [f32::from(row.0[0]), -f32::from(row.0[0])]).collect();
            Found { rows, features }
        });
        let (rows, features) = Found::first_of_each(&parts.collect::<Vec<_>>(), 2);
        assert_eq!(rows.iter().map(|row| row.at_ms).collect::<Vec<_>>(), [1, 2, 3, 9]);
        assert_eq!(features, [1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 9.0, -9.0]);
    }
}
