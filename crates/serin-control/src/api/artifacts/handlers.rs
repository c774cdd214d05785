//! Handlers of artifacts. A path is decoded once, by the router; the store checks it again.

use crate::api::tracking::artifact_list;
use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use serin_artifacts::{ArtifactError, ArtifactPath};
use serin_http::Fields;

type Answer = Result<Json<Value>, ControlError>;
/// Largest upload of a browser.
const SMALL: usize = 10 << 20;

pub(crate) async fn list(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let entries = state.store.artifacts().list(&ArtifactPath::new(&fields.text("path")?)?).await?;
    Ok(Json(artifact_list(None, "", &entries)))
}

/// `{root_uri, files}` of folder `path` below `location`.
pub(crate) async fn listing(state: &ControlPlane, location: &str, path: &str) -> Answer {
    let path = ArtifactPath::new(path.trim_end_matches('/'))?;
    let Some(root) = state.store.artifacts().path_of(location) else {
        return Err(elsewhere(location));
    };
    let entries = state.store.artifacts().list(&root.join(path.as_str())?).await?;
    Ok(Json(artifact_list(Some(location), path.as_str(), &entries)))
}

fn elsewhere(location: &str) -> ControlError {
    ControlError::invalid(format!(
        "the artifacts lie at {location}, outside this server's artifact store: read them there"
    ))
}

pub(crate) async fn list_of_run(State(state): State<ControlPlane>, fields: Fields) -> Answer {
    let location = state.store.run_info(&fields.run_id()?).await?.artifact_uri;
    listing(&state, &location, &fields.text("path")?).await
}

pub(crate) async fn download(
    State(state): State<ControlPlane>,
    Path(path): Path<String>,
) -> Result<Response, ControlError> {
    if path.ends_with('/') {
        return Err(ControlError::detail("Artifact path must include a filename (cannot end with '/')."));
    }
    send(&state, &ArtifactPath::new(&path)?).await
}

async fn send(state: &ControlPlane, path: &ArtifactPath) -> Result<Response, ControlError> {
    let artifacts = state.store.artifacts();
    let file = match artifacts.get(path).await {
        Err(ArtifactError::NotFound(message)) => {
            if artifacts.list(path).await?.is_empty() {
                return Err(ArtifactError::NotFound(message).into());
            }
            return Err(ControlError::detail(format!(
                "Artifact path refers to a directory, not a file: '{}'",
                path.as_str()
            )));
        }
        file => file?,
    };
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    let mut response = Body::from_stream(file.content).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(name)));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.size));
    // Never shown in place: a page among the artifacts must not run with the server's origin.
    let quoted = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{quoted}")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// File `path` below `location`.
pub(crate) async fn send_file(state: &ControlPlane, location: &str, path: &str) -> Result<Response, ControlError> {
    let path = ArtifactPath::new(path)?;
    let root = state.store.artifacts().path_of(location).ok_or_else(|| elsewhere(location))?;
    send(state, &root.join(path.as_str())?).await
}

/// Media type of a file by its extension, as MLflow answers.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or(name, |(_, extension)| extension) {
        "MLmodel" | "MLproject" | "txt" | "log" | "err" | "cfg" | "conf" | "ini" | "py" | "md" | "rst" | "yaml"
        | "yml" | "json" | "xml" | "sql" => "text/plain",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "svg" => "image/svg+xml",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        _ => "application/octet-stream",
    }
}

pub(crate) async fn upload(
    State(state): State<ControlPlane>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, ControlError> {
    if path.ends_with('/') {
        return Err(ControlError::detail("Artifact path must include a filename (cannot end with '/')."));
    }
    let content = request.into_body().into_data_stream();
    state.store.artifacts().put(&ArtifactPath::new(&path)?, content).await?;
    Ok(StatusCode::OK.into_response())
}

/// `POST upload-artifact?run_uuid=&path=` of the browser.
pub(crate) async fn upload_small(State(state): State<ControlPlane>, uri: Uri, body: Body) -> Answer {
    let query: Vec<(String, String)> =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let value = |name: &str| {
        let found = query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        found
            .filter(|value| !value.is_empty())
            .ok_or_else(|| ControlError::invalid(format!("Request must specify {name}.")))
    };
    let (run, path) = (value("run_uuid")?, value("path")?);
    let location = state.store.run_info(&run).await?.artifact_uri;
    let root = state.store.artifacts().path_of(&location).ok_or_else(|| elsewhere(&location))?;
    let bytes = axum::body::to_bytes(body, SMALL)
        .await
        .map_err(|_| ControlError::invalid("Artifact size is too large. Max size is 10MB."))?;
    state.store.artifacts().put_bytes(&root.join(&path)?, bytes.to_vec()).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn delete(State(state): State<ControlPlane>, Path(path): Path<String>) -> Answer {
    state.store.artifacts().delete(&ArtifactPath::new(&path)?).await?;
    Ok(Json(json!({})))
}

pub(crate) async fn get_of_run(State(state): State<ControlPlane>, fields: Fields) -> Result<Response, ControlError> {
    let path = fields.required("path")?;
    // Refused before anything is looked up.
    ArtifactPath::new(&path)?;
    let location = state.store.run_info(&fields.run_id()?).await?.artifact_uri;
    send_file(&state, &location, &path).await
}

pub(crate) async fn get_of_version(
    State(state): State<ControlPlane>,
    fields: Fields,
) -> Result<Response, ControlError> {
    let path = fields.required("path")?;
    ArtifactPath::new(&path)?;
    let version = state.store.model_version(&fields.required("name")?, fields.version("version")?).await?;
    send_file(&state, &version.storage_location, &path).await
}
