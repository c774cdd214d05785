//! `/predict` on the wire: the body that FastAPI services of this trade take, checked cell by cell against the model's signature.

use super::cells::{Cells, shortened};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use serin_http::{ApiError, Detail};
use serin_scoring::{EncodedRows, ScoringPackage};
use utoipa::ToSchema;

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

/// Body `{"status": "ok"}` of a health check.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// `ok`, or what is missing.
    pub(crate) status: &'static str,
}

/// Rows of a body, encoded for a package.
///
/// # Errors
/// 413 beyond `max_rows`, 422 with every fault of the body.
pub(crate) fn rows(body: &[u8], package: &ScoringPackage, max_rows: usize) -> Result<EncodedRows, ApiError> {
    if let Some(rows) = super::fast::rows(body, package.encoder(1), max_rows) {
        return Ok(rows);
    }
    match serde_json::from_slice(body) {
        Ok(body) => rows_of(&body, package, max_rows),
        Err(error) => {
            // A bare NaN is what a person most often gets wrong: name its row and column rather than its byte.
            let quoted = with_quoted_non_numbers(body).and_then(|body| serde_json::from_slice(&body).ok());
            if let Some(Err(named)) = quoted.map(|body| rows_of(&body, package, max_rows)) {
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

fn rows_of(body: &Value, package: &ScoringPackage, max_rows: usize) -> Result<EncodedRows, ApiError> {
    let Value::Object(fields) = body else {
        let msg = "Input should be an object with \"data\" or \"records\"".to_owned();
        let (kind, loc) = ("model_attributes_type", vec!["body".into()]);
        return Err(ApiError::Validation(vec![Detail { r#type: kind, loc, msg, input: shortened(body) }]));
    };
    let count = |name: &str| fields.get(name).and_then(Value::as_array).map_or(0, Vec::len);
    let rows = count("data").max(count("records"));
    if rows > max_rows {
        return Err(ApiError::TooManyRows { rows, limit: max_rows });
    }
    let mut cells = Cells::new(package, rows);
    for (name, value) in fields.iter().filter(|(name, _)| *name != "data" && *name != "records") {
        let loc = vec!["body".into(), name.as_str().into()];
        cells.fault("extra_forbidden", loc, "Extra inputs are not permitted", value);
    }
    match (fields.get("data"), fields.get("records")) {
        (Some(rows), None) => list(&mut cells, "data", rows),
        (None, Some(rows)) => list(&mut cells, "records", rows),
        (None, None) => {
            let loc = vec!["body".into(), "data".into()];
            cells.fault("missing", loc, "Field required (or \"records\" for named rows)", body);
        }
        (Some(_), Some(_)) => {
            let loc = vec!["body".into(), "records".into()];
            cells.fault("extra_forbidden", loc, "Send \"data\" or \"records\", not both", &Value::Null);
        }
    }
    cells.finish()
}

fn list(cells: &mut Cells<'_>, name: &'static str, rows: &Value) {
    match rows {
        Value::Array(rows) if rows.is_empty() => {
            let msg = "List should have at least 1 item after validation, not 0";
            cells.fault("too_short", vec!["body".into(), name.into()], msg, &Value::Array(Vec::new()));
        }
        Value::Array(rows) => {
            cells.rows(rows, name == "records", &|row| vec!["body".into(), name.into(), row.into()]);
        }
        other => cells.fault("list_type", vec!["body".into(), name.into()], "Input should be a valid list", other),
    }
}
