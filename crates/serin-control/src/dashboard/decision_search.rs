//! Decisions found again by what people know of them: id, transaction, entity, score, action, time.

use super::decision_record::{Found, found, reading};
use super::figures::{number, when};
use super::visit::{Failure, Page, Visit, render};
use crate::error::ControlError;
use askama::Template;
use axum::response::Response;
use serin_decisions::LogError;
use serin_decisions::{DecisionFiles, Record};

/// Most decisions on one page.
const MOST: usize = 100;
/// Most bytes of the newest segments that a search reads.
const SEARCHED_BYTES: u64 = 512 << 20;

/// Conditions of a search for decisions; an empty text is no condition.
#[derive(Debug, Clone, Default)]
struct DecisionQuery {
    model: String,
    text: String,
    action: String,
    least: Option<f32>,
    most: Option<f32>,
    since_ms: i64,
    until_ms: i64,
    version: String,
}

impl DecisionQuery {
    fn of(visit: &Visit, model: &str) -> Result<Self, ControlError> {
        let score = |name: &str| -> Result<Option<f32>, ControlError> {
            let text = visit.text(name);
            if text.is_empty() {
                return Ok(None);
            }
            text.parse().map(Some).map_err(|_| ControlError::invalid(format!("{name} {text:?} is not a number")))
        };
        let time = |name: &str, otherwise: i64| -> Result<i64, ControlError> {
            let text = visit.text(name);
            if text.is_empty() {
                return Ok(otherwise);
            }
            // What a browser's field gives has no seconds and no zone: it is UTC, as the label says.
            let zoned = if text.len() == 16 { format!("{text}:00Z") } else { text.clone() };
            let parsed = zoned.parse::<jiff::Timestamp>();
            parsed.map(|time| time.as_millisecond()).map_err(|_| {
                ControlError::invalid(format!("{name} {text:?} is not a time: write 2026-11-25T10:00:00Z"))
            })
        };
        Ok(Self {
            model: model.to_owned(),
            text: visit.text("q").trim().to_owned(),
            action: visit.text("action"),
            least: score("least")?,
            most: score("most")?,
            since_ms: time("since", 0)?,
            until_ms: time("until", i64::MAX)?,
            version: visit.text("version").trim().to_owned(),
        })
    }

    fn fits(&self, decision: &serin_decisions::LoggedDecision<'_>) -> bool {
        let named = || {
            decision.transaction_id == self.text
                || decision.entity == self.text
                || uuid::Uuid::from_bytes(decision.id).to_string() == self.text
        };
        decision.model.name == self.model
            && (self.text.is_empty() || named())
            && (self.version.is_empty() || decision.model.version == self.version)
            && match self.action.as_str() {
                "alert" => decision.alert,
                "pass" => !decision.alert,
                "fallback" => decision.fallback.is_some(),
                _ => true,
            }
            && self.least.is_none_or(|least| decision.score >= least)
            && self.most.is_none_or(|most| decision.score <= most)
    }
}

/// The newest ones that fit, and whether all of the log was searched.
fn searched(files: &DecisionFiles, asked: &DecisionQuery) -> Result<(Vec<Found>, bool), LogError> {
    let mut all: Vec<Found> = Vec::new();
    let mut of_segment = std::collections::VecDeque::new();
    let report = files.newest(asked.since_ms, asked.until_ms, SEARCHED_BYTES, |record| {
        match record {
            Some(Record::Decision(decision)) if asked.fits(decision) => {
                // Of a segment the last ones are the newest.
                if of_segment.len() == MOST {
                    of_segment.pop_front();
                }
                of_segment.push_back(found(decision));
            }
            Some(_) => {}
            None => {
                all.extend(of_segment.drain(..));
                return all.len() < MOST;
            }
        }
        true
    })?;
    report.warn();
    // Damage may hold one that was searched for.
    let complete = (report.complete && report.is_clean()) || all.len() >= MOST;
    all.sort_by_key(|decision| std::cmp::Reverse(decision.at_ms));
    all.truncate(MOST);
    Ok((all, complete))
}

struct FoundRow {
    id: String,
    when: String,
    transaction: String,
    entity: String,
    version: String,
    score: String,
    action: &'static str,
    by: String,
}

#[derive(Template)]
#[template(path = "decisions.html")]
struct DecisionsPage {
    page: Page,
    rows: Vec<FoundRow>,
    complete: bool,
    why_not: String,
    most: usize,
    q: String,
    action: String,
    least: String,
    most_score: String,
    since: String,
    until: String,
    version: String,
}

pub(crate) async fn search(visit: Visit) -> Result<Response, Failure> {
    let page = visit.page_of_model("Decisions", "Decisions").await?;
    let asked = DecisionQuery::of(&visit, &page.model)?;
    let (mut rows, mut complete, mut why_not) = (Vec::new(), true, String::new());
    match visit.state.monitoring.log() {
        None => {
            why_not = "This server sees no decision log: start it on the state folder that the scoring server writes, or name its folder with --decision-log.".to_owned();
        }
        Some(files) => {
            let read = move || searched(&files, &asked);
            let (found, all) = reading(read).await?;
            (rows, complete) = (found, all);
        }
    }
    let rows = rows.iter().map(|row| FoundRow {
        id: uuid::Uuid::from_bytes(row.id).to_string(),
        when: when(row.at_ms),
        transaction: row.transaction_id.clone(),
        entity: row.entity.clone(),
        version: row.version.clone(),
        score: number(f64::from(row.score)),
        action: if row.alert { "alert" } else { "pass" },
        by: match (row.fallback, row.explored, row.arm) {
            (Some(fallback), ..) => format!("fallback {}", fallback.name()),
            (None, Some(_), _) if !row.alert => "let through by exploration".to_owned(),
            (None, _, Some((true, _))) => "candidate".to_owned(),
            _ => String::new(),
        },
    });
    let (rows, text) = (rows.collect(), |name: &str| visit.text(name));
    render(&DecisionsPage {
        rows,
        complete,
        why_not,
        most: MOST,
        q: text("q"),
        action: text("action"),
        least: text("least"),
        most_score: text("most"),
        since: text("since"),
        until: text("until"),
        version: text("version"),
        page,
    })
}
