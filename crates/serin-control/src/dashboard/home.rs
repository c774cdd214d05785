//! The overview: is the live model fine, what would the candidate decide differently, and what does it save.

use super::drift_page;
use super::figures::{count, money, number, percent, when};
use super::visit::{Failure, Page, Visit, encoded, render};
use crate::monitoring::comparison::{Compared, Disagreement, disagreements, savings};
use crate::monitoring::windows::{Seen, seen_lately};
use crate::state::ControlPlane;
use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serin_analysis::monitor::{Certainty, Report};

pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/", get(show))
        .route("/overview/live", get(live))
        .route("/overview/disagreements", get(differences))
        .route("/overview/savings", get(saved))
}

/// One figure with what it is of.
struct Tile {
    name: &'static str,
    value: String,
    /// Unit, window and how many.
    note: String,
    /// `good`, `warn`, `bad`, or nothing where it is neither.
    state: &'static str,
    href: String,
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    page: Page,
    is_empty: bool,
}

async fn show(visit: Visit) -> Result<Response, Failure> {
    let page = visit.page_of_model("Overview", "Is the fraud model fine?").await?;
    render(&Home { is_empty: page.model.is_empty(), page })
}

#[derive(Template)]
#[template(path = "home_live.html")]
struct Live {
    tiles: Vec<Tile>,
    scores: Option<String>,
    window: String,
    alerts: Vec<(String, String, String)>,
}

/// Tiles, score distribution and alerts that are on: asked for again every few seconds.
async fn live(visit: Visit) -> Result<Response, Failure> {
    let (_, model) = visit.model().await?;
    let state = &visit.state;
    let mut tiles = vec![answering(&visit, &model).await?];
    tiles.extend(traffic(&visit).await);
    let (mut scores, mut window) = (None, String::new());
    if let Some((seen, report)) = seen_lately(state.sources(), &model).await? {
        window =
            format!("{} decisions of version {} in the 24 h before the newest one", count(report.rows), seen.version);
        scores = drift_page::bars_of(&seen, seen.reference.columns.len(), "Scores now against the reference");
        tiles.extend(watched(&visit, &model, &seen, &report));
    }
    tiles.extend(outcomes(&visit, &model));
    let on = state.store.alerts_on(&model).await?;
    let alerts = on.into_iter().map(|alert| (alert.severity, alert.message, when(alert.fired_at_ms))).collect();
    render(&Live { tiles, scores, window, alerts })
}

async fn answering(visit: &Visit, model: &str) -> Result<Tile, Failure> {
    let mut versions = visit.state.store.versions(model).await.unwrap_or_default();
    versions.sort_by_key(|version| std::cmp::Reverse(version.version));
    let live = versions.iter().find(|version| visit.state.settings.guard.is_live(version));
    let href = visit.link(&format!("/models/{}", encoded(model)));
    Ok(match live {
        Some(version) => Tile {
            name: "Live version",
            value: version.version.to_string(),
            note: {
                let stage = Some(version.stage.as_str().to_owned()).filter(|stage| stage != "None");
                let held: Vec<String> = version.aliases.iter().cloned().chain(stage).collect();
                let all = if versions.len() == 1 {
                    "the only version".to_owned()
                } else {
                    format!("{} versions in all", versions.len())
                };
                format!("{}; {all}", held.join(", "))
            },
            state: "good",
            href,
        },
        None => Tile {
            name: "Live version",
            value: "none".to_owned(),
            note: "no version is in Production or named champion".to_owned(),
            state: "warn",
            href,
        },
    })
}

async fn traffic(visit: &Visit) -> Vec<Tile> {
    let href = visit.link("/settings");
    if visit.state.data_planes.addresses().is_empty() {
        return Vec::new();
    }
    let Some(lately) = visit.state.data_planes.lately().await else {
        let note = "the scoring server does not answer".to_owned();
        return vec![Tile { name: "Traffic", value: "no answer".to_owned(), note, state: "bad", href }];
    };
    let (traffic, seconds) = (&lately.traffic, lately.seconds);
    let over = seconds.map_or_else(|| "since the server's start".to_owned(), |s| format!("last {s:.0} s"));
    let n = count(traffic.requests as u64);
    let rate = seconds.map_or_else(|| n.clone(), |seconds| format!("{}/s", number(traffic.requests / seconds)));
    let p99 = traffic.quantile(0.99).map_or_else(
        || "–".to_owned(),
        |(_, upper)| if upper.is_finite() { format!("≤ {} ms", number(upper * 1e3)) } else { "> 5 s".to_owned() },
    );
    let errors = if traffic.requests > 0.0 { traffic.errors / traffic.requests } else { 0.0 };
    let slow = traffic.quantile(0.99).is_some_and(|(_, upper)| upper > 0.1);
    vec![
        Tile {
            name: "Traffic",
            value: rate,
            note: format!("requests, {over}, n = {n}"),
            state: "",
            href: href.clone(),
        },
        Tile {
            name: "99th percentile",
            value: p99,
            note: format!("in the server, {over}, n = {n}"),
            state: if slow { "warn" } else { "good" },
            href: href.clone(),
        },
        Tile {
            name: "Errors",
            value: percent(errors),
            note: format!("answers 5xx, {over}, n = {n}"),
            state: if errors > 0.001 { "bad" } else { "good" },
            href,
        },
    ]
}

fn watched(visit: &Visit, model: &str, seen: &Seen, report: &Report) -> Vec<Tile> {
    let href = visit.link(&format!("/drift?name={}", encoded(model)));
    let drifted = report.drift.iter().filter(|watch| watch.alarm).count();
    let unknown = report.drift.iter().filter(|watch| matches!(watch.certainty, Certainty::Insufficient(..))).count();
    let judged = report.drift.len() - unknown;
    let rate = &report.alert_rate;
    vec![
        Tile {
            name: "Alert rate",
            value: percent(rate.value),
            note: format!("reference {}, last 24 h, n = {}", percent(seen.reference.alert_rate), count(report.rows)),
            state: if rate.alarm { "bad" } else { "good" },
            href: href.clone(),
        },
        Tile {
            name: "Drifted columns",
            value: if judged == 0 { "–".to_owned() } else { drifted.to_string() },
            note: if judged == 0 {
                format!("{} decisions are too few to tell", count(report.rows))
            } else {
                format!("of {judged} judged, {} of the model's gain", percent(report.drifted_importance))
            },
            state: match (judged, drifted) {
                (0, _) => "",
                (_, 0) => "good",
                _ if report.drifted_importance >= visit.state.settings.monitoring.drifted_share => "bad",
                _ => "warn",
            },
            href,
        },
    ]
}

/// Tiles with the outcomes of decisions, as the monitor counted them last: once a day.
fn outcomes(visit: &Visit, model: &str) -> Vec<Tile> {
    let href = visit.link(&format!("/performance?name={}", encoded(model)));
    let latest = visit.state.board.all().remove(model);
    let Some(performance) = latest.and_then(|latest| latest.performance) else {
        let note = "counted once a day; open for the present figures".to_owned();
        return vec![Tile { name: "Label coverage", value: "–".to_owned(), note, state: "", href }];
    };
    let n = format!("{} matured, {} frauds", count(performance.labelled), count(performance.frauds));
    let mut tiles = vec![Tile {
        name: "Label coverage",
        value: percent(performance.coverage()),
        note: format!("of {} decisions, last days", count(performance.decisions)),
        state: "",
        href: href.clone(),
    }];
    if let Some(recall) = performance.metrics.get("recall") {
        tiles.push(Tile { name: "Recall", value: percent(*recall), note: n.clone(), state: "", href: href.clone() });
    }
    let amounts = (performance.metrics.get("cost_without_model"), performance.metrics.get("cost"));
    if let (Some(without), Some(cost)) = amounts {
        tiles.push(Tile { name: "Saved by the model", value: money(without - cost), note: n, state: "", href });
    }
    tiles
}

#[derive(Template)]
#[template(path = "home_disagreements.html")]
struct Differences {
    base: String,
    rows: Vec<DisagreementRow>,
    candidate: String,
    looked_at: String,
}

struct DisagreementRow {
    id: String,
    transaction: String,
    when: String,
    amount: String,
    versions: [String; 2],
    scores: [String; 2],
    alerts: [bool; 2],
    reasons: String,
}

async fn differences(visit: Visit) -> Result<Response, Failure> {
    let (_, model) = visit.model().await?;
    let found = disagreements(visit.state.sources(), &model, 20).await?;
    let row = |found: &Disagreement| DisagreementRow {
        id: found.id.clone(),
        transaction: found.transaction_id.clone(),
        when: when(found.at_ms),
        amount: found.amount.map_or_else(String::new, money),
        versions: found.versions.clone(),
        scores: found.scores.map(|score| number(f64::from(score))),
        alerts: found.alerts,
        reasons: found.reasons.join(", "),
    };
    let candidate = found.rows.first().map(|row| row.versions[1].clone()).unwrap_or_default();
    render(&Differences {
        base: visit.link(""),
        rows: found.rows.iter().map(row).collect(),
        candidate,
        looked_at: count(found.looked_at),
    })
}

#[derive(Template)]
#[template(path = "home_savings.html")]
struct SavingsSection {
    found: Option<Savings>,
    why_not: String,
}

struct Savings {
    versions: [String; 2],
    gain: String,
    interval: [String; 2],
    costs: [String; 2],
    recalls: [String; 2],
    recall_interval: [String; 2],
    rows: String,
    frauds: String,
}

async fn saved(visit: Visit) -> Result<Response, Failure> {
    let (_, model) = visit.model().await?;
    let signed = |value: f64| format!("{}{}", if value > 0.0 { "+" } else { "" }, money(value));
    let points = |value: f64| format!("{}{}", if value > 0.0 { "+" } else { "" }, percent(value));
    render(&match savings(visit.state.sources(), &model).await? {
        Compared::Found { versions, comparison } => SavingsSection {
            found: Some(Savings {
                versions,
                gain: signed(comparison.cost.gain),
                interval: [comparison.cost.interval.0, comparison.cost.interval.1].map(signed),
                costs: comparison.cost.values.map(money),
                recalls: comparison.recall.values.map(percent),
                recall_interval: [comparison.recall.interval.0, comparison.recall.interval.1].map(points),
                rows: count(comparison.rows),
                frauds: count(comparison.frauds),
            }),
            why_not: String::new(),
        },
        Compared::NotYet(why_not) => SavingsSection { found: None, why_not },
    })
}
