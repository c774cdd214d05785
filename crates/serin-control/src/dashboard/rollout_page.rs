//! A release as it moves: phases, weights, evidence against what it has to reach, what people may say to it, and what became
//! of earlier ones.

use super::figures::{count, number, percent, when};
use super::model_pages::{Ledger, ledger};
use super::plots::{self, Look};
use super::visit::{Failure, Page, Visit, encoded, render};
use crate::error::ControlError;
use crate::state::ControlPlane;
use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::Value;
use serin_store::{Permission, Resource};
use std::convert::Infallible;
use std::time::Duration;

/// Time between two looks for somebody who watches the page.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/rollouts", get(show))
        .route("/rollouts/events", get(events))
        .route("/rollouts/{action}", post(control))
}

#[derive(Template)]
#[template(path = "rollout.html")]
struct RolloutPage {
    page: Page,
    now: String,
    known: bool,
    history: Ledger,
    may_act: bool,
}

async fn show(visit: Visit) -> Result<Response, Failure> {
    let page = visit.page_of_model("Rollout", "Rollout").await?;
    let known = !visit.state.data_planes.addresses().is_empty();
    let history = ledger(&visit, &page.model).await?;
    let may_act = visit.must(Permission::Edit, &Resource::RegisteredModel(page.model.clone())).is_ok();
    let now = live(&visit, &page.model).await?;
    render(&RolloutPage { now, known, history, may_act, page })
}

/// The present state again and again, whenever it has changed.
async fn events(visit: Visit) -> Result<Response, Failure> {
    let (_, model) = visit.model().await?;
    let first = (visit, model, String::new());
    let stream = stream::unfold(first, |(visit, model, last)| async move {
        loop {
            tokio::time::sleep(LOOK).await;
            if visit.state.data_planes.is_closing() {
                return None;
            }
            let now = live(&visit, &model).await.unwrap_or_default();
            if now != last {
                // One event is one line.
                let event = Event::default().event("rollout").data(now.replace(['\n', '\r'], " "));
                return Some((Ok::<_, Infallible>(event), (visit, model, now)));
            }
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// Says something to the scoring servers that release the model.
async fn control(visit: Visit, Path(action): Path<String>) -> Result<Response, Failure> {
    if !matches!(action.as_str(), "promote" | "abort" | "pause" | "resume" | "retry") {
        return Err(ControlError::mlflow("ENDPOINT_NOT_FOUND", format!("no {action:?} for a rollout")).into());
    }
    let (_, model) = visit.model().await?;
    visit.must(Permission::Edit, &Resource::RegisteredModel(model.clone()))?;
    let actor = visit.caller.user().unwrap_or("somebody at the dashboard");
    visit.state.data_planes.control(&model, &action, actor).await?;
    Ok(visit.done(&format!("/rollouts?name={}", encoded(&model)), "rollout-told"))
}

struct Part {
    name: String,
    weight: String,
    e: String,
    found: String,
    state: &'static str,
}

#[derive(Template)]
#[template(path = "rollout_live.html")]
struct Live {
    servers: Vec<Server>,
}

struct Server {
    address: String,
    phase: String,
    state: &'static str,
    paused: bool,
    moving: bool,
    versions: [String; 2],
    refused: Option<String>,
    /// True if `weight` is a share of the requests that match, not of all.
    of_matching: bool,
    weight: String,
    failed_checks: String,
    began: String,
    judgement: String,
    judged: &'static str,
    reason: String,
    e: [String; 2],
    reaches: [String; 2],
    parts: Vec<Part>,
    shadow: [String; 6],
    exposed: String,
    others: String,
    segments: Vec<[String; 3]>,
    plot: Option<String>,
    history: Vec<(String, String)>,
}

async fn live(visit: &Visit, model: &str) -> Result<String, Failure> {
    let servers = visit.state.data_planes.rollouts(model).await;
    let live = Live { servers: servers.iter().map(|(address, shown)| server(address, shown)).collect() };
    let rendered = live.render().map_err(|error| ControlError::mlflow("INTERNAL_ERROR", error.to_string()))?;
    Ok(rendered)
}

fn server(address: &str, shown: &Value) -> Server {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    };
    let whole = |value: &Value| count(value.as_u64().unwrap_or(0));
    let ratio = |value: &Value| value.as_f64().map_or_else(|| "–".to_owned(), |ratio| format!("{}×", number(ratio)));
    let share = |value: &Value| value.as_f64().map_or_else(|| "–".to_owned(), percent);
    let (evidence, shadow) = (&shown["evidence"], &shown["shadow"]);
    let reach = [&evidence["rollback_from"], &evidence["promotion_from"]].map(|v| v.as_f64().unwrap_or(1.0));
    let phase = text(&shown["phase"]);
    let parts = evidence["components"].as_array().into_iter().flatten().map(|part| {
        let e = part["e"].as_f64().unwrap_or(f64::NAN);
        Part {
            name: text(&part["name"]),
            weight: number(part["weight"].as_f64().unwrap_or(f64::NAN)),
            e: number(e),
            found: text(&part["found"]),
            state: if e >= reach[0] {
                "bad"
            } else if e >= 10.0 {
                "warn"
            } else {
                ""
            },
        }
    });
    let looks: Vec<Look> = shown["track"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|look| Look {
            at_ms: look["at_ms"].as_i64().unwrap_or(0),
            weight: look["weight"].as_f64().unwrap_or(0.0) * 100.0,
            log_e: [&look["log10_e"], &look["log10_e_alike"]].map(|v| v.as_f64().unwrap_or(f64::NAN)),
        })
        .collect();
    let history = shown["history"]
        .as_array()
        .into_iter()
        .flatten()
        .rev()
        .take(60)
        .map(|entry| (when(entry["at_ms"].as_i64().unwrap_or(0)), text(&entry["message"])));
    let segments = shown["segments"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|segment| [text(&segment["segment"]), whole(&segment["requests"]), ratio(&segment["alert_ratio"])]);
    let moving = shown["candidate_version"].is_string();
    let others = &shown["others"];
    Server {
        address: address.to_owned(),
        state: match phase.as_str() {
            "Failed" => "bad",
            "Succeeded" | "Initialized" => "good",
            _ => "warn",
        },
        phase,
        paused: shown["paused"] == true,
        moving,
        versions: [&shown["stable_version"], &shown["candidate_version"]].map(text),
        refused: shown["refused"].as_object().map(|refused| {
            format!("version {} is refused: {}", text(&refused["version"]), text(&refused["reason"]))
        }),
        weight: share(&shown["candidate_weight"]),
        of_matching: shown["by_match"] == true,
        failed_checks: whole(&shown["failed_checks"]),
        began: when(shown["began_at_ms"].as_i64().unwrap_or(0)),
        judgement: text(&evidence["judgement"]),
        judged: match evidence["judgement"].as_str() {
            Some("FAIL") => "bad",
            Some("PASS") => "good",
            _ => "warn",
        },
        reason: evidence["reason"].as_str().unwrap_or_default().to_owned(),
        e: [&evidence["e"], &evidence["e_alike"]].map(|v| number(v.as_f64().unwrap_or(f64::NAN))),
        reaches: reach.map(|reach| number(reach.round())),
        parts: parts.collect(),
        shadow: [
            whole(&shadow["requests"]),
            whole(&shadow["only_candidate_alerts"]),
            whole(&shadow["only_stable_alerts"]),
            whole(&shadow["unscored"]),
            ratio(&shadow["alert_ratio"]),
            share(&shadow["disagreement"]),
        ],
        exposed: whole(&shown["exposed_requests"]),
        others: match others["replicas"].as_u64() {
            None | Some(0) => String::new(),
            Some(replicas) => format!("with the evidence of {replicas} more servers"),
        },
        segments: segments.collect(),
        plot: (looks.len() > 1).then(|| {
            plots::evidence(
                "Evidence for harm and for being alike over the time of the rollout, against what rolls back and what promotes",
                &looks,
                reach.map(f64::log10),
            )
        }),
        history: history.collect(),
    }
}
