//! The Open Inference protocol, version 2, over gRPC, and gRPC's health check; on the port of the REST protocols.
//!
//! A unary call is one HTTP/2 request: a byte (compressed or not), four bytes of length, the message, and the status in
//! the trailers (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use super::grpc_messages::{
    Contents, Empty, HealthRequest, HealthResponse, InferRequest, InferResponse, InferTensor, ModelMetadata, ModelName,
    Parameter, ParameterChoice, ServerMetadata, TensorMetadata, Truth,
};
use super::predict::whole;
use super::tensors::{Outputs, Tensor, find, rows, transaction_ids, transactions};
use crate::decide::RequestContext;
use crate::decide::{DecisionRequest, Recorded, Timing, decide};
use crate::fallback::flag;
use crate::metrics::Route;
use crate::state::DataPlane;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use http_body_util::{BodyExt, Full};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;
use serde_json::{Value, json};
use serin_decisions::Fallback;
use serin_http::ApiError;
use serin_models::LoadedModel;
use serin_scoring::{ColumnValue, EncodedRows, ScoringPackage};
use std::time::{Duration, Instant};

const INFERENCE: &str = "/inference.GRPCInferenceService/";
const HEALTH: &str = "/grpc.health.v1.Health/";
/// Characters that a status message must not hold unescaped.
const MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// True if a path belongs to a gRPC service that is served here.
pub(crate) fn is_for(path: &str) -> bool {
    path.starts_with(INFERENCE) || path.starts_with(HEALTH)
}

/// Answers the call `ModelInfer`: scores the rows of one message.
pub(crate) async fn model_infer(
    State(state): State<DataPlane>,
    context: RequestContext,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let start = Instant::now();
    let due = [context.due, timeout(&headers).map(|left| start + left)].into_iter().flatten().min();
    let context = RequestContext { due, ..context };
    let inferred = whole(body, &state).and_then(|body| infer(&state, &body, Timing { start, context }));
    let (status, response) = match inferred {
        Ok((message, fallbacks)) => {
            let mut response = done(&message);
            flag(&mut response, &fallbacks);
            (StatusCode::OK, response)
        }
        Err(error) => refused_with(error),
    };
    state.metrics.record_request(Route::Grpc, status, start.elapsed());
    response
}

/// Answers every gRPC call other than `ModelInfer`.
pub(crate) async fn call(State(state): State<DataPlane>, uri: Uri, body: Result<Bytes, BytesRejection>) -> Response {
    whole(body, &state).and_then(|body| other(&state, uri.path(), &body)).unwrap_or_else(refused)
}

/// The answer to a call that is not served.
pub(crate) fn refused(error: ApiError) -> Response {
    refused_with(error).1
}

fn refused_with(error: ApiError) -> (StatusCode, Response) {
    let (status, code, message) = error.into_grpc();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    if let Ok(message) = HeaderValue::from_str(&utf8_percent_encode(&message, MESSAGE).to_string()) {
        headers.insert("grpc-message", message);
    }
    (status, response)
}

/// Time that the caller gives the call in `grpc-timeout`, such as `50m`: fifty milliseconds.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    // The protocol allows eight digits, so no product overflows.
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

fn done(message: &impl Message) -> Response {
    let mut bytes = vec![0; 5];
    // Encoding fails only for want of room, and a vector grows.
    let _ = message.encode(&mut bytes);
    let length = (bytes.len() - 5) as u32;
    bytes[1..5].copy_from_slice(&length.to_be_bytes());
    let trailers = async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Some(Ok(trailers))
    };
    let mut response = Response::new(Body::new(Full::new(Bytes::from(bytes)).with_trailers(trailers)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn message<M: Message + Default>(body: &Bytes) -> Result<M, ApiError> {
    let (prefix, message) = body
        .split_first_chunk::<5>()
        .ok_or_else(|| ApiError::invalid("not a gRPC message: it is shorter than its five bytes of prefix"))?;
    if prefix[0] != 0 {
        return Err(ApiError::mlflow("NOT_IMPLEMENTED", "compressed messages are not read; send them uncompressed"));
    }
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if length != message.len() {
        return Err(ApiError::invalid("a call has one message: the body's length is not its prefix's"));
    }
    M::decode(body.slice(5..)).map_err(|error| ApiError::invalid(format!("not a message of this call: {error}")))
}

/// Every call but inference.
fn other(state: &DataPlane, path: &str, body: &Bytes) -> Result<Response, ApiError> {
    if path == "/grpc.health.v1.Health/Check" {
        let asked: HealthRequest = message(body)?;
        // Empty for the whole server, or a service or model by name.
        let known = ["", INFERENCE.trim_matches('/')].contains(&asked.service.as_str());
        let ready = match state.models.named(&asked.service) {
            Some(slot) => crate::fallback::can_answer(slot, &state.fallback),
            None if known => state.ready(),
            None => return Err(ApiError::NotFound(format!("no service {:?}", asked.service))),
        };
        return Ok(done(&HealthResponse { status: if ready { 1 } else { 2 } }));
    }
    let model = || {
        let asked: ModelName = message(body)?;
        let version = Some(asked.version.as_str()).filter(|version| !version.is_empty());
        Ok::<_, ApiError>((find(state, &asked.name, version)?, asked.name))
    };
    Ok(match path.strip_prefix(INFERENCE) {
        Some("ServerLive") => message::<Empty>(body).map(|_| done(&Truth { value: true }))?,
        Some("ServerReady") => message::<Empty>(body).map(|_| done(&Truth { value: state.ready() }))?,
        Some("ModelReady") => match model() {
            Ok(_) => done(&Truth { value: true }),
            Err(ApiError::NoModel) => done(&Truth { value: false }),
            Err(error) => return Err(error),
        },
        Some("ServerMetadata") => done(&ServerMetadata {
            name: "serin".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: Vec::new(),
        }),
        Some("ModelMetadata") => {
            let (answering, name) = model()?;
            done(&described(name, &answering.model))
        }
        _ => return Err(ApiError::mlflow("NOT_IMPLEMENTED", format!("no call {path}"))),
    })
}

fn described(name: String, model: &LoadedModel) -> ModelMetadata {
    let tensor = |name: &str, datatype: &str, shape| TensorMetadata {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape,
    };
    ModelMetadata {
        name,
        versions: vec![model.version.clone()],
        platform: "xgboost_serin".to_owned(),
        inputs: vec![tensor("features", "FP32", vec![-1, model.package.signature.columns.len() as i64])],
        outputs: vec![
            tensor("score", "FP32", vec![-1]),
            tensor("prediction", "INT64", vec![-1]),
            tensor("model_version", "BYTES", vec![-1]),
            tensor("decision_id", "BYTES", vec![-1]),
        ],
    }
}

fn infer(state: &DataPlane, body: &Bytes, timing: Timing) -> Result<(InferResponse, Vec<Option<Fallback>>), ApiError> {
    let request: InferRequest = message(body)?;
    let version = Some(request.model_version.as_str()).filter(|version| !version.is_empty());
    let answering = find(state, &request.model_name, version)?;
    let wanted: Vec<&str> = request.outputs.iter().map(|output| output.name.as_str()).collect();
    let wanted = Outputs::named(&wanted)?;
    let raw = &request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        return Err(ApiError::invalid(format!("{} inputs, but {} raw contents", request.inputs.len(), raw.len())));
    }
    let package = &answering.model.package;
    let rows = match floats(&request, package, state.limits.rows) {
        Some(rows) => rows,
        None => {
            let tensors = request.inputs.iter().enumerate().map(|(i, input)| tensor(input, raw.get(i)));
            rows(&tensors.collect::<Result<Vec<_>, _>>()?, package, state.limits.rows)?
        }
    };
    let ids = transaction_ids(&request.id, &rows)?;
    let transactions = transactions(&ids)?;
    let deciding = DecisionRequest { answering: &answering, rows: &rows, transactions: &transactions, timing };
    let recorded = decide(state, &deciding)?;
    let fallbacks = recorded.fallbacks().to_vec();
    Ok((inferred(&request, wanted, &deciding, &recorded), fallbacks))
}

fn inferred(
    request: &InferRequest,
    wanted: Outputs,
    deciding: &DecisionRequest<'_>,
    recorded: &Recorded,
) -> InferResponse {
    let only_version = recorded.only_version(deciding);
    let mut response = InferResponse {
        model_name: request.model_name.clone(),
        model_version: only_version.unwrap_or_default().to_owned(),
        id: request.id.clone(),
        ..InferResponse::default()
    };
    let made = recorded.decisions();
    // In the form in which the request came.
    let raw = !request.raw_input_contents.is_empty();
    let mut push = |name: &str, datatype: &str, contents: Contents, bytes: Vec<u8>| {
        let contents = if raw { None } else { Some(contents) };
        let (name, datatype, shape) = (name.to_owned(), datatype.to_owned(), vec![made.len() as i64]);
        response.outputs.push(InferTensor { name, datatype, shape, contents, ..InferTensor::default() });
        if raw {
            response.raw_output_contents.push(bytes);
        }
    };
    if wanted.score {
        let fp32_contents: Vec<f32> = made.iter().map(|decision| decision.score).collect();
        let bytes = fp32_contents.iter().flat_map(|score| score.to_le_bytes()).collect();
        push("score", "FP32", Contents { fp32_contents, ..Contents::default() }, bytes);
    }
    if wanted.prediction {
        let int64_contents: Vec<i64> = made.iter().map(|decision| i64::from(decision.alert)).collect();
        let bytes = int64_contents.iter().flat_map(|prediction| prediction.to_le_bytes()).collect();
        push("prediction", "INT64", Contents { int64_contents, ..Contents::default() }, bytes);
    }
    let mut push_texts = |name: &str, texts: Vec<String>| {
        let bytes_contents: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
        // Each text has its length before it, in four bytes.
        let of_text = |text: &Vec<u8>| [&(text.len() as u32).to_le_bytes(), &text[..]].concat();
        let bytes = bytes_contents.iter().flat_map(of_text).collect();
        push(name, "BYTES", Contents { bytes_contents, ..Contents::default() }, bytes);
    };
    if wanted.model_version || only_version.is_none() {
        let version = |row| recorded.decided_by(deciding, row).0.version.clone();
        push_texts("model_version", (0..made.len()).map(version).collect());
    }
    if wanted.decision_id {
        let id = |id: &[u8; 16]| uuid::Uuid::from_bytes(*id).to_string();
        push_texts("decision_id", recorded.ids().iter().map(id).collect());
    }
    if let Some(fallback) = recorded.fallbacks().iter().flatten().next() {
        let choice = Some(ParameterChoice::String(fallback.name().to_owned()));
        response.parameters.insert("fallback".to_owned(), Parameter { choice });
    }
    response
}

/// The usual request without a detour: one matrix of floats that all fit their columns.
fn floats(request: &InferRequest, package: &ScoringPackage, max_rows: usize) -> Option<EncodedRows> {
    let [input] = &request.inputs[..] else { return None };
    let columns = package.signature.columns.len();
    let [rows, width] = input.shape[..] else { return None };
    let rows = usize::try_from(rows).ok().filter(|rows| (1..=max_rows).contains(rows))?;
    if input.datatype != "FP32" || usize::try_from(width) != Ok(columns) || columns < 2 {
        return None;
    }
    let mut encoder = package.encoder(rows);
    let mut push = |value: f32| {
        let value = if value.is_nan() { ColumnValue::Null } else { ColumnValue::Number(f64::from(value)) };
        encoder.push(value).ok()
    };
    match (&request.raw_input_contents[..], &input.contents) {
        ([bytes], None) if bytes.len() == rows * columns * 4 => {
            bytes.as_chunks::<4>().0.iter().try_for_each(|bytes| push(f32::from_le_bytes(*bytes)))?;
        }
        ([], Some(contents)) if contents.fp32_contents.len() == rows * columns => {
            contents.fp32_contents.iter().try_for_each(|value| push(*value))?;
        }
        _ => return None,
    }
    Some(encoder.finish())
}

/// A tensor as REST has it; NaN is a missing value.
fn tensor(input: &InferTensor, raw: Option<&Bytes>) -> Result<Tensor, ApiError> {
    let shape = input.shape.iter().map(|side| usize::try_from(*side)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| ApiError::invalid(format!("input {:?} has a negative side", input.name)))?;
    let data = match (raw, &input.contents) {
        (Some(bytes), None) => from_raw(&input.name, &input.datatype, bytes)?,
        (None, Some(contents)) => from_contents(contents),
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(format!("input {:?} has contents and raw contents: send one", input.name)));
        }
        (None, None) => Vec::new(),
    };
    Ok(Tensor { name: input.name.clone(), shape, datatype: input.datatype.clone(), data })
}

fn from_contents(contents: &Contents) -> Vec<Value> {
    fn all<T: Copy + Into<Value>>(values: &[T]) -> impl Iterator<Item = Value> + '_ {
        values.iter().map(|value| (*value).into())
    }
    all(&contents.bool_contents)
        .chain(all(&contents.int_contents))
        .chain(all(&contents.int64_contents))
        .chain(all(&contents.uint_contents))
        .chain(all(&contents.uint64_contents))
        .chain(contents.fp32_contents.iter().map(|value| number(f64::from(*value))))
        .chain(contents.fp64_contents.iter().map(|value| number(*value)))
        .chain(contents.bytes_contents.iter().map(|bytes| json!(String::from_utf8_lossy(bytes))))
        .collect()
}

/// Little-endian values; texts have their length before them, in four bytes.
fn from_raw(name: &str, datatype: &str, bytes: &[u8]) -> Result<Vec<Value>, ApiError> {
    fn all<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> Value) -> Option<Vec<Value>> {
        let (values, rest) = bytes.as_chunks::<N>();
        rest.is_empty().then(|| values.iter().map(|value| read(*value)).collect())
    }
    let values = match datatype {
        "BOOL" => all(bytes, |[value]| json!(value != 0)),
        "INT8" => all(bytes, |value| i8::from_le_bytes(value).into()),
        "INT16" => all(bytes, |value| i16::from_le_bytes(value).into()),
        "INT32" => all(bytes, |value| i32::from_le_bytes(value).into()),
        "INT64" => all(bytes, |value| i64::from_le_bytes(value).into()),
        "UINT8" => all(bytes, |value| u8::from_le_bytes(value).into()),
        "UINT16" => all(bytes, |value| u16::from_le_bytes(value).into()),
        "UINT32" => all(bytes, |value| u32::from_le_bytes(value).into()),
        "UINT64" => all(bytes, |value| u64::from_le_bytes(value).into()),
        "FP16" => all(bytes, |value| number(half(u16::from_le_bytes(value)).into())),
        "FP32" => all(bytes, |value| number(f32::from_le_bytes(value).into())),
        "FP64" => all(bytes, |value| number(f64::from_le_bytes(value))),
        "BYTES" => texts(bytes),
        _ => return Err(ApiError::invalid(format!("input {name:?}: no datatype {datatype:?}"))),
    };
    values.ok_or_else(|| ApiError::invalid(format!("input {name:?}: raw contents do not end with a value")))
}

fn texts(mut bytes: &[u8]) -> Option<Vec<Value>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        values.push(json!(String::from_utf8_lossy(text)));
        bytes = rest;
    }
    Some(values)
}

/// NaN is a missing value; an infinity, which JSON does not have, stays beyond what a column takes.
fn number(value: f64) -> Value {
    match value {
        value if value.is_nan() => Value::Null,
        value if value.is_infinite() => json!(f64::MAX.copysign(value)),
        value => value.into(),
    }
}

/// IEEE 754 binary16, exactly.
fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10) & 0x1F, f32::from(bits & 0x3FF));
    match exponent {
        0 => sign * fraction * 2_f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_static(text));
            timeout(&headers)
        };
        assert_eq!(of("50m"), Some(Duration::from_millis(50)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!((of("100000000S"), of("5"), of("m"), of("5x")), (None, None, None, None));
    }

    #[test]
    fn half_floats_are_exact() {
        for (bits, value) in [(0x3C00, 1.0), (0xC000, -2.0), (0x7BFF, 65_504.0), (0x0001, 5.960_464_5e-8)] {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7C00).is_infinite() && half(0x7E00).is_nan());
    }

    #[test]
    fn raw_contents_must_be_whole() {
        let read = |datatype: &str, bytes: &[u8]| from_raw("x", datatype, bytes).ok();
        assert_eq!(read("INT16", &[1, 0, 255, 255]), Some(vec![json!(1), json!(-1)]));
        assert_eq!(read("FP32", &f32::NAN.to_le_bytes()), Some(vec![Value::Null]));
        assert_eq!(read("FP64", &f64::NEG_INFINITY.to_le_bytes()), Some(vec![json!(f64::MIN)]));
        assert_eq!(read("BYTES", &[2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]), Some(vec![json!("ab"), json!("")]));
        assert_eq!((read("BYTES", &[9, 0, 0, 0, b'a']), read("FP32", &[0; 5]), read("FP128", &[])), (None, None, None));
    }
}
