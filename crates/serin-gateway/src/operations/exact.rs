//! `GET /v1/drift/exact` of the data plane: the last rows against rows of the reference, by the very tests of Evidently.
//! No seasons are matched here and nothing alarms: it is for looking, and for those who compare with Evidently.

use crate::monitor::Last;
use crate::state::DataPlane;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use serin_analysis::drift::evidently::{ColumnDrift, drifted_columns, evidently_report};
use serin_analysis::drift::{Drift, DriftError, Method, Samples};
use serin_http::{ApiError, Detail, ErrorMessage, Fields, ValidationErrors};
use serin_scoring::{ColumnKind, REFERENCE_ROWS};
use std::path::Path;
use std::sync::{Mutex, TryLockError};

/// Rows below which a score says little: what chance does is no smaller than Evidently's threshold.
const LEAST_ROWS: usize = 1000;

/// One at a time: it sorts, and payments come first.
static UNDER_WAY: Mutex<()> = Mutex::new(());

/// Parameters of a request for exact drift.
struct ExactQuery {
    model: String,
    method: Option<Method>,
    threshold: Option<f64>,
    drift_share: f64,
    evidently: bool,
}

impl ExactQuery {
    fn of(fields: &Fields, state: &DataPlane) -> Result<Self, ApiError> {
        let method = fields.opt_text("method")?.map(|name| name.parse::<Method>().map_err(ApiError::invalid));
        let evidently = match fields.opt_text("format")?.as_deref() {
            None | Some("json") => false,
            Some("evidently") => true,
            Some(other) => return Err(ApiError::invalid(format!("format={other}: write json or evidently"))),
        };
        Ok(Self {
            model: fields.opt_text("name")?.unwrap_or_else(|| state.models.default_slot().name().to_owned()),
            method: method.transpose()?,
            threshold: fields.opt_number("threshold")?,
            drift_share: fields.opt_number("drift_share")?.unwrap_or(0.5),
            evidently,
        })
    }
}

/// The last rows of a model (at most 50,000) against rows of its reference, by Evidently's tests.
#[utoipa::path(get, path = "/v1/drift/exact", params(
    ("name" = Option<String>, Query, description = "Model; the first one without it"),
    ("method" = Option<String>, Query, description = "One test for every column that it is defined for, such as psi"),
    ("threshold" = Option<f64>, Query, description = "Instead of the test's own"),
    ("drift_share" = Option<f64>, Query, description = "Share of drifted columns from which the whole is drifted; 0.5"),
    ("format" = Option<String>, Query, description = "json, or evidently: the shape of its Report.json()"),
), responses(
    (status = 200, body = Value),
    (status = 404, body = ErrorMessage, description = "No rows of such a model are kept, or its package has none to compare with"),
    (status = 422, body = ValidationErrors, description = "A parameter says nothing that it could"),
    (status = 503, body = ErrorMessage, description = "Another comparison is under way"),
))]
pub(crate) async fn exact(State(state): State<DataPlane>, fields: Fields) -> Result<Json<Value>, ApiError> {
    let asked = ExactQuery::of(&fields, &state).map_err(|error| {
        let (loc, input) = (vec!["query".into()], Value::Null);
        ApiError::Validation(vec![Detail { r#type: "value_error", loc, msg: error.message(), input }])
    })?;
    let monitor = state.monitor.as_ref();
    let none = || {
        ApiError::NotFound(format!(
            "no rows of {} are kept: it has answered nothing yet, or its package has no monitor.json (serin train writes it)",
            asked.model
        ))
    };
    let last = monitor.and_then(|monitor| monitor.last_rows(&asked.model)).ok_or_else(none)?;
    let compared = tokio::task::spawn_blocking(move || {
        let _turn = match UNDER_WAY.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(ApiError::Unavailable("another comparison is under way: ask again in a second"));
            }
        };
        let reference = reference_rows(&last.model.folder, last.model.deciding.width)?;
        Ok(shown(&asked, &last, &compare(&asked, &last, &reference), reference.len()))
    });
    compared.await.unwrap_or(Err(ApiError::Unavailable("the rows could not be compared; the log says why"))).map(Json)
}

/// Values of a package's reference rows.
fn reference_rows(folder: &Path, width: usize) -> Result<Vec<f32>, ApiError> {
    let path = folder.join(REFERENCE_ROWS);
    let missing = |why: &dyn std::fmt::Display| {
        ApiError::NotFound(format!(
            "the model's package has no rows to compare with ({REFERENCE_ROWS}: {why}): serin train writes them, unless --reference-rows 0"
        ))
    };
    let bytes = std::fs::read(&path).map_err(|error| missing(&error.kind()))?;
    if bytes.is_empty() || bytes.len() % (4 * (width + 1)) != 0 {
        return Err(missing(&format_args!("{} bytes are no rows of {} values", bytes.len(), width + 1)));
    }
    let values = bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    Ok(values.collect())
}

struct Compared {
    name: String,
    kind: &'static str,
    importance: f64,
    missing: [f64; 2],
    /// Rows of the current side that have a value, and how many there should be.
    rows: usize,
    need: usize,
    found: Result<Drift, DriftError>,
}

/// Every column and the score; points in time are left out, as Evidently does.
fn compare(asked: &ExactQuery, last: &Last, reference: &[f32]) -> Vec<Compared> {
    let width = last.model.deciding.width;
    let columns = &last.model.package.signature.columns;
    let kinds = columns.iter().map(|column| (column.name.as_str(), Some(&column.kind))).chain([("score", None)]);
    let mut all = Vec::new();
    for (place, (name, kind)) in kinds.enumerate() {
        let numbers = match kind {
            Some(ColumnKind::Timestamp) => continue,
            Some(ColumnKind::Boolean | ColumnKind::Category { .. }) => false,
            Some(ColumnKind::Number) | None => true,
        };
        let side = |rows: &[f32]| -> Vec<f64> {
            rows.iter().skip(place).step_by(width + 1).map(|value| f64::from(*value)).collect()
        };
        let [reference, current] = [side(reference), side(&last.values)];
        let missing = [&reference, &current]
            .map(|values| values.iter().filter(|value| !value.is_finite()).count() as f64 / values.len().max(1) as f64);
        let rows = current.iter().filter(|value| value.is_finite()).count();
        let made =
            if numbers { Samples::numbers(reference, current, false) } else { Samples::categories(reference, current) };
        let categories = match (&made, numbers) {
            (Ok(samples), false) => samples.distinct(),
            _ => 0,
        };
        let method = asked.method.filter(|method| method.takes(numbers));
        let profile = last.model.monitor.as_ref();
        let importance = profile.and_then(|profile| Some(profile.columns.get(place)?.importance));
        all.push(Compared {
            name: name.to_owned(),
            kind: if numbers { "num" } else { "cat" },
            importance: importance.unwrap_or(0.0),
            missing,
            rows,
            need: LEAST_ROWS.max(25 * categories.saturating_sub(1)),
            found: made.and_then(|samples| samples.drift(method, asked.threshold)),
        });
    }
    all
}

fn shown(asked: &ExactQuery, last: &Last, compared: &[Compared], reference: usize) -> Value {
    let tested = |column: &Compared| Some(ColumnDrift::of(&column.name, column.found.as_ref().ok()?));
    let tested: Vec<ColumnDrift> = compared.iter().filter_map(tested).collect();
    if asked.evidently {
        return evidently_report(&tested, asked.drift_share);
    }
    let (drifted, share) = drifted_columns(&tested);
    let column = |column: &Compared| {
        let certainty = if column.rows >= column.need {
            json!("exact")
        } else {
            json!({ "insufficient": column.rows, "need": column.need })
        };
        let mut shown = json!({
            "column": column.name, "type": column.kind, "importance": column.importance, "certainty": certainty,
            "missing_reference": column.missing[0], "missing_current": column.missing[1],
        });
        match &column.found {
            Ok(found) => {
                (shown["method"], shown["score"]) = (json!(found.method.to_string()), json!(found.score));
                (shown["threshold"], shown["drifted"]) = (json!(found.threshold), json!(found.drifted));
            }
            Err(error) => shown["error"] = json!(error.to_string()),
        }
        shown
    };
    let width = last.model.deciding.width + 1;
    json!({
        "name": last.model.name, "version": last.model.version, "semantics": "evidently-0.7.23",
        "from": last.between_ms.0, "until": last.between_ms.1,
        "rows": last.values.len() / width, "reference_rows": reference / width,
        "drifted_columns": drifted, "columns_compared": tested.len(), "share": share,
        "dataset_drift": share >= asked.drift_share, "columns": compared.iter().map(column).collect::<Vec<_>>(),
    })
}
