//! A tracking server over HTTP: serin's, or MLflow's own (3.x; 2.x without logged models).
//!
//! Every request may be repeated: the server may have answered the first one into a broken connection. MLflow
//! itself answers some repeats with 400 and a text about UNIQUE, which is then a success.

use super::s3_settings;
use anyhow::{Context, anyhow, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use serin_store::{ArtifactPath, Artifacts, Change, ModelUri, ResolvedModel};
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

pub(super) fn is(error: &anyhow::Error, code: &str) -> bool {
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

    pub(super) fn request(&self, method: Method, url: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, url);
        match (&self.basic, &self.bearer) {
            (Some((user, password)), _) => request.basic_auth(user, password.as_deref()),
            (None, Some(token)) => request.bearer_auth(token),
            (None, None) => request,
        }
    }

    /// Sends until the server has answered; refusals are [`Refused`].
    pub(super) async fn send(
        &self,
        what: &str,
        make: impl Fn() -> reqwest::RequestBuilder,
    ) -> anyhow::Result<reqwest::Response> {
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

    pub(super) async fn call(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let url = format!("{}{API}/{path}", self.base);
        let text = self.send(path, || self.request(method.clone(), &url).json(&body)).await?.text().await?;
        if text.is_empty() { Ok(json!({})) } else { Ok(serde_json::from_str(&text)?) }
    }

    /// As [`Self::post`], for a change of the registry: serin's server writes who and why into its ledger, MLflow's does not
    /// look at it.
    pub(super) async fn change(&self, path: &str, body: Value, change: &Change) -> anyhow::Result<()> {
        let url = format!("{}{API}/{path}", self.base);
        let [actor, reason] = [&change.actor, &change.reason].map(|text| encoded(text));
        let request = || {
            let request = self.request(Method::POST, &url).json(&body);
            request.header("serin-actor", &actor).header("serin-reason", &reason)
        };
        self.send(path, request).await.map(drop)
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, body).await
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let url = format!("{}{API}/{path}", self.base);
        Ok(self.send(path, || self.request(Method::GET, &url).query(query)).await?.json().await?)
    }

    /// serin's own routes, which MLflow's server does not have.
    pub(super) async fn post_own(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}/v1/{path}", self.base);
        Ok(self.send(path, || self.request(Method::POST, &url).json(body)).await?.json().await?)
    }

    /// As [`Self::post_own`].
    #[cfg(feature = "server")]
    pub(super) async fn get_own(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let url = format!("{}/v1/{path}", self.base);
        Ok(self.send(path, || self.request(Method::GET, &url).query(query)).await?.json().await?)
    }

    /// Where an artifact URI is reached from here.
    pub(super) fn place(&self, uri: &str) -> anyhow::Result<Place> {
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
pub(super) enum Place {
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

pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

pub(super) fn encoded(part: &str) -> String {
    percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%2E", ".")
        .replace("%2D", "-")
        .replace("%5F", "_")
}
