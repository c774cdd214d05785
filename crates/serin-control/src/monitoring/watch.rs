//! The control plane's task: adds panes up, looks once an hour, begins and ends alerts, sets retrainings off.

use super::error::MonitoringError;
use super::evidently::{push, snapshot};
use super::notify::{self, Notice};
use super::performance::{GroupBy, PerformanceQuery, manifest, package, performance};
use super::triggers::{Signals, due};
use super::{Monitoring, Sources, guard};
use crate::settings::{Clock, Settings};
use serin_analysis::monitor::{
    AlertBook, Change, Condition, HOUR_MS, MonitorProfile, Pane, Report, Rule, certainty_word, conditions, report,
};
use serin_analysis::performance::Performance;
use serin_store::{Alert, Store, StoreError};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const DAY_MS: i64 = 24 * HOUR_MS;
/// Most hours that are looked at one by one after a pause; older ones are left out.
const CATCH_UP: i64 = 24 * 35;
/// Number of hours without traffic, after a day with some, that are an outage.
const SILENT: i64 = 2;

/// Way to start retrainings.
pub trait Launcher: Send + Sync + std::fmt::Debug {
    /// Trains a model again for a cause; returns when the retraining is over.
    fn retrain(&self, order: RetrainingOrder) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
}

/// Order for one retraining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrainingOrder {
    /// Name of the registered model.
    pub model: String,
    /// Cause of the retraining: `drift`, `performance`, `labels` or `schedule`.
    pub cause: &'static str,
    /// Reason for the retraining, a sentence for people.
    pub reason: String,
    /// Point in time whose knowledge counts, epoch milliseconds.
    pub as_of_ms: i64,
}

/// Latest figures of a model, for pages and metrics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latest {
    pub(crate) version: String,
    pub(crate) report: Option<Report>,
    pub(crate) performance: Option<Performance>,
    /// Time before which every hour was looked at, epoch milliseconds; `None` before the first look.
    pub(crate) looked_until_ms: Option<i64>,
    /// True while a retraining that a look set off has not ended.
    pub(crate) retraining: bool,
}

/// Name of a gauge, its labels, and its value.
pub(crate) type Gauge = (&'static str, Vec<(&'static str, String)>, f64);

/// Latest figures of each model, by its name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<String, Latest>>>);

impl Board {
    pub(crate) fn all(&self) -> BTreeMap<String, Latest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn version(&self, model: &str) -> Option<String> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.get(model).map(|latest| latest.version.clone()).filter(|version| !version.is_empty())
    }

    /// Time before which every hour of a model was looked at, epoch milliseconds, and whether a retraining runs that
    /// a look set off.
    pub(crate) fn looked(&self, model: &str) -> (Option<i64>, bool) {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.get(model).map_or((None, false), |latest| (latest.looked_until_ms, latest.retraining))
    }

    fn change(&self, model: &str, change: impl FnOnce(&mut Latest)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(model.to_owned()).or_default());
    }
}

/// State of a model that is watched.
struct Model {
    book: AlertBook,
    /// Time before which every hour was looked at, epoch milliseconds.
    looked_until_ms: i64,
    since_ms: i64,
    reasons: Reasons,
    retraining: Option<tokio::task::JoinHandle<()>>,
}

/// Task that watches all models.
pub(crate) struct Watch {
    pub(crate) store: Store,
    pub(crate) monitoring: Monitoring,
    pub(crate) settings: Settings,
    pub(crate) launcher: Option<Arc<dyn Launcher>>,
    pub(crate) board: Board,
    pub(crate) clock: fn() -> i64,
}

/// Panes of a model for some hours, and the reference that its version's traffic is compared with.
pub(crate) struct Seen {
    pub(crate) version: String,
    pub(crate) reference: Arc<MonitorProfile>,
    /// Panes of the version that decided last, one for each hour with traffic, ordered by time.
    pub(crate) panes: Vec<Pane>,
}

/// Panes of the hours from `hours.0` and before `hours.1`, epoch milliseconds; `None` where there was no traffic.
pub(crate) async fn seen(
    store: &Store,
    monitoring: &Monitoring,
    name: &str,
    hours: (i64, i64),
) -> Result<Option<Seen>, MonitoringError> {
    let stored = store.panes(name, hours.0, hours.1).await?;
    let Some(last) = stored.last() else { return Ok(None) };
    let version = last.version.clone();
    let package = package(store, monitoring, name, &version).await?;
    let references = monitoring.references.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let reference = references.of(&package)?;
        let mut sums: BTreeMap<i64, Pane> = BTreeMap::new();
        for pane in stored.iter().filter(|pane| pane.version == version) {
            let sum = sums.entry(pane.from_ms).or_insert_with(|| Pane::new(&reference, pane.from_ms));
            let counted = serde_json::from_str(&pane.body);
            sum.merge(&counted.map_err(|error| StoreError::damaged("serin_panes", error.to_string()))?);
        }
        Ok::<_, MonitoringError>(Some(Seen { version, reference, panes: sums.into_values().collect() }))
    });
    counted.await.unwrap_or(Err(MonitoringError::Interrupted("adding up the panes")))
}

/// Panes and report of the window that ends with the newest hour of a model.
pub(crate) async fn seen_lately(sources: Sources<'_>, model: &str) -> Result<Option<(Seen, Report)>, MonitoringError> {
    let watched = sources.store.watched_models().await?;
    let Some((_, newest_ms)) = watched.into_iter().find(|(name, _)| name == model) else { return Ok(None) };
    let until_ms = newest_ms + HOUR_MS;
    let hours = (until_ms - sources.settings.monitoring.window_hours * HOUR_MS, until_ms);
    let Some(seen) = seen(sources.store, sources.monitoring, model, hours).await? else { return Ok(None) };
    let found = report(&seen.reference, &seen.panes, &sources.settings.monitoring.budget());
    Ok(found.map(|report| (seen, report)))
}

/// Version and report of the hours from `hours.0` and before `hours.1`; only of the version that decided last.
pub(crate) async fn window(
    store: &Store,
    monitoring: &Monitoring,
    settings: &Settings,
    name: &str,
    hours: (i64, i64),
) -> Result<Option<(String, Report)>, MonitoringError> {
    let Some(seen) = seen(store, monitoring, name, hours).await? else { return Ok(None) };
    let found = report(&seen.reference, &seen.panes, &settings.monitoring.budget());
    Ok(found.map(|report| (seen.version, report)))
}

impl Watch {
    pub(crate) async fn run(self) {
        let mut models: BTreeMap<String, Model> = BTreeMap::new();
        let every = Duration::from_secs_f64(self.settings.monitoring.every_seconds.clamp(0.1, 3600.0));
        loop {
            match self.store.watched_models().await {
                Ok(found) => {
                    for (name, newest_ms) in found {
                        if let Err(error) = self.look_at(&mut models, &name, newest_ms).await {
                            tracing::warn!("the monitor cannot look at {name}: {error}");
                        }
                    }
                }
                Err(error) => tracing::warn!("the monitor cannot read the database: {error}"),
            }
            tokio::time::sleep(every).await;
        }
    }

    async fn look_at(
        &self,
        models: &mut BTreeMap<String, Model>,
        name: &str,
        newest_ms: i64,
    ) -> Result<(), MonitoringError> {
        // The newest hour is over when there is a newer one, or by the clock.
        let until_ms = match self.settings.monitoring.clock {
            Clock::Events => newest_ms,
            Clock::Wall => newest_ms.max((self.clock)().div_euclid(HOUR_MS) * HOUR_MS),
        };
        if !models.contains_key(name) {
            let known = |alert: Alert| {
                let rule = Rule::ALL.into_iter().find(|rule| rule.name() == alert.rule)?;
                Some(Condition { rule, subject: alert.subject, wrong: Some(true), message: alert.message })
            };
            let on: Vec<Condition> = self.store.alerts_on(name).await?.into_iter().filter_map(known).collect();
            let mut reasons = Reasons::default();
            reasons.renew(&on);
            let book = AlertBook::with(on.into_iter().map(|condition| (condition.rule, condition.subject)));
            let first = until_ms - HOUR_MS;
            let model = Model { book, looked_until_ms: first, since_ms: until_ms, reasons, retraining: None };
            models.insert(name.to_owned(), model);
        }
        let Some(model) = models.get_mut(name) else { return Ok(()) };
        model.looked_until_ms = model.looked_until_ms.max(until_ms - CATCH_UP * HOUR_MS);
        while model.looked_until_ms < until_ms {
            let hour = model.looked_until_ms + HOUR_MS;
            self.look(model, name, newest_ms, hour).await?;
            model.looked_until_ms = hour;
            self.board.change(name, |latest| latest.looked_until_ms = Some(hour));
        }
        Ok(())
    }

    /// One look at the window that ends with an hour.
    async fn look(&self, model: &mut Model, name: &str, newest_ms: i64, end_ms: i64) -> Result<(), MonitoringError> {
        let settings = &self.settings.monitoring;
        let hours = (end_ms - settings.window_hours * HOUR_MS, end_ms);
        let found = window(&self.store, &self.monitoring, &self.settings, name, hours).await?;
        let mut all = Vec::new();
        if let Some((version, report)) = found {
            all.extend(conditions(&report, settings.drifted_share));
            let mut sent = None;
            self.board.change(name, |latest| {
                let evidently = self.settings.evidently.as_ref();
                if let Some(evidently) = evidently.filter(|own| (end_ms / HOUR_MS) % own.every_hours == 0) {
                    let performance = latest.performance.as_ref().filter(|_| latest.version == version);
                    sent = Some((evidently, snapshot(name, &version, &report, performance)));
                }
                if latest.version != version {
                    // Figures of another version say nothing of this one.
                    latest.performance = None;
                }
                latest.version = version;
                latest.report = Some(report);
            });
            if let Some((evidently, snapshot)) = sent {
                push(evidently, snapshot);
            }
        }
        if settings.clock == Clock::Wall {
            let silent = end_ms - newest_ms > SILENT * HOUR_MS;
            all.push(Condition {
                rule: Rule::Service,
                subject: "traffic".to_owned(),
                wrong: Some(silent),
                message: format!("the last decision came {} hours ago", (end_ms - newest_ms) / HOUR_MS),
            });
        }
        if end_ms.rem_euclid(DAY_MS) == 0 {
            all.extend(self.performance(name, end_ms).await?);
            self.guard(name, end_ms).await?;
            let before = end_ms - settings.keep_days.max(2) * DAY_MS;
            self.store.remove_panes(name, before).await?;
        }
        model.reasons.renew(&all);
        for change in model.book.look(all, self.settings.alerts.hysteresis()) {
            self.tell(name, &change, end_ms).await?;
        }
        self.retrain(model, name, end_ms).await
    }

    /// Matured figures of the last days against those at training.
    async fn performance(&self, name: &str, as_of_ms: i64) -> Result<Vec<Condition>, MonitoringError> {
        let settings = &self.settings.monitoring;
        let Some(version) = self.board.version(name) else { return Ok(Vec::new()) };
        if self.monitoring.log().is_none() {
            return Ok(Vec::new());
        }
        let maturity = settings.maturity();
        let until_ms = as_of_ms - maturity.delay_ms;
        let query = PerformanceQuery {
            since_ms: until_ms - (settings.performance_days * DAY_MS as f64) as i64,
            until_ms,
            maturity,
            by: GroupBy::Version,
            amount: settings.amount.clone(),
            review_cost: settings.review_cost,
            ..PerformanceQuery::of(name, as_of_ms)
        };
        let groups = performance(&self.store, &self.monitoring, &query).await?;
        let Some((_, measured)) = groups.into_iter().find(|(group, _)| *group == version) else {
            return Ok(Vec::new());
        };
        let package = package(&self.store, &self.monitoring, name, &version).await?;
        let baseline = manifest(&package).await.map(|manifest| manifest.metrics);
        let conditions = baseline.map_or_else(Vec::new, |baseline| worse(&measured, &baseline, settings.min_frauds));
        self.board.change(name, |latest| latest.performance = Some(measured));
        Ok(conditions)
    }

    /// Undoes a promotion that matured labels speak against.
    async fn guard(&self, name: &str, as_of_ms: i64) -> Result<(), MonitoringError> {
        let Some(version) = self.board.version(name).and_then(|version| version.parse().ok()) else { return Ok(()) };
        let found = guard::look(&self.store, &self.monitoring, &self.settings, name, version, as_of_ms).await?;
        let Some((promotion, why)) = found else { return Ok(()) };
        let mut message = format!("version {version} is worse than {} before it: {why}", promotion.previous);
        if self.settings.guard.rollback {
            guard::undo(&self.store, name, &promotion, &why, (self.clock)()).await?;
            message = format!("{message}; version {} is live again", promotion.previous);
        }
        tracing::warn!(model = name, "{message}");
        let change = Change { rule: Rule::Performance, subject: "promotion".to_owned(), began: true, message };
        self.tell(name, &change, as_of_ms).await?;
        // It is over as soon as it is said: nothing goes on that could end.
        self.store.end_alert(name, change.rule.name(), &change.subject, as_of_ms).await?;
        Ok(())
    }

    async fn tell(&self, name: &str, change: &Change, at_ms: i64) -> Result<(), MonitoringError> {
        let (rule, severity) = (change.rule.name(), notify::severity(change));
        tracing::info!(model = name, rule, began = change.began, "alert: {}", change.message);
        if change.began {
            let alert = Alert {
                id: String::new(),
                model: name.to_owned(),
                rule: rule.to_owned(),
                subject: change.subject.clone(),
                severity: severity.to_owned(),
                fired_at_ms: at_ms,
                resolved_at_ms: None,
                message: change.message.clone(),
            };
            self.store.begin_alert(alert).await?;
        } else {
            self.store.end_alert(name, rule, &change.subject, at_ms).await?;
        }
        if !self.settings.alerts.is_muted(change.rule, &change.subject) {
            notify::tell(&self.settings.alerts, &Notice::of(name, change, at_ms));
        }
        Ok(())
    }

    async fn retrain(&self, model: &mut Model, name: &str, now_ms: i64) -> Result<(), MonitoringError> {
        let Some(launcher) = self.launcher.as_ref().filter(|_| self.settings.retraining.enabled) else { return Ok(()) };
        if model.retraining.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let before = self.store.retrainings(name, 50).await?;
        let since = before.first().map_or(0, |last| last.started_at_ms);
        let new_labels = self.store.labels_known_since(since, now_ms).await?;
        let on = |rule| model.book.is_firing(rule);
        // Data that is wrong teaches nothing: a person has to look first.
        if on(Rule::DataQuality) {
            return Ok(());
        }
        let sustained = [Rule::DriftedShare, Rule::AlertRate].into_iter().any(on);
        let signals = Signals {
            now_ms,
            watching_since_ms: model.since_ms,
            drift: model.reasons.drift.as_deref().filter(|_| sustained),
            performance: model.reasons.performance.as_deref().filter(|_| on(Rule::Performance)),
            new_labels,
            before: &before,
        };
        let Some((cause, reason)) = due(&self.settings.retraining, signals) else { return Ok(()) };
        tracing::info!(model = name, cause, "retraining: {reason}");
        let order = RetrainingOrder { model: name.to_owned(), cause, reason, as_of_ms: now_ms };
        let running = launcher.retrain(order);
        self.board.change(name, |latest| latest.retraining = true);
        let (board, name) = (self.board.clone(), name.to_owned());
        model.retraining = Some(tokio::spawn(async move {
            if let Err(error) = running.await {
                tracing::error!("a retraining failed: {error}");
            }
            board.change(&name, |latest| latest.retraining = false);
        }));
        Ok(())
    }
}

/// Why a retraining would be wanted, in a sentence: as it was last seen.
#[derive(Default)]
struct Reasons {
    drift: Option<String>,
    performance: Option<String>,
}

impl Reasons {
    fn renew(&mut self, conditions: &[Condition]) {
        let first = |rules: &[Rule]| {
            let wrong = |found: &&Condition| rules.contains(&found.rule) && found.wrong == Some(true);
            conditions.iter().find(wrong).map(|found| found.message.clone())
        };
        self.drift = first(&[Rule::DriftedShare, Rule::AlertRate]).or(self.drift.take());
        self.performance = first(&[Rule::Performance]).or(self.performance.take());
    }
}

/// Recall and average precision against those at training: wrong where they are lower by more than three standard
/// deviations of such a difference, and by 0.05. A recall's deviation is binomial; that of an average precision was
/// measured as 0.47 / √frauds.
fn worse(found: &Performance, baseline: &BTreeMap<String, f64>, min_frauds: u64) -> Vec<Condition> {
    let before = baseline.get("frauds").copied().unwrap_or(0.0).max(1.0);
    let now = found.frauds.max(1) as f64;
    let condition = |(name, spread): (&'static str, fn(f64) -> f64)| {
        let (was, is) = (*baseline.get(name)?, *found.metrics.get(name)?);
        let margin = (3.0 * spread(was) * (1.0 / now + 1.0 / before).sqrt()).max(0.05);
        Some(Condition {
            rule: Rule::Performance,
            subject: name.to_owned(),
            wrong: (found.frauds >= min_frauds).then_some(is < was - margin),
            message: format!(
                "{name} of the matured transactions is {is:.3}, at training it was {was:.3}, alarm below {:.3} ({} frauds)",
                was - margin,
                found.frauds
            ),
        })
    };
    let binomial: fn(f64) -> f64 = |rate| (rate * (1.0 - rate)).max(0.01).sqrt();
    let measured: fn(f64) -> f64 = |_| 0.47;
    [("recall", binomial), ("average_precision", measured)].into_iter().filter_map(condition).collect()
}

impl Latest {
    /// Appends the gauges of a model, as `/metrics` shows them.
    pub(crate) fn gauges(&self, model: &str, out: &mut Vec<Gauge>) {
        let labels = |more: &[(&'static str, &str)]| {
            let mut all = vec![("model", model.to_owned()), ("version", self.version.clone())];
            all.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
            all
        };
        if let Some(report) = &self.report {
            for watch in &report.drift {
                let of =
                    [("column", watch.name.as_str()), ("measure", watch.measure), ("certainty", certainty_word(watch))];
                out.push(("serin_drift_score", labels(&of), watch.value));
                out.push(("serin_drift_threshold", labels(&of[..2]), watch.threshold));
                out.push(("serin_drift_alarm", labels(&of[..2]), f64::from(u8::from(watch.alarm))));
            }
            for watch in &report.quality {
                out.push((
                    "serin_missing_share",
                    labels(&[("column", &watch.name), ("measure", watch.measure)]),
                    watch.value,
                ));
            }
            out.push(("serin_alert_rate", labels(&[]), report.alert_rate.value));
            out.push(("serin_drifted_importance", labels(&[]), report.drifted_importance));
            out.push(("serin_window_decisions", labels(&[]), report.rows as f64));
        }
        if let Some(performance) = &self.performance {
            for (metric, value) in &performance.metrics {
                out.push(("serin_performance", labels(&[("metric", metric)]), *value));
            }
            out.push(("serin_label_coverage", labels(&[]), performance.coverage()));
        }
    }
}
