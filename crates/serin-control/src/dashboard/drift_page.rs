//! Drift: every column by time, and each column's values now beside its reference.

use super::figures::{count, number, percent, when};
use super::plots::{self, Bar};
use super::visit::{Failure, Page, Visit, encoded, render};
use crate::monitoring::evidently::snapshot;
use crate::monitoring::windows::{Seen, seen, seen_lately};
use crate::state::ControlPlane;
use askama::Template;
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use serin_analysis::monitor::drift_json;
use serin_analysis::monitor::{Bin, Certainty, HOUR_MS, Pane, Report, Watch, histogram, report};
use std::collections::BTreeMap;

/// Most columns of the heat map.
const SLOTS: i64 = 31;
/// Bars of a column.
const BARS: usize = 24;

pub(crate) fn router() -> Router<ControlPlane> {
    Router::new().route("/drift", get(show)).route("/drift/export", get(export))
}

struct ColumnRow {
    name: String,
    measure: &'static str,
    value: String,
    threshold: String,
    certainty: String,
    importance: String,
    alarm: bool,
    missing: String,
    missing_alarm: bool,
    heat: Vec<Cell>,
    bars: Option<String>,
}

struct Cell {
    class: &'static str,
    text: &'static str,
    title: String,
}

#[derive(Template)]
#[template(path = "drift.html")]
struct DriftPage {
    page: Page,
    rows: Vec<ColumnRow>,
    slots: Vec<String>,
    slot_hours: i64,
    summary: String,
    drifted: bool,
    window: String,
    calibration: String,
    export: String,
    hours: i64,
}

/// Hours of a column of the heat map: whole days, as thresholds go by days; parts of one where less is looked at.
fn slot_hours(hours: i64) -> i64 {
    if hours <= 48 { 4 } else { 24 * ((hours + 24 * SLOTS - 1) / (24 * SLOTS)) }
}

/// The hours that are looked at.
fn hours_asked(visit: &Visit) -> i64 {
    visit.fields.opt_int("hours").ok().flatten().filter(|hours| (1..=24 * 60).contains(hours)).unwrap_or(24 * 30)
}

async fn show(visit: Visit) -> Result<Response, Failure> {
    let page = visit.page_of_model("Drift", "Drift").await?;
    let hours = hours_asked(&visit);
    let export = visit.link(&format!("/drift/export?name={}", encoded(&page.model)));
    let mut shown = DriftPage {
        rows: Vec::new(),
        slots: Vec::new(),
        slot_hours: slot_hours(hours),
        summary: String::new(),
        drifted: false,
        window: String::new(),
        calibration: String::new(),
        export,
        hours,
        page,
    };
    let Some((now, found)) = seen_lately(visit.state.sources(), &shown.page.model).await? else {
        return render(&shown);
    };
    let until_ms = found.window_ms.1;
    let wide_ms = shown.slot_hours * HOUR_MS;
    let from_ms = until_ms - hours * HOUR_MS;
    let history = seen(&visit.state.store, &visit.state.monitoring, &shown.page.model, (from_ms, until_ms)).await?;
    let mut slots: BTreeMap<i64, Vec<Pane>> = BTreeMap::new();
    for pane in history.map(|seen| seen.panes).unwrap_or_default() {
        slots.entry((until_ms - 1 - pane.from_ms).div_euclid(wide_ms)).or_default().push(pane);
    }
    let budget = visit.state.settings.monitoring.budget();
    // From the oldest to the newest.
    let last = slots.keys().next_back().copied().unwrap_or(0);
    let reports: Vec<(i64, Option<Report>)> = (0..=last)
        .rev()
        .map(|slot| {
            let begin = until_ms - (slot + 1) * wide_ms;
            (begin, slots.get(&slot).and_then(|panes| report(&now.reference, panes, &budget)))
        })
        .collect();
    shown.slots = reports.iter().map(|(begin, _)| when(*begin)).collect();
    shown.rows = (0..found.drift.len()).map(|place| row(&now, &found, place, &reports)).collect();
    shown.rows.sort_by_key(|row| !row.alarm);
    let drifted = found.drift.iter().filter(|watch| watch.alarm).count();
    shown.drifted = drifted > 0;
    shown.summary = format!(
        "{drifted} of {} columns are drifted; they carry {} of the model's gain.",
        found.drift.len(),
        percent(found.drifted_importance)
    );
    shown.window = format!(
        "version {}, {} decisions, {} of them in hours that the reference knows, from {} to {}",
        now.version,
        count(found.rows),
        percent(found.matched),
        when(found.window_ms.0),
        when(found.window_ms.1)
    );
    shown.calibration = match found.calibration.0 {
        0 => "Thresholds go by the days of the reference.".to_owned(),
        days => format!(
            "Thresholds go by the days of the reference and by {} resampled ones (factor {}): one false alarm in {} days is expected over all columns.",
            count(days as u64),
            number(found.calibration.1),
            number(visit.state.settings.monitoring.days_between_alarms)
        ),
    };
    render(&shown)
}

fn certainty(watch: &Watch) -> String {
    match watch.certainty {
        Certainty::Exact => "exact".to_owned(),
        Certainty::Certified(low, high) if high.is_finite() => format!("certified {} to {}", number(low), number(high)),
        Certainty::Certified(low, _) => format!("certified from {}", number(low)),
        Certainty::Insufficient(n, need) => format!("too few: {} of {} rows", count(n), count(need)),
    }
}

fn row(seen: &Seen, found: &Report, place: usize, reports: &[(i64, Option<Report>)]) -> ColumnRow {
    let (watch, missing) = (&found.drift[place], &found.quality[place]);
    let heat = reports.iter().map(|(_, report)| cell(report.as_ref().map(|report| &report.drift[place])));
    ColumnRow {
        name: watch.name.clone(),
        measure: watch.measure,
        value: number(watch.value),
        threshold: number(watch.threshold),
        certainty: certainty(watch),
        importance: percent(watch.importance),
        alarm: watch.alarm,
        missing: percent(missing.value),
        missing_alarm: missing.alarm,
        heat: heat.collect(),
        bars: bars_of(seen, place, &format!("Values of {} now against the reference", watch.name)),
    }
}

fn cell(watch: Option<&Watch>) -> Cell {
    let Some(watch) = watch else { return Cell { class: "hx", text: "", title: "no traffic".to_owned() } };
    let title =
        format!("{} {} of {}, {}", watch.measure, number(watch.value), number(watch.threshold), certainty(watch));
    if matches!(watch.certainty, Certainty::Insufficient(..)) {
        return Cell { class: "hx", text: "·", title };
    }
    let (class, text) = match watch.value / watch.threshold {
        _ if watch.alarm => ("h4", "!"),
        part if part >= 0.8 => ("h3", ""),
        part if part >= 0.5 => ("h2", ""),
        part if part >= 0.25 => ("h1", ""),
        _ => ("h0", ""),
    };
    Cell { class, text, title }
}

/// A column's values now beside its reference; the score stands behind the last column.
pub(crate) fn bars_of(seen: &Seen, column: usize, label: &str) -> Option<String> {
    let bins = histogram(&seen.reference, &seen.panes, column, BARS)?;
    let name = |bin: &Bin| match (bin.from, bin.to) {
        (from, _) if from.is_nan() => "other".to_owned(),
        (from, to) if from == to => number(from),
        (from, to) if from.is_infinite() => format!("< {}", number(to)),
        (from, _) => number(from),
    };
    let bars: Vec<Bar> = bins.iter().map(|bin| Bar { name: name(bin), shares: [bin.reference, bin.live] }).collect();
    Some(plots::bars(label, &bars))
}

/// The window as `format=json`, as an Evidently snapshot, or as a page that stands alone.
async fn export(visit: Visit) -> Result<Response, Failure> {
    let (_, model) = visit.model().await?;
    let Some((now, found)) = seen_lately(visit.state.sources(), &model).await? else {
        let message = format!("no traffic of {model} has been seen");
        return Err(crate::error::ControlError::mlflow("RESOURCE_DOES_NOT_EXIST", message).into());
    };
    let (body, kind, name) = match visit.text("format").as_str() {
        "evidently" => (snapshot(&model, &now.version, &found, None).to_string(), "application/json", "evidently.json"),
        "html" => (alone(&model, &now, &found)?, "text/html; charset=utf-8", "drift.html"),
        _ => {
            let mut shown = drift_json(&found);
            (shown["name"], shown["version"]) = (json!(model), json!(now.version));
            (shown.to_string(), "application/json", "drift.json")
        }
    };
    let attachment = format!("attachment; filename=\"{name}\"");
    Ok(([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, attachment)], body).into_response())
}

#[derive(Template)]
#[template(path = "drift_alone.html")]
struct Alone {
    style: &'static str,
    model: String,
    version: String,
    window: [String; 2],
    decisions: String,
    rows: Vec<ColumnRow>,
}

fn alone(model: &str, now: &Seen, found: &Report) -> Result<String, Failure> {
    let page = Alone {
        style: include_str!("../../assets/app.css"),
        model: model.to_owned(),
        version: now.version.clone(),
        window: [when(found.window_ms.0), when(found.window_ms.1)],
        decisions: count(found.rows),
        rows: (0..found.drift.len()).map(|place| row(now, found, place, &[])).collect(),
    };
    let rendered = page.render();
    Ok(rendered.map_err(|error| crate::error::ControlError::mlflow("INTERNAL_ERROR", error.to_string()))?)
}
