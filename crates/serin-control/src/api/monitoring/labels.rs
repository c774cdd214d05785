//! `POST /v1/labels`: one label, many, or a file of them; `GET /v1/labels`: what was ever said of one transaction.

use crate::error::ControlError;
use crate::monitoring::InvalidLabels;
use crate::state::ControlPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::{Value, json};
use serin_http::Fields;
use serin_store::{Store, StoreError};
use serin_tracking::{Label, LabelSubject, Labels, NewLabel};

/// A label as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SentLabel {
    #[serde(default)]
    transaction_id: Option<String>,
    #[serde(default)]
    decision_id: Option<String>,
    label: Value,
    source: String,
    #[serde(default)]
    occurred_at: Value,
    #[serde(default)]
    known_at: Value,
    #[serde(default)]
    amount: Option<f64>,
}

/// One label, or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Sent {
    Many { labels: Vec<Value> },
    One(Value),
}

/// Answers how many labels were new and how many were kept already.
pub(crate) async fn create(
    State(state): State<ControlPlane>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ControlError> {
    let body =
        body.map_err(|error| ControlError::invalid(format!("the labels cannot be read: {error}; at most 64 MiB")))?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let labels = match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" | "" => labels_of_json(&body),
        "text/csv" => labels_of_csv(&body),
        "application/vnd.apache.parquet" | "application/x-parquet" => match state.monitoring.read_parquet {
            Some(read) => {
                let reading = tokio::task::spawn_blocking(move || read(&body)).await;
                reading.unwrap_or_else(|_| Err(InvalidLabels::new("the file cannot be read")))
            }
            None => Err(InvalidLabels::new("this server was built without Parquet: send CSV")),
        },
        other => Err(InvalidLabels(format!(
            "labels come as application/json, text/csv or application/vnd.apache.parquet, not {other}"
        ))),
    };
    let stored = state.store.put_labels(labels.map_err(ControlError::invalid)?, state.now_ms()).await?;
    Ok(Json(json!({ "new": stored.new, "known": stored.known })))
}

/// Everything said of `transaction_id` or `decision_id`, and what counts.
pub(crate) async fn history(State(state): State<ControlPlane>, fields: Fields) -> Result<Json<Value>, ControlError> {
    let (transaction, decision) = (fields.opt_text("transaction_id")?, fields.opt_text("decision_id")?);
    let found = report(&state.store, transaction, decision).await?;
    Ok(Json(found))
}

async fn report(store: &Store, transaction: Option<String>, decision: Option<String>) -> Result<Value, StoreError> {
    let subject = subject(transaction, decision).map_err(|error| StoreError::InvalidInput(error.to_string()))?;
    let history = store.label_history(&subject).await?;
    let current = Labels::of(history.clone());
    let current = match &subject {
        LabelSubject::Decision(id) => current.find(id, "").map(shown),
        LabelSubject::Transaction(id) => current.find(&[0; 16], id).map(shown),
    };
    Ok(json!({ "label": current, "history": history.iter().map(shown).collect::<Vec<_>>() }))
}

/// Answer of `GET /v1/labels` as JSON: the label that takes precedence, and the history of labels.
///
/// # Errors
/// When not one of the ids is given, or the database fails.
pub async fn label_report(
    store: &Store,
    transaction: Option<&str>,
    decision: Option<&str>,
) -> Result<Value, StoreError> {
    report(store, transaction.map(str::to_owned), decision.map(str::to_owned)).await
}

fn shown(label: &Label) -> Value {
    json!({
        "label": if label.fraud { "fraud" } else { "genuine" }, "source": label.source.name(),
        "occurred_at": label.occurred_at_ms, "known_at": label.known_at_ms, "received_at": label.received_at_ms,
        "amount": label.amount,
    })
}

fn subject(transaction: Option<String>, decision: Option<String>) -> Result<LabelSubject, InvalidLabels> {
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    match (filled(transaction), filled(decision)) {
        (Some(id), None) => Ok(LabelSubject::Transaction(id)),
        (None, Some(id)) => match uuid::Uuid::parse_str(&id) {
            Ok(id) => Ok(LabelSubject::Decision(*id.as_bytes())),
            Err(_) => Err(InvalidLabels(format!("decision_id {id:?} is not the id of a decision"))),
        },
        (None, None) => Err(InvalidLabels::new("name a transaction_id or a decision_id")),
        (Some(_), Some(_)) => Err(InvalidLabels::new("name a transaction_id or a decision_id, not both")),
    }
}

fn labels_of_json(body: &[u8]) -> Result<Vec<NewLabel>, InvalidLabels> {
    let sent: Sent =
        serde_json::from_slice(body).map_err(|error| InvalidLabels(format!("the labels are not JSON: {error}")))?;
    let labels = match sent {
        Sent::Many { labels } => labels,
        Sent::One(label) => vec![label],
    };
    let read = |(number, value): (usize, Value)| -> Result<NewLabel, InvalidLabels> {
        let at = |error: &dyn std::fmt::Display| InvalidLabels(format!("label {number}: {error}"));
        let sent: SentLabel = serde_json::from_value(value).map_err(|error| at(&error))?;
        let fraud = match &sent.label {
            Value::Bool(fraud) => Ok(*fraud),
            Value::Number(number) => fraud_of(&number.to_string()),
            Value::String(text) => fraud_of(text),
            other => fraud_of(&other.to_string()),
        };
        let time = |value: &Value| match value {
            Value::Null => Ok(None),
            Value::Number(number) => time_of(&number.to_string()),
            Value::String(text) => time_of(text),
            other => time_of(&other.to_string()),
        };
        Ok(NewLabel {
            subject: subject(sent.transaction_id, sent.decision_id).map_err(|error| at(&error))?,
            fraud: fraud.map_err(|error| at(&error))?,
            source: sent.source.parse().map_err(|error| at(&error))?,
            occurred_at_ms: time(&sent.occurred_at).map_err(|error| at(&error))?,
            known_at_ms: time(&sent.known_at).map_err(|error| at(&error))?,
            amount: sent.amount,
        })
    };
    labels.into_iter().enumerate().map(read).collect()
}

fn fraud_of(text: &str) -> Result<bool, InvalidLabels> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" | "fraud" => Ok(true),
        "0" | "0.0" | "false" | "genuine" => Ok(false),
        _ => Err(InvalidLabels(format!("label {text:?}: write fraud or genuine, true or false, 1 or 0"))),
    }
}

/// Epoch milliseconds of them, or of RFC 3339; the empty text is none.
fn time_of(text: &str) -> Result<Option<i64>, InvalidLabels> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let zoned = |_| text.parse::<jiff::Timestamp>().map(|time| time.as_millisecond());
    let time = text.parse::<i64>().or_else(zoned);
    time.map(Some)
        .map_err(|_| InvalidLabels(format!("{text:?} is not a time: write 2026-11-25T10:00:00Z or epoch milliseconds")))
}

/// A label of texts by column name: `transaction_id` or `decision_id`, `label`, and `source` (or the one given),
/// `occurred_at`, `known_at`, `amount`.
///
/// # Errors
/// With what does not fit.
pub fn label_of_texts<'a>(
    text: impl Fn(&str) -> Option<&'a str>,
    source: Option<&str>,
) -> Result<NewLabel, InvalidLabels> {
    let owned = |name: &str| text(name).map(str::to_owned);
    let source = text("source").filter(|source| !source.is_empty()).or(source);
    let amount = text("amount").map(str::trim).filter(|amount| !amount.is_empty());
    let no_number = |amount: &str| InvalidLabels(format!("amount {amount:?} is not a number"));
    let amount = amount.map(|amount| amount.parse::<f64>().map_err(|_| no_number(amount)));
    let missing = |name: &str| InvalidLabels(format!("there is no {name}"));
    Ok(NewLabel {
        subject: subject(owned("transaction_id"), owned("decision_id"))?,
        fraud: fraud_of(text("label").ok_or_else(|| missing("label"))?)?,
        source: source.ok_or_else(|| missing("source"))?.parse()?,
        occurred_at_ms: time_of(text("occurred_at").unwrap_or_default())?,
        known_at_ms: time_of(text("known_at").unwrap_or_default())?,
        amount: amount.transpose()?,
    })
}

/// Labels of a CSV file with a head; an error names the line.
fn labels_of_csv(bytes: &[u8]) -> Result<Vec<NewLabel>, InvalidLabels> {
    let mut reader = csv::Reader::from_reader(bytes);
    let head = reader.headers()?.clone();
    if !head.iter().any(|name| name == "label") {
        return Err(InvalidLabels::new(
            "the file has no column label: its columns are transaction_id or decision_id, label, source, occurred_at, known_at, amount",
        ));
    }
    let mut labels = Vec::new();
    for (number, record) in reader.records().enumerate() {
        let record = record?;
        let text = |name: &str| head.iter().position(|column| column == name).and_then(|place| record.get(place));
        labels
            .push(label_of_texts(text, None).map_err(|error| InvalidLabels(format!("line {}: {error}", number + 2)))?);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_labels_and_subjects_are_read_or_named() {
        let csv = "transaction_id,label,source,known_at,amount\n7,fraud,chargeback,2026-11-25T10:00:00+01:00,3.5\n8,0,analyst,,\n";
        let labels = labels_of_csv(csv.as_bytes()).expect("two labels");
        assert_eq!(labels[0].known_at_ms, Some(1_764_061_200_000 + 365 * 86_400_000));
        assert_eq!((labels[0].amount, labels[1].amount, labels[1].known_at_ms), (Some(3.5), None, None));
        for (csv, expected) in [
            ("transaction_id,source\n7,analyst\n", "no column label"),
            ("transaction_id,label,source\n7,maybe,analyst\n", "line 2: label \"maybe\""),
            ("transaction_id,label,source\n7,1,rumour\n", "there is no source \"rumour\""),
            ("transaction_id,label,source\n,1,analyst\n", "name a transaction_id"),
            ("decision_id,label,source\nxyz,1,analyst\n", "not the id of a decision"),
            ("transaction_id,label,source,known_at\n7,1,analyst,yesterday\n", "not a time"),
        ] {
            let error = labels_of_csv(csv.as_bytes()).expect_err(csv).to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(labels_of_json(br#"{"labels":[]}"#).expect("none").is_empty());
        let wrong = labels_of_json(br#"{"transaction_id":"1","label":1,"source":"analyst","colour":"red"}"#);
        assert!(wrong.expect_err("an unknown field").to_string().contains("label 0: unknown field `colour`"));
    }
}
