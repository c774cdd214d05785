//! A tracking server over HTTP: serin's, or MLflow's own (3.x; 2.x without logged models).
//!
//! Every request may be repeated: the server may have answered the first one into a broken connection. MLflow
//! itself answers some repeats with 400 and a text about UNIQUE, which is then a success.

use super::{Registration, Stored, s3_settings};
use anyhow::{Context, anyhow, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use serin_store::{ArtifactPath, Artifacts, Metric, ModelUri, ResolvedModel, RunStatus, Stage, Tag};
use std::path::{Path, PathBuf};
use std::time::Duration;

const API: &str = "/api/2.0/mlflow";
const TRIES: u32 = 5;

/// Connection to a tracking server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct TrackingServer {
    base: String,
    client: reqwest::Client,
    /// User and password, or a token.
    basic: Option<(String, Option<String>)>,
    bearer: Option<String>,
}

/// An answer that is no success.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
struct Refused {
    code: String,
    message: String,
}

fn is(error: &anyhow::Error, code: &str) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.code == code)
}

impl TrackingServer {
    pub(crate) fn new(uri: &str) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let insecure = variable("MLFLOW_TRACKING_INSECURE_TLS").is_some_and(|value| value == "true" || value == "1");
        let mut client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .read_timeout(Duration::from_secs(60))
            .tls_danger_accept_invalid_certs(insecure);
        if let Some(path) = variable("MLFLOW_TRACKING_SERVER_CERT_PATH") {
            let pem =
                std::fs::read(&path).with_context(|| format!("cannot read MLFLOW_TRACKING_SERVER_CERT_PATH {path}"))?;
            for certificate in reqwest::Certificate::from_pem_bundle(&pem)? {
                client = client.tls_certs_merge([certificate]);
            }
        }
        Ok(Self {
            base: uri.trim_end_matches('/').to_owned(),
            client: client.build()?,
            basic: variable("MLFLOW_TRACKING_USERNAME").map(|user| (user, variable("MLFLOW_TRACKING_PASSWORD"))),
            bearer: variable("MLFLOW_TRACKING_TOKEN"),
        })
    }

    fn request(&self, method: Method, url: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, url);
        match (&self.basic, &self.bearer) {
            (Some((user, password)), _) => request.basic_auth(user, password.as_deref()),
            (None, Some(token)) => request.bearer_auth(token),
            (None, None) => request,
        }
    }

    /// Sends until the server has answered; refusals are [`Refused`].
    async fn send(&self, what: &str, make: impl Fn() -> reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let mut wait = Duration::from_millis(200);
        for attempt in 1.. {
            let problem = match make().send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let status = response.status();
                    let again = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
                    let error = refusal(status, &response.text().await.unwrap_or_default());
                    if !again || attempt >= TRIES {
                        return Err(error).with_context(|| format!("{what} at {}", self.base));
                    }
                    error
                }
                Err(error) if attempt >= TRIES => {
                    return Err(error).with_context(|| format!("cannot reach the tracking server {}", self.base));
                }
                Err(error) => error.into(),
            };
            tracing::debug!("{what}: {problem:#}; trying again");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        unreachable!("the last attempt returns")
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let url = format!("{}{API}/{path}", self.base);
        let text = self.send(path, || self.request(method.clone(), &url).json(&body)).await?.text().await?;
        if text.is_empty() { Ok(json!({})) } else { Ok(serde_json::from_str(&text)?) }
    }

    async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, body).await
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let url = format!("{}{API}/{path}", self.base);
        Ok(self.send(path, || self.request(Method::GET, &url).query(query)).await?.json().await?)
    }

    pub(crate) async fn start_run(
        &self,
        experiment: &str,
        name: &str,
        user: &str,
        now_ms: i64,
        tags: &[Tag],
    ) -> anyhow::Result<String> {
        let by_name = [("experiment_name", experiment)];
        let id = match self.get("experiments/get-by-name", &by_name).await {
            Ok(found) => text(&found["experiment"]["experiment_id"]),
            Err(error) if is(&error, "RESOURCE_DOES_NOT_EXIST") => {
                match self.post("experiments/create", json!({ "name": experiment })).await {
                    Ok(created) => text(&created["experiment_id"]),
                    // Somebody else was quicker.
                    Err(error) if is(&error, "RESOURCE_ALREADY_EXISTS") => {
                        text(&self.get("experiments/get-by-name", &by_name).await?["experiment"]["experiment_id"])
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        let run = json!({ "experiment_id": id, "run_name": name, "user_id": user, "start_time": now_ms, "tags": pairs(tags) });
        Ok(text(&self.post("runs/create", run).await?["run"]["info"]["run_id"]))
    }

    pub(crate) async fn log(&self, run_id: &str, metrics: &[Metric], params: &[Tag]) -> anyhow::Result<()> {
        for params in params.chunks(100) {
            self.post("runs/log-batch", json!({ "run_id": run_id, "params": pairs(params) })).await?;
        }
        for metrics in metrics.chunks(1000) {
            let metrics: Vec<Value> = metrics
                .iter()
                .map(|m| json!({ "key": m.key, "value": double(m.value), "timestamp": m.timestamp_ms, "step": m.step }))
                .collect();
            self.post("runs/log-batch", json!({ "run_id": run_id, "metrics": metrics })).await?;
        }
        Ok(())
    }

    pub(crate) async fn put_model(
        &self,
        run_id: &str,
        folder: &str,
        files: Vec<(String, Vec<u8>)>,
    ) -> anyhow::Result<Stored> {
        let run = self.get("runs/get", &[("run_id", run_id)]).await?;
        let info = &run["run"]["info"];
        let new = json!({ "experiment_id": info["experiment_id"], "name": folder, "source_run_id": run_id });
        let model = match self.post("logged-models", new).await {
            Ok(created) => created["model"]["info"].clone(),
            // MLflow 2: the model is a folder of the run.
            Err(error) if is(&error, "ENDPOINT_NOT_FOUND") || is(&error, "NOT_FOUND") => {
                let uri = format!("{}/{folder}", text(&info["artifact_uri"]).trim_end_matches('/'));
                self.put_files(&uri, files).await?;
                return Ok(Stored { source: uri.clone(), model_id: String::new(), shown: uri });
            }
            Err(error) => return Err(error),
        };
        let (id, uri) = (text(&model["model_id"]), text(&model["artifact_uri"]));
        tolerate_repeat(
            self.post("runs/outputs", json!({ "run_id": run_id, "models": [{ "model_id": id, "step": 0 }] })).await,
        )?;
        let path = format!("logged-models/{id}");
        let uploaded = self.put_files(&uri, files).await;
        let status = if uploaded.is_ok() { "LOGGED_MODEL_READY" } else { "LOGGED_MODEL_UPLOAD_FAILED" };
        self.call(Method::PATCH, &path, json!({ "model_id": id, "status": status })).await?;
        uploaded?;
        Ok(Stored { source: format!("models:/{id}"), model_id: id, shown: uri })
    }

    async fn put_files(&self, uri: &str, files: Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
        let place = self.place(uri)?;
        for (name, bytes) in files {
            match &place {
                Place::Proxied(url) => {
                    let url = format!("{url}/{}", encoded(&name));
                    self.send("storing an artifact", || self.request(Method::PUT, &url).body(bytes.clone())).await?;
                }
                Place::Direct(artifacts, path) => artifacts.put_bytes(&path.join(&name)?, bytes).await?,
            }
        }
        Ok(())
    }

    /// Where an artifact URI is reached from here.
    fn place(&self, uri: &str) -> anyhow::Result<Place> {
        let proxied = |host: &str, path: &str| {
            let parts: Vec<String> = path.trim_matches('/').split('/').map(encoded).collect();
            Place::Proxied(format!("{host}/api/2.0/mlflow-artifacts/artifacts/{}", parts.join("/")))
        };
        if let Some(rest) = uri.strip_prefix("mlflow-artifacts://") {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let scheme = self.base.split_once("://").map_or("http", |(scheme, _)| scheme);
            return Ok(proxied(&format!("{scheme}://{host}"), path));
        }
        if let Some(path) = uri.strip_prefix("mlflow-artifacts:/") {
            return Ok(proxied(&self.base, path));
        }
        if let Some(rest) = uri.strip_prefix("s3://") {
            let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
            let artifacts = Artifacts::s3(&format!("s3://{bucket}"), s3_settings())?;
            return Ok(Place::Direct(artifacts, ArtifactPath::new(path.trim_matches('/'))?));
        }
        let path = uri.strip_prefix("file://").unwrap_or(uri);
        if path.starts_with('/') {
            return Ok(Place::Direct(Artifacts::local(Path::new(path))?, ArtifactPath::new("")?));
        }
        bail!("artifacts at {uri} are out of reach: serin reads mlflow-artifacts:, s3:// and local paths")
    }

    pub(crate) async fn register(&self, model: &Registration, stored: &Stored) -> anyhow::Result<i64> {
        match self.post("registered-models/create", json!({ "name": model.name })).await {
            Err(error) if !is(&error, "RESOURCE_ALREADY_EXISTS") && !is(&error, "ALREADY_EXISTS") => return Err(error),
            _ => {}
        }
        let mut new = json!({ "name": model.name, "source": stored.source, "run_id": model.run_id });
        if !stored.model_id.is_empty() {
            new["model_id"] = json!(stored.model_id);
        }
        let created = self.post("model-versions/create", new).await?;
        let number = text(&created["model_version"]["version"]);
        if let Some(stage) = model.stage {
            let archive = matches!(stage, Stage::Staging | Stage::Production);
            let body = json!({ "name": model.name, "version": number, "stage": stage.as_str(), "archive_existing_versions": archive });
            self.post("model-versions/transition-stage", body).await?;
        }
        if let Some(alias) = &model.alias {
            let body = json!({ "name": model.name, "alias": alias, "version": number });
            self.post("registered-models/alias", body).await?;
        }
        number.parse().with_context(|| format!("the server registered version {number:?}"))
    }

    pub(crate) async fn finish_run(&self, run_id: &str, status: RunStatus, now_ms: i64) -> anyhow::Result<()> {
        let body = json!({ "run_id": run_id, "run_uuid": run_id, "status": status.as_str(), "end_time": now_ms });
        self.post("runs/update", body).await.map(drop)
    }

    pub(crate) async fn resolve(&self, uri: &ModelUri, cache: &Path) -> anyhow::Result<ResolvedModel> {
        let nothing = |error: anyhow::Error| error.context(format!("{uri} not found"));
        let (name, version) = match uri {
            ModelUri::Path(path) => return Ok(ResolvedModel { name: None, version: None, path: path.clone() }),
            ModelUri::Run(run, path) => {
                let location = self.model_of_run(run, path).await.map_err(nothing)?;
                return Ok(ResolvedModel { name: None, version: None, path: self.copy(&location, cache).await? });
            }
            ModelUri::Version(name, version) => (name, version.to_string()),
            ModelUri::Alias(name, alias) => {
                let found =
                    self.get("registered-models/alias", &[("name", name), ("alias", alias)]).await.map_err(nothing)?;
                (name, text(&found["model_version"]["version"]))
            }
            ModelUri::Stage(name, _) | ModelUri::Latest(name) => {
                let mut body = json!({ "name": name });
                if let ModelUri::Stage(_, stage) = uri {
                    body["stages"] = json!([stage.as_str()]);
                }
                let found = self.post("registered-models/get-latest-versions", body).await.map_err(nothing)?;
                let versions = found["model_versions"].as_array().cloned().unwrap_or_default();
                let newest = versions.iter().filter_map(|version| text(&version["version"]).parse::<i64>().ok()).max();
                (name, newest.ok_or_else(|| anyhow!("{uri} not found: no version has that stage"))?.to_string())
            }
        };
        let query = [("name", name.as_str()), ("version", version.as_str())];
        let mut location =
            text(&self.get("model-versions/get-download-uri", &query).await.map_err(nothing)?["artifact_uri"]);
        if let Some(rest) = location.strip_prefix("runs:/") {
            let (run, path) = rest.split_once('/').unwrap_or((rest, ""));
            location = self.model_of_run(run, path).await?;
        }
        if let Some(id) = location.strip_prefix("models:/m-") {
            let found = self.get(&format!("logged-models/m-{id}"), &[]).await?;
            location = text(&found["model"]["info"]["artifact_uri"]);
        }
        let path = self.copy(&location, cache).await?;
        Ok(ResolvedModel { name: Some(name.clone()), version: version.parse().ok(), path })
    }

    /// A folder of the run's artifacts; in MLflow 3 the logged model of that name.
    async fn model_of_run(&self, run: &str, path: &str) -> anyhow::Result<String> {
        let found = self.get("runs/get", &[("run_id", run)]).await?;
        let info = &found["run"]["info"];
        let folder = format!("{}/{path}", text(&info["artifact_uri"]).trim_end_matches('/'));
        let listed = self.get("artifacts/list", &[("run_id", run), ("path", path)]).await?;
        if listed["files"].as_array().is_some_and(|files| !files.is_empty()) {
            return Ok(folder);
        }
        let asked = json!({ "experiment_ids": [info["experiment_id"]], "filter": format!("name = '{path}' AND source_run_id = '{run}'"), "max_results": 1 });
        let models = self.post("logged-models/search", asked).await.unwrap_or_default();
        match &models["models"][0]["info"]["artifact_uri"] {
            Value::String(uri) => Ok(uri.clone()),
            _ => bail!("run {run} has no artifact or logged model {path:?}"),
        }
    }

    /// The folder of this machine that holds what lies at `location`; copied once.
    async fn copy(&self, location: &str, cache: &Path) -> anyhow::Result<PathBuf> {
        let name: String = format!("{}-{location}", self.base)
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
            .collect();
        let target = cache.join(name);
        if target.exists() {
            return Ok(target);
        }
        let partial = target.with_extension(format!("partial-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&partial));
        let copied = match self.place(location)? {
            Place::Direct(artifacts, path) => artifacts.download(&path, &partial).await.map_err(Into::into),
            Place::Proxied(url) => self.download(&url, &partial).await,
        };
        copied.with_context(|| format!("cannot copy the model from {location}"))?;
        std::fs::rename(&partial, &target).with_context(|| format!("cannot make {}", target.display()))?;
        Ok(target)
    }

    async fn download(&self, url: &str, target: &Path) -> anyhow::Result<()> {
        let (root, path) = url.split_once("/mlflow-artifacts/artifacts/").unwrap_or((url, ""));
        let root = format!("{root}/mlflow-artifacts/artifacts");
        let mut folders = vec![path.to_owned()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            let plain = percent_encoding::percent_decode_str(&folder).decode_utf8_lossy().into_owned();
            let listed: Value = self
                .send("listing artifacts", || self.request(Method::GET, &root).query(&[("path", &plain)]))
                .await?
                .json()
                .await?;
            for file in listed["files"].as_array().into_iter().flatten() {
                let name = text(&file["path"]);
                let name = name.rsplit('/').next().unwrap_or_default();
                // A name that the server made up must not lead out of the folder.
                ArtifactPath::new(name)?;
                let below = format!("{folder}/{}", encoded(name));
                if file["is_dir"] == json!(true) {
                    folders.push(below);
                    continue;
                }
                let relative =
                    percent_encoding::percent_decode_str(&below[path.len()..]).decode_utf8_lossy().into_owned();
                let to = target.join(relative.trim_start_matches('/'));
                std::fs::create_dir_all(to.parent().unwrap_or(target))?;
                let url = format!("{root}/{below}");
                let mut response = self.send("reading an artifact", || self.request(Method::GET, &url)).await?;
                let mut file = std::fs::File::create(&to)?;
                while let Some(bytes) = response.chunk().await? {
                    std::io::Write::write_all(&mut file, &bytes)?;
                }
                files += 1;
            }
        }
        if files == 0 {
            bail!("there are no files");
        }
        Ok(())
    }
}

/// How artifacts are reached.
enum Place {
    /// Through a tracking server: the URL of the folder.
    Proxied(String),
    /// The store itself.
    Direct(Artifacts, ArtifactPath),
}

fn refusal(status: StatusCode, body: &str) -> anyhow::Error {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let code = match json["error_code"].as_str() {
        Some(code) => code.to_owned(),
        None if status == StatusCode::NOT_FOUND => "ENDPOINT_NOT_FOUND".to_owned(),
        None => status.to_string(),
    };
    let mut message = json["message"].as_str().map_or_else(|| body.chars().take(200).collect(), str::to_owned);
    if status == StatusCode::FORBIDDEN && message.contains("Host header") {
        message += " (start MLflow with --allowed-hosts naming this address)";
    }
    Refused { code, message }.into()
}

fn tolerate_repeat(answer: anyhow::Result<Value>) -> anyhow::Result<()> {
    match answer {
        Err(error) if format!("{error:#}").contains("UNIQUE") || is(&error, "ENDPOINT_NOT_FOUND") => Ok(()),
        other => other.map(drop),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

fn pairs(tags: &[Tag]) -> Value {
    tags.iter().map(|tag| json!({ "key": tag.key, "value": tag.value })).collect()
}

fn double(value: f64) -> Value {
    if value.is_nan() {
        json!("NaN")
    } else if value.is_infinite() {
        json!(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        json!(value)
    }
}

fn encoded(part: &str) -> String {
    percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%2E", ".")
        .replace("%2D", "-")
        .replace("%5F", "_")
}
