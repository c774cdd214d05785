//! Page of how decisions turned out, on matured labels: by version, by day, with the curves behind the figures.

use super::figures::{count, money, number, percent};
use super::plots::{self, Curve};
use super::visit::{Failure, Page, Visit, encoded, render};
use crate::monitoring::performance::{PerformanceQuery, performance_by_version_and_day};
use crate::settings::Clock;
use crate::state::ControlPlane;
use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;
use serin_analysis::performance::Performance;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const DAY_MS: i64 = 86_400_000;
/// Milliseconds of counting from which the page says when its figures were counted.
const SLOW_MS: i64 = 1000;
const CLASSES: [&str; 3] = ["", "second", "third"];

pub(crate) fn router() -> Router<ControlPlane> {
    Router::new().route("/performance", get(show)).route("/performance/figures", get(figures))
}

#[derive(Template)]
#[template(path = "performance.html")]
struct PerformancePage {
    page: Page,
    days: i64,
    address: String,
}

fn days_asked(visit: &Visit) -> i64 {
    visit.fields.opt_int("days").ok().flatten().filter(|days| (1..=3650).contains(days)).unwrap_or(90)
}

async fn show(visit: Visit) -> Result<Response, Failure> {
    let page = visit.page_of_model("Performance", "Performance").await?;
    let days = days_asked(&visit);
    let address = visit.link(&format!("/performance/figures?name={}&days={days}", encoded(&page.model)));
    render(&PerformancePage { page, days, address })
}

struct FiguresRow {
    version: String,
    decisions: String,
    alerts: String,
    matured: String,
    coverage: String,
    frauds: String,
    recall: String,
    precision: String,
    average_precision: String,
    auc: String,
    cost: String,
    saved: String,
    estimate: String,
}

#[derive(Template)]
#[template(path = "performance_figures.html")]
struct Figures {
    why_not: String,
    rows: Vec<FiguresRow>,
    curves: String,
    calibration: String,
    recall_by_day: String,
    cost_by_day: String,
    coverage_by_day: String,
    keys: Vec<(&'static str, String)>,
    maturity: String,
    has_costs: bool,
}

/// Counted when it is asked for: it reads the decision log.
async fn figures(visit: Visit) -> Result<Response, Failure> {
    let (_, model) = visit.model().await?;
    let (state, settings) = (&visit.state, &visit.state.settings.monitoring);
    let now_ms = state.now_ms();
    let base = PerformanceQuery {
        as_of_ms: (settings.clock == Clock::Wall).then_some(now_ms),
        since_ms: now_ms - days_asked(&visit) * DAY_MS,
        maturity: settings.maturity(),
        amount: settings.amount.clone(),
        review_cost: settings.review_cost,
        ..PerformanceQuery::of(&model, now_ms)
    };
    // Traffic of the past that is played again is older than any window of this clock.
    let base = if settings.clock == Clock::Events { PerformanceQuery { since_ms: 0, ..base } } else { base };
    let count = || performance_by_version_and_day(&state.store, &state.monitoring, &base);
    let kept = &state.monitoring.kept_figures;
    let found = kept.of((model.clone(), days_asked(&visit)), || state.now_ms(), count).await;
    let mut maturity = format!(
        "Labels are complete after {} days; a matured transaction without one is {}.",
        number(settings.maturity_days),
        if settings.maturity().unlabelled_is_genuine { "genuine" } else { "left out" }
    );
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let why_not = crate::error::ControlError::from(error).message();
            return render(&Figures { why_not, ..Figures::empty(maturity) });
        }
    };
    let (mut versions, days) = (found.versions.clone(), &found.days);
    if found.took_ms >= SLOW_MS {
        let at = jiff::Timestamp::from_millisecond(found.counted_ms).unwrap_or_default().strftime("%H:%M:%S UTC");
        let seconds = number((found.took_ms as f64 / 1000.0).round());
        let _ = write!(maturity, " Counted at {at}, which took {seconds} s: figures are kept twenty times as long.");
    }
    if versions.is_empty() {
        let why_not = format!("No decision of {model} in that time.");
        return render(&Figures { why_not, ..Figures::empty(maturity) });
    }
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(version.parse::<i64>().unwrap_or(0)));
    let shown: Vec<&(String, Performance)> =
        versions.iter().filter(|(_, found)| !found.precision_recall.is_empty()).take(CLASSES.len()).collect();
    let curve = |points: fn(&Performance) -> Vec<(f64, f64)>| -> Vec<Curve<'_>> {
        shown.iter().zip(CLASSES).map(|((name, found), class)| Curve { class, name, points: points(found) }).collect()
    };
    let curves = plots::unit_square(
        "Precision against recall on matured rows, by version",
        ["recall", "precision"],
        &curve(|found| found.precision_recall.clone()),
        false,
    );
    let calibration = plots::unit_square(
        "Observed share of frauds against the mean score in ten bins, by version; a calibrated model lies on the diagonal",
        ["mean score", "observed"],
        &curve(|found| found.reliability.iter().map(|bin| (bin.expected, bin.observed)).collect()),
        true,
    );
    render(&Figures {
        rows: versions.iter().map(row).collect(),
        keys: shown
            .iter()
            .zip(["reference", "live", "third"])
            .map(|((name, _), class)| (class, name.clone()))
            .collect(),
        has_costs: days.iter().any(|(_, found)| found.metrics.contains_key("cost")),
        recall_by_day: by_day_plot(days, |found| found.metrics.get("recall").copied()),
        cost_by_day: by_day_plot(days, |found| found.metrics.get("cost").copied()),
        coverage_by_day: by_day_plot(days, |found| Some(found.coverage())),
        curves,
        calibration,
        ..Figures::empty(maturity)
    })
}

impl Figures {
    fn empty(maturity: String) -> Self {
        Self {
            why_not: String::new(),
            rows: Vec::new(),
            curves: String::new(),
            calibration: String::new(),
            recall_by_day: String::new(),
            cost_by_day: String::new(),
            coverage_by_day: String::new(),
            keys: Vec::new(),
            maturity,
            has_costs: false,
        }
    }
}

fn row((version, found): &(String, Performance)) -> FiguresRow {
    let metric = |name: &str| found.metrics.get(name).copied();
    let shown = |name: &str| metric(name).map_or_else(|| "–".to_owned(), number);
    let share = |name: &str| metric(name).map_or_else(|| "–".to_owned(), percent);
    let rate = found.alerts as f64 / (found.decisions as f64).max(1.0);
    FiguresRow {
        version: version.clone(),
        decisions: count(found.decisions),
        alerts: format!("{} ({})", count(found.alerts), percent(rate)),
        matured: count(found.matured),
        coverage: percent(found.coverage()),
        frauds: count(found.frauds),
        recall: share("recall"),
        precision: share("precision"),
        average_precision: shown("average_precision"),
        auc: shown("auc_roc"),
        cost: metric("cost").map_or_else(|| "–".to_owned(), money),
        saved: match (metric("cost_without_model"), metric("cost")) {
            (Some(without), Some(cost)) => money(without - cost),
            _ => "–".to_owned(),
        },
        estimate: found.estimate.map_or_else(|| "–".to_owned(), |estimate| percent(estimate.recall)),
    }
}

/// A line a version over the days; a day's group is called `2026-11-26 version 3`.
fn by_day_plot(days: &[(String, Performance)], figure: fn(&Performance) -> Option<f64>) -> String {
    let mut points: BTreeMap<&str, BTreeMap<&str, f64>> = BTreeMap::new();
    let mut versions = BTreeSet::new();
    for (group, found) in days {
        let Some((day, version)) = group.split_once(" version ") else { continue };
        let Some(value) = figure(found) else { continue };
        versions.insert((version.parse::<i64>().unwrap_or(0), version));
        points.entry(day).or_default().insert(version, value);
    }
    let at = |day: &str| format!("{day}T12:00:00Z").parse::<jiff::Timestamp>().map_or(0, |time| time.as_second());
    let lines: Vec<Vec<Option<f64>>> = versions
        .iter()
        .map(|(_, version)| points.values().map(|of_day| of_day.get(version).copied()).collect())
        .collect();
    json!({
        "time": true, "label": "day",
        "series": versions.iter().map(|(_, version)| format!("version {version}")).collect::<Vec<_>>(),
        "x": points.keys().map(|day| at(day)).collect::<Vec<_>>(), "y": lines,
    })
    .to_string()
}
