//! Handlers of exchanges with S3 itself: uploads in parts, and signed URLs.

use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use serin_artifacts::ArtifactPath;
use serin_http::Fields;

type Answer = Result<Json<Value>, ControlError>;
/// Seconds for which a download may begin, unless it is said.
const DOWNLOAD_TTL_S: i64 = 300;
/// Seconds for which an upload may begin, unless it is said.
const UPLOAD_TTL_S: i64 = 900;
/// A week: no S3 takes longer.
const MOST_TTL_S: i64 = 604_800;

/// The file of an upload: `path` names it on the client, its last part here.
fn target(folder: &str, fields: &Fields) -> Result<ArtifactPath, ControlError> {
    let path = fields.required("path")?;
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.is_empty() {
        return Err(ControlError::invalid(format!("path {path:?} does not end in a file name")));
    }
    Ok(ArtifactPath::new(folder)?.join(name)?)
}

pub(crate) async fn create(State(state): State<ControlPlane>, Path(folder): Path<String>, fields: Fields) -> Answer {
    let path = target(&folder, &fields)?;
    let parts = fields.opt_int("num_parts")?.unwrap_or(1);
    let (upload, urls) = state.store.artifacts().start_upload(&path, parts).await?;
    let part = |(url, number): (&String, i64)| json!({ "url": url, "part_number": number, "headers": {} });
    let credentials: Vec<Value> = urls.iter().zip(1..).map(part).collect();
    Ok(Json(json!({ "upload_id": upload, "credentials": credentials })))
}

pub(crate) async fn complete(State(state): State<ControlPlane>, Path(folder): Path<String>, fields: Fields) -> Answer {
    let path = target(&folder, &fields)?;
    let part = |part: &Fields| Ok((part.required_int("part_number")?, part.required("etag")?));
    let parts = fields.list("parts")?.iter().map(part).collect::<Result<Vec<_>, ControlError>>()?;
    state.store.artifacts().finish_upload(&path, &fields.text("upload_id")?, parts).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn abort(State(state): State<ControlPlane>, Path(folder): Path<String>, fields: Fields) -> Answer {
    let path = target(&folder, &fields)?;
    state.store.artifacts().abort_upload(&path, &fields.text("upload_id")?).await?;
    Ok(Json(json!({})))
}

/// Signed URL to download a proxied file, and its size in bytes.
pub(crate) async fn download(State(state): State<ControlPlane>, Path(path): Path<String>) -> Answer {
    let (url, size) =
        state.store.artifacts().signed_download(&ArtifactPath::new(&path)?, DOWNLOAD_TTL_S.unsigned_abs()).await?;
    Ok(Json(json!({ "url": url, "headers": {}, "file_size": size })))
}

/// Signed URL to upload a file of a run or logged model whose location names the bucket.
pub(crate) async fn upload_url(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (path, seconds) = file(&state, &fields, "upload", UPLOAD_TTL_S).await?;
    let url = state.store.artifacts().signed_upload(&path, seconds).await?;
    Ok(Json(json!({ "presigned_url": url, "headers": {} })))
}

/// Signed URL to download a file of a run whose location names the bucket, and its size in bytes.
pub(crate) async fn download_url(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let (path, seconds) = file(&state, &fields, "download", DOWNLOAD_TTL_S).await?;
    let (url, size) = state.store.artifacts().signed_download(&path, seconds).await?;
    Ok(Json(json!({ "presigned_url": url, "headers": {}, "file_size": size })))
}

async fn file(
    state: &ControlPlane,
    fields: &Fields,
    what: &str,
    default_s: i64,
) -> Result<(ArtifactPath, u64), ControlError> {
    let (run, model) = (fields.text("run_id")?, fields.text("model_id")?);
    if run.is_empty() == model.is_empty() {
        return Err(ControlError::invalid("Exactly one of run_id and model_id must be provided."));
    }
    let path = fields.required("path")?;
    ArtifactPath::new(&path)?;
    let seconds = fields.opt_int("expiration")?.unwrap_or(default_s);
    if !(1..=MOST_TTL_S).contains(&seconds) {
        return Err(ControlError::invalid(format!(
            "expiration must be between 1 and {MOST_TTL_S} seconds (got {seconds})."
        )));
    }
    let location = if model.is_empty() {
        state.store.run_info(&run).await?.artifact_uri
    } else {
        state.store.logged_model(&model).await?.artifact_location
    };
    let artifacts = state.store.artifacts();
    if location.starts_with("mlflow-artifacts:") {
        return Err(ControlError::invalid(format!(
            "Presigned {what} is not supported for proxied artifact storage (artifact URI scheme: mlflow-artifacts). This endpoint requires a direct cloud storage artifact URI."
        )));
    }
    let root = artifacts.path_of(&location).filter(|_| artifacts.signs()).ok_or_else(|| {
        ControlError::mlflow(
            "NOT_IMPLEMENTED",
            format!("Presigned {what} is not supported for the current artifact repository"),
        )
    })?;
    Ok((root.join(&path)?, seconds.unsigned_abs()))
}
