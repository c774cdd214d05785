//! One decision with everything that it was made of, what others said of it, and what it turned out to be.

use super::decision_record::{Found, found, reading};
use super::decision_search::search;
use super::figures::{lasting, number, opt_when, when};
use super::plots;
use super::visit::{Failure, Page, Visit, render};
use crate::error::ControlError;
use crate::monitoring::comparison::loaded;
use crate::state::ControlPlane;
use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use serin_decisions::{Fallback, Record};
use serin_http::Fields;
use serin_scoring::Decision;
use serin_store::{Permission, Resource};
use serin_tracking::{Label, LabelSource, LabelSubject, Labels, NewLabel};
use std::collections::HashMap;

pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/decisions", get(search))
        .route("/decisions/{id}", get(one))
        .route("/decisions/{id}/replay", post(replay))
        .route("/decisions/{id}/label", post(label))
}

fn parsed(id: &str) -> Result<[u8; 16], ControlError> {
    uuid::Uuid::parse_str(id)
        .map(uuid::Uuid::into_bytes)
        .map_err(|_| ControlError::mlflow("RESOURCE_DOES_NOT_EXIST", format!("{id:?} is not the id of a decision")))
}

async fn decision(visit: &Visit, id: &str) -> Result<Found, Failure> {
    let key = parsed(id)?;
    let missing = || ControlError::mlflow("RESOURCE_DOES_NOT_EXIST", format!("the decision log has no decision {id}"));
    let files = visit.state.monitoring.log().ok_or_else(missing)?;
    let read = move || {
        let (mut one, mut shadows): (Option<Found>, Vec<(String, f32, bool)>) = (None, Vec::new());
        let report = files.about(&key, |record| {
            match record {
                Record::Decision(decision) => one = Some(found(decision)),
                // The log is read while it is written: twice is once.
                Record::Shadow(shadow) if !shadows.iter().any(|(version, ..)| *version == shadow.model.version) => {
                    shadows.push((shadow.model.version.clone(), shadow.score, shadow.alert));
                }
                _ => {}
            }
            true
        })?;
        report.warn();
        let one = one.map(|one| Found { shadows, ..one });
        Ok(one)
    };
    let one = reading(read).await?.ok_or_else(missing)?;
    visit.must(Permission::Read, &Resource::RegisteredModel(one.model.clone()))?;
    Ok(one)
}

#[derive(Template)]
#[template(path = "decision.html")]
struct DecisionPage {
    page: Page,
    id: String,
    facts: Vec<(&'static str, String)>,
    alert: bool,
    reasons: Option<String>,
    no_reasons: String,
    features: Vec<(String, String, String)>,
    shadows: Vec<(String, String, bool)>,
    labels: Vec<[String; 5]>,
    current: String,
    may_label: bool,
    sources: Vec<&'static str>,
    model: String,
    version: String,
}

async fn one(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let one = decision(&visit, &id).await?;
    let mut page = visit.page("Decisions", "Decision");
    page.model.clone_from(&one.model);
    let model = loaded(visit.state.sources(), &one.model, &one.version).await;
    let (mut reasons, mut no_reasons) = (None, String::new());
    let mut names: Vec<(String, String)> =
        (0..one.features.len()).map(|i| (format!("column {i}"), String::new())).collect();
    let mut contributions: HashMap<usize, f32> = HashMap::new();
    match &model {
        Ok(model) => {
            let package = &model.package;
            names = package
                .signature
                .columns
                .iter()
                .map(|column| {
                    (column.name.clone(), package.descriptions.get(&column.name).cloned().unwrap_or_default())
                })
                .collect();
            match model.strongest(&one.features, one.features.len()) {
                Ok(strongest) => {
                    let bars: Vec<(String, f64)> = strongest
                        .iter()
                        .take(12)
                        .map(|(place, value)| {
                            (format!("{} = {}", names[*place].0, one.features[*place]), f64::from(*value))
                        })
                        .collect();
                    let label =
                        "What moved the model's margin most: to the right towards fraud, to the left away from it";
                    reasons = Some(plots::reasons(label, &bars));
                    contributions.extend(strongest);
                }
                Err(reason) => no_reasons = reason.to_string(),
            }
        }
        Err(error) => no_reasons = format!("the version that decided cannot be loaded: {error}"),
    }
    let features = names.iter().zip(&one.features).enumerate().map(|(place, ((name, text), value))| {
        let name = if text.is_empty() { name.clone() } else { format!("{name} ({text})") };
        let moved = contributions.get(&place).map_or_else(|| "–".to_owned(), |value| number(f64::from(*value)));
        (name, value.to_string(), moved)
    });
    let history = label_history(&visit, &one).await?;
    let current = Labels::of(history.clone());
    let current = current.find(&one.id, &one.transaction_id).map_or_else(
        || "not known yet".to_owned(),
        |label| format!("{}, by {}", if label.fraud { "fraud" } else { "genuine" }, label.source),
    );
    let labels = history.iter().map(|label| {
        [
            if label.fraud { "fraud" } else { "genuine" }.to_owned(),
            label.source.to_string(),
            when(label.known_at_ms),
            when(label.received_at_ms),
            label.amount.map_or_else(|| "–".to_owned(), number),
        ]
    });
    render(&DecisionPage {
        facts: facts(&one),
        alert: one.alert,
        reasons,
        no_reasons,
        features: features.collect(),
        shadows: one.shadows.iter().map(|(v, score, alert)| (v.clone(), number(f64::from(*score)), *alert)).collect(),
        labels: labels.collect(),
        current,
        may_label: visit.must_by_default(Permission::Edit).is_ok(),
        sources: LabelSource::ALL.iter().rev().map(|source| source.name()).collect(),
        model: one.model.clone(),
        version: one.version.clone(),
        id,
        page,
    })
}

fn facts(one: &Found) -> Vec<(&'static str, String)> {
    let text = |text: &str| if text.is_empty() { "–".to_owned() } else { plots::escaped(text) };
    vec![
        ("Decided", when(one.at_ms)),
        ("Transaction", text(&one.transaction_id)),
        ("Happened", opt_when(one.event_time_ms)),
        ("Entity", text(&one.entity)),
        (
            "Score",
            format!("{} <span class=\"note\">bits 0x{:08x}</span>", number(f64::from(one.score)), one.score.to_bits()),
        ),
        ("Threshold", number(f64::from(one.threshold))),
        (
            "Decided by",
            match (one.fallback, one.explored) {
                (Some(fallback), _) => format!("fallback {}", fallback.name()),
                (None, Some(p)) if !one.alert => {
                    format!(
                        "the model; the alert was let through by exploration, with probability {}",
                        number(f64::from(p))
                    )
                }
                _ => "the model".to_owned(),
            },
        ),
        (
            "Release",
            one.arm.map_or_else(
                || "no rollout".to_owned(),
                |(candidate, weight)| {
                    format!(
                        "{} arm, the candidate at {} % of the traffic",
                        if candidate { "candidate" } else { "stable" },
                        number(f64::from(weight) / 100.0)
                    )
                },
            ),
        ),
        ("Took", lasting_ns(one.latency_ns)),
        ("Model file", format!("<code>{}</code>", one.sha256.iter().map(|b| format!("{b:02x}")).collect::<String>())),
    ]
}

fn lasting_ns(ns: u32) -> String {
    if ns < 1_000_000 { format!("{} µs", number(f64::from(ns) / 1e3)) } else { lasting(i64::from(ns) / 1_000_000) }
}

async fn label_history(visit: &Visit, one: &Found) -> Result<Vec<Label>, Failure> {
    let mut history = visit.state.store.label_history(&LabelSubject::Decision(one.id)).await?;
    if !one.transaction_id.is_empty() {
        let subject = LabelSubject::Transaction(one.transaction_id.clone());
        history.extend(visit.state.store.label_history(&subject).await?);
    }
    history.sort_by_key(|label| (label.known_at_ms, label.received_at_ms));
    Ok(history)
}

#[derive(Template)]
#[template(path = "decision_replay.html")]
struct Replayed {
    same: Option<bool>,
    score: String,
    bits: String,
    logged_bits: String,
    file: &'static str,
}

/// Scores what was logged again, with the version that decided.
async fn replay(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let one = decision(&visit, &id).await?;
    let model = loaded(visit.state.sources(), &one.model, &one.version).await?;
    let score = model.package.forest.score(&one.features);
    let file = if model.deciding.sha256 == one.sha256 {
        "the very file that decided"
    } else {
        "another file than the one that decided: its SHA-256 differs"
    };
    let alert = Decision::new(score, one.threshold).alert;
    let by_model = Fallback::is_of_a_model(one.fallback);
    let asked = one.alert || one.explored.is_some();
    render(&Replayed {
        same: by_model.then(|| score.to_bits() == one.score.to_bits() && alert == asked),
        score: number(f64::from(score)),
        bits: format!("0x{:08x}", score.to_bits()),
        logged_bits: format!("0x{:08x}", one.score.to_bits()),
        file,
    })
}

/// Somebody says what it was.
async fn label(visit: Visit, Path(id): Path<String>, body: String) -> Result<Response, Failure> {
    visit.must_by_default(Permission::Edit)?;
    let form = Fields::from_query(&body);
    let one = decision(&visit, &id).await?;
    let fraud = match form.text("label")?.as_str() {
        "fraud" => true,
        "genuine" => false,
        other => return Err(ControlError::invalid(format!("label {other:?}: choose fraud or genuine")).into()),
    };
    let amount = form.text("amount")?;
    let amount = match amount.trim() {
        "" => None,
        text => {
            let parsed = text.parse::<f64>().ok().filter(|amount| amount.is_finite() && *amount >= 0.0);
            Some(parsed.ok_or_else(|| ControlError::invalid(format!("amount {text:?} is not a number from 0 up")))?)
        }
    };
    let label = NewLabel {
        subject: LabelSubject::Decision(one.id),
        fraud,
        source: form.text("source")?.parse::<LabelSource>().map_err(ControlError::invalid)?,
        occurred_at_ms: one.event_time_ms,
        known_at_ms: None,
        amount,
    };
    visit.state.store.put_labels(vec![label], visit.state.now_ms()).await?;
    Ok(visit.done(&format!("/decisions/{id}"), "labelled"))
}
