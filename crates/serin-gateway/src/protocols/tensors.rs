//! Tensors of the Open Inference protocol to encoded rows, for REST and gRPC.

use super::cells::{Cells, limited};
use crate::fallback::Answering;
use crate::state::DataPlane;
use crate::transaction::{TextError, Transaction, ids_of_rows, with_ids};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serin_http::ApiError;
use serin_scoring::{EncodedRows, ScoringPackage};
use utoipa::ToSchema;

/// Number types that become float32 features.
const NUMBERS: [&str; 12] =
    ["FP32", "FP64", "FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"];

/// Values with their shape.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    /// `FP32`, `FP64`, an integer type, `BOOL`, or `BYTES` for texts.
    pub(crate) datatype: String,
    /// Row by row, flat or nested.
    pub(crate) data: Vec<Value>,
}

/// Which outputs are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outputs {
    pub(crate) score: bool,
    pub(crate) prediction: bool,
    /// Version that decided on each row; without it the answer has it where rows were decided by two versions.
    pub(crate) model_version: bool,
    /// Ids of the decisions.
    pub(crate) decision_id: bool,
}

/// Names of all outputs.
const OUTPUTS: [&str; 4] = ["score", "prediction", "model_version", "decision_id"];

impl Outputs {
    /// Score and prediction, where none is named.
    pub(crate) fn named(names: &[&str]) -> Result<Self, ApiError> {
        if let Some(unknown) = names.iter().find(|name| !OUTPUTS.contains(name)) {
            return Err(ApiError::invalid(format!("no output {unknown:?}: there are {}", OUTPUTS.join(", "))));
        }
        let wanted = |name| names.contains(&name);
        Ok(Self {
            score: names.is_empty() || wanted("score"),
            prediction: names.is_empty() || wanted("prediction"),
            model_version: wanted("model_version"),
            decision_id: wanted("decision_id"),
        })
    }
}

/// Ids of a request's rows: its `id` for one row, `ID/0`, `ID/1` and so on for several.
///
/// # Errors
/// 400 where the id is too long or has control characters.
pub(crate) fn transaction_ids(id: &str, rows: &EncodedRows) -> Result<Vec<String>, ApiError> {
    ids_of_rows(id, rows.len()).map_err(wrong_id)
}

/// Transactions of a request whose rows have these ids.
///
/// # Errors
/// 400 where an id is too long or has control characters.
pub(crate) fn transactions(ids: &[String]) -> Result<Vec<Transaction<'_>>, ApiError> {
    with_ids(ids).map_err(wrong_id)
}

fn wrong_id(error: TextError) -> ApiError {
    ApiError::invalid(format!("id: {error} (it becomes the id of the transaction, with the row behind it for several)"))
}

/// The model of a path of the protocol. A request that names the version is answered by it and by no candidate.
pub(crate) fn find(state: &DataPlane, name: &str, version: Option<&str>) -> Result<Answering, ApiError> {
    let slot = state.models.named(name).ok_or_else(|| ApiError::NotFound(state.models.unknown(name)))?;
    let answering = Answering::of(slot, &state.fallback)?;
    match version {
        Some(version) if version != answering.model.version => Err(ApiError::NotFound(format!(
            "version {version} of {name} does not answer here; version {} does",
            answering.model.version
        ))),
        version => Ok(Answering { is_pinned: version.is_some(), ..answering }),
    }
}

/// Rows of tensors, encoded for a package.
///
/// # Errors
/// 400 where the tensors do not fit the model, 413 beyond `max_rows`.
pub(crate) fn rows(inputs: &[Tensor], package: &ScoringPackage, max_rows: usize) -> Result<EncodedRows, ApiError> {
    let signature = &package.signature;
    let width = signature.columns.len();
    for tensor in inputs {
        if !NUMBERS.contains(&tensor.datatype.as_str()) && tensor.datatype != "BYTES" {
            return Err(ApiError::invalid(format!("input {:?}: no datatype {:?}", tensor.name, tensor.datatype)));
        }
    }
    let rows = inputs.first().and_then(|tensor| tensor.shape.first()).copied().unwrap_or(0);
    limited(rows, max_rows)?;
    let named = |tensor: &Tensor| signature.position(&tensor.name).is_some();
    if let [whole] = inputs
        && whole.shape.len() == 2
        && (width != 1 || !named(whole))
    {
        if whole.shape[1] != width {
            return Err(ApiError::invalid(format!(
                "input {:?} has {} columns, the model {width}",
                whole.name, whole.shape[1]
            )));
        }
        let values = flat(whole)?;
        let mut cells = Cells::new(package, rows);
        for (i, value) in values.iter().enumerate() {
            cells.cell(i % width, value, || vec![whole.name.as_str().into(), (i / width).into(), (i % width).into()]);
            if cells.is_hopeless() {
                break;
            }
        }
        return cells.finish();
    }
    // A tensor a column: rows are put together by name.
    let mut columns = Vec::with_capacity(inputs.len());
    for tensor in inputs {
        if !named(tensor) {
            return Err(ApiError::invalid(super::cells::no_column(signature, &tensor.name)));
        }
        if !matches!(&tensor.shape[..], [count] | [count, 1] if *count == rows) {
            return Err(ApiError::invalid(format!(
                "input {:?} has shape {:?}; each column has [{rows}] or [{rows}, 1]",
                tensor.name, tensor.shape
            )));
        }
        columns.push((tensor.name.as_str(), flat(tensor)?));
    }
    let columns: Vec<(&str, &[Value])> = columns.iter().map(|(name, values)| (*name, values.as_slice())).collect();
    let mut cells = Cells::new(package, rows);
    cells.columns(&columns, rows, "inputs");
    cells.finish()
}

/// The values of a tensor in order, as many as its shape says.
fn flat(tensor: &Tensor) -> Result<Vec<Value>, ApiError> {
    fn collect(values: &[Value], into: &mut Vec<Value>) {
        for value in values {
            match value {
                Value::Array(inner) => collect(inner, into),
                single => into.push(single.clone()),
            }
        }
    }
    let mut values = Vec::new();
    collect(&tensor.data, &mut values);
    let expected = tensor.shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
    if expected != Some(values.len()) {
        return Err(ApiError::invalid(format!(
            "input {:?} has {} values, its shape {:?} asks for others",
            tensor.name,
            values.len(),
            tensor.shape
        )));
    }
    Ok(values)
}
