//! Job `performance`: once a day the matured figures of a model's version against those at training.

use super::looks::{DAY_MS, Looks, passing};
use super::{Context, JobError, ModelJob, Outcome, Work};
use crate::monitoring::MonitoringError;
use crate::monitoring::performance::{GroupBy, PerformanceQuery, manifest, package, performance};
use serin_analysis::monitor::{Condition, Rule};
use serin_analysis::performance::Performance;
use std::collections::BTreeMap;

/// Subject of the guard's alerts, which are none of this job.
pub(super) const PROMOTION: &str = "promotion";

/// Daily figures of one model.
pub(super) struct DailyFigures;

impl ModelJob<DailyFigures> {
    /// Figures of the version that decided last, and what they say against those at training; `None` if there are none.
    async fn measure(&self, as_of_ms: i64) -> Result<Option<(String, Performance, Vec<Condition>)>, MonitoringError> {
        let Context { store, monitoring, settings, .. } = &self.context;
        let settings = &settings.monitoring;
        let Some((version, _)) = store.newest_pane(&self.model, as_of_ms).await? else { return Ok(None) };
        if monitoring.log().is_none() {
            return Ok(None);
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
            ..PerformanceQuery::of(&self.model, as_of_ms)
        };
        let groups = performance(store, monitoring, &query).await?;
        let Some((_, measured)) = groups.into_iter().find(|(group, _)| *group == version) else { return Ok(None) };
        let package = package(store, monitoring, &self.model, &version).await?;
        let baseline = manifest(&package).await.map(|manifest| manifest.metrics);
        let conditions = baseline.map_or_else(Vec::new, |baseline| worse(&measured, &baseline, settings.min_frauds));
        Ok(Some((version, measured, conditions)))
    }

    async fn run_all(&self) -> Result<Outcome, JobError> {
        let Some(mut looks) = Looks::of(&self.context, DailyFigures::NAME, &self.model, DAY_MS).await? else {
            return Ok(Outcome::Idle);
        };
        let mut book = looks.book(|rule, subject| rule == Rule::Performance && subject != PROMOTION).await?;
        let (mut outcome, mut problem) = (Outcome::Idle, None);
        while let Some(end_ms) = looks.next_ms() {
            let found = passing(self.measure(end_ms).await, &mut problem)?;
            let (figures, conditions) = match found {
                Some((version, measured, conditions)) => (Some((version, measured)), conditions),
                None => (None, Vec::new()),
            };
            if !looks.record_conditions(end_ms, &mut book, conditions).await? {
                return Ok(Outcome::Idle);
            }
            if let Some((version, measured)) = figures {
                self.context.board.change(&self.model, |latest| {
                    if latest.version.is_empty() || latest.version == version {
                        latest.performance = Some(measured);
                    }
                });
            }
            outcome = Outcome::Worked;
        }
        problem.map_or(Ok(outcome), |problem| Err(problem.into()))
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

impl Work for DailyFigures {
    const NAME: &'static str = "performance";

    async fn run(job: &ModelJob<Self>) -> Result<Outcome, JobError> {
        job.run_all().await
    }
}
