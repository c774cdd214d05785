//! The seed's `/predict` on the wire, checked cell by cell against the model's signature.

use crate::http::error::{ApiError, Detail, Place};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serin_scoring::{ColumnValue, Signature};
use utoipa::ToSchema;

/// Faults listed in one answer.
const MAX_DETAILS: usize = 20;

/// Rows to score: exactly one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"data": [[57.16, 1.0, 1.0]]}))]
#[expect(dead_code, reason = "the schema of the body; the body itself is checked cell by cell")]
pub(crate) struct PredictRequest {
    /// Rows by position, in the order of the model's signature.
    pub(crate) data: Option<Vec<Vec<f64>>>,
    /// Rows by column name.
    pub(crate) records: Option<Vec<Map<String, Value>>>,
}

/// Decisions in the order of the rows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PredictResponse {
    /// 1 is an alert, 0 passes.
    pub(crate) predictions: Vec<u8>,
    /// Seconds spent on decoding and scoring.
    pub(crate) latency: f64,
}

/// `{"status": "ok"}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// `ok`, or what is missing.
    pub(crate) status: &'static str,
}

struct Faults(Vec<Detail>);

impl Faults {
    fn add(&mut self, kind: &'static str, loc: Vec<Place>, msg: impl Into<String>, input: &Value) {
        if self.0.len() < MAX_DETAILS {
            self.0.push(Detail { r#type: kind, loc, msg: msg.into(), input: shortened(input) });
        }
    }
}

/// The faulty value, not a megabyte of it.
fn shortened(input: &Value) -> Value {
    match input {
        Value::String(text) if text.len() > 200 => Value::String(text.chars().take(200).collect::<String>() + "…"),
        Value::Array(items) if items.len() > 20 => Value::String(format!("a list of {} values", items.len())),
        Value::Object(fields) if fields.len() > 20 => Value::String(format!("an object of {} fields", fields.len())),
        other => other.clone(),
    }
}

/// Features of every row, row-major.
pub(crate) fn features(body: &[u8], signature: &Signature, max_rows: usize) -> Result<Vec<f32>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(body) => features_of(&body, signature, max_rows),
        Err(error) => {
            // A bare NaN is what a person most often gets wrong: name its row and column rather than its byte.
            let quoted = with_quoted_non_numbers(body).and_then(|body| serde_json::from_slice(&body).ok());
            if let Some(Err(named)) = quoted.map(|body| features_of(&body, signature, max_rows)) {
                return Err(named);
            }
            let msg = format!(
                "JSON decode error: {error} (NaN and Infinity are not JSON; leave a missing value out or send null)"
            );
            Err(ApiError::Validation(vec![Detail {
                r#type: "json_invalid",
                loc: vec!["body".into(), error.column().into()],
                msg,
                input: Value::Object(Map::new()),
            }]))
        }
    }
}

/// The body with quotes around `NaN`, `Infinity`, `1e999` and their like; None where there is none of them.
fn with_quoted_non_numbers(body: &[u8]) -> Option<Vec<u8>> {
    let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let (mut quoted, mut found, mut at) = (Vec::with_capacity(body.len() + 64), false, 0);
    while at < body.len() {
        let rest = &body[at..];
        let length = match rest[0] {
            b'"' => {
                let mut escaped = false;
                let end = rest[1..].iter().position(|byte| {
                    let ends = *byte == b'"' && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    ends
                });
                end.map_or(rest.len(), |end| end + 2)
            }
            byte if in_word(&byte) => rest.iter().take_while(|byte| in_word(byte)).count(),
            _ => 1,
        };
        let word = std::str::from_utf8(&rest[..length]).ok().and_then(|word| word.parse::<f64>().ok());
        let no_number = word.is_some_and(|number| !number.is_finite());
        found |= no_number;
        let quote: &[u8] = if no_number { b"\"" } else { b"" };
        quoted.extend_from_slice(quote);
        quoted.extend_from_slice(&rest[..length]);
        quoted.extend_from_slice(quote);
        at += length;
    }
    found.then_some(quoted)
}

fn features_of(body: &Value, signature: &Signature, max_rows: usize) -> Result<Vec<f32>, ApiError> {
    let one = |detail: Detail| ApiError::Validation(vec![detail]);
    let Value::Object(fields) = body else {
        let msg = "Input should be an object with \"data\" or \"records\"".to_owned();
        return Err(one(Detail {
            r#type: "model_attributes_type",
            loc: vec!["body".into()],
            msg,
            input: shortened(body),
        }));
    };
    let mut faults = Faults(Vec::new());
    for (name, value) in fields.iter().filter(|(name, _)| *name != "data" && *name != "records") {
        faults.add(
            "extra_forbidden",
            vec!["body".into(), name.as_str().into()],
            "Extra inputs are not permitted",
            value,
        );
    }
    let (name, rows) = match (fields.get("data"), fields.get("records")) {
        (Some(rows), None) => ("data", rows),
        (None, Some(rows)) => ("records", rows),
        (None, None) => {
            faults.add(
                "missing",
                vec!["body".into(), "data".into()],
                "Field required (or \"records\" for named rows)",
                body,
            );
            return Err(ApiError::Validation(faults.0));
        }
        (Some(_), Some(_)) => {
            let loc = vec!["body".into(), "records".into()];
            faults.add("extra_forbidden", loc, "Send \"data\" or \"records\", not both", &Value::Null);
            return Err(ApiError::Validation(faults.0));
        }
    };
    let at = |row: usize| vec!["body".into(), name.into(), row.into()];
    let Value::Array(rows) = rows else {
        faults.add("list_type", vec!["body".into(), name.into()], "Input should be a valid list", rows);
        return Err(ApiError::Validation(faults.0));
    };
    if rows.is_empty() {
        let msg = "List should have at least 1 item after validation, not 0";
        faults.add("too_short", vec!["body".into(), name.into()], msg, &Value::Array(Vec::new()));
    }
    if rows.len() > max_rows {
        return Err(ApiError::TooManyRows { rows: rows.len(), limit: max_rows });
    }
    let width = signature.columns.len();
    let mut features = Vec::with_capacity(rows.len() * width);
    for (number, row) in rows.iter().enumerate() {
        match row {
            Value::Array(cells) if name == "data" => {
                if cells.len() == width {
                    for (column, cell) in cells.iter().enumerate() {
                        encode(signature, column, cell, &mut features, &mut faults, || {
                            let mut loc = at(number);
                            loc.push(column.into());
                            loc
                        });
                    }
                } else {
                    let kind = if cells.len() < width { "too_short" } else { "too_long" };
                    let msg = format!(
                        "Row should have {width} values, not {}: the model's columns are {}",
                        cells.len(),
                        names(signature)
                    );
                    faults.add(kind, at(number), msg, row);
                }
            }
            Value::Object(cells) if name == "records" => {
                record(signature, cells, &at(number), &mut features, &mut faults);
            }
            other => {
                let (kind, msg) = match name {
                    "data" => ("list_type", "Input should be a valid list"),
                    _ => ("dict_type", "Input should be a valid dictionary"),
                };
                faults.add(kind, at(number), msg, other);
            }
        }
        if faults.0.len() >= MAX_DETAILS {
            break;
        }
    }
    if faults.0.is_empty() { Ok(features) } else { Err(ApiError::Validation(faults.0)) }
}

fn record(
    signature: &Signature,
    cells: &Map<String, Value>,
    at: &[Place],
    features: &mut Vec<f32>,
    faults: &mut Faults,
) {
    let loc = |name: &str| at.iter().cloned().chain([name.into()]).collect::<Vec<Place>>();
    for (name, value) in cells {
        if signature.position(name).is_none() {
            let lower = name.to_lowercase();
            let close = signature.columns.iter().find(|column| column.name.to_lowercase() == lower);
            let hint = close.map_or_else(
                || format!("the model's columns are {}", names(signature)),
                |c| format!("did you mean {:?}?", c.name),
            );
            faults.add("extra_forbidden", loc(name), format!("The model has no column {name:?}; {hint}"), value);
        }
    }
    for (index, column) in signature.columns.iter().enumerate() {
        match cells.get(&column.name) {
            Some(cell) => encode(signature, index, cell, features, faults, || loc(&column.name)),
            None if column.nullable => features.push(f32::NAN),
            None => faults.add("missing", loc(&column.name), "Field required", &Value::Object(cells.clone())),
        }
    }
}

fn encode(
    signature: &Signature,
    column: usize,
    cell: &Value,
    features: &mut Vec<f32>,
    faults: &mut Faults,
    loc: impl FnOnce() -> Vec<Place>,
) {
    let column = &signature.columns[column];
    let value = match cell {
        Value::Null => Some(ColumnValue::Null),
        Value::Bool(truth) => Some(ColumnValue::Boolean(*truth)),
        Value::Number(number) => number.as_f64().map(ColumnValue::Number),
        Value::String(text) => Some(ColumnValue::Text(text)),
        Value::Array(_) | Value::Object(_) => None,
    };
    match value.map(|value| column.encode(value)) {
        Some(Ok(feature)) => features.push(feature),
        Some(Err(error)) => faults.add("value_error", loc(), format!("{error} (column {:?})", column.name), cell),
        None => {
            faults.add(
                "value_error",
                loc(),
                format!("Input should be a single value (column {:?})", column.name),
                cell,
            );
        }
    }
}

fn names(signature: &Signature) -> String {
    signature.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}
