//! Finding model versions, and bringing their files to this machine.

use crate::error::ClientError;
use crate::server::{TrackingServer, encoded, text};
use reqwest::Method;
use serde_json::{Value, json};
use serin_artifacts::{ArtifactPath, Artifacts};
use serin_tracking::{ModelUri, ResolvedModel};
use std::path::{Path, PathBuf};

impl TrackingServer {
    /// Place at which an artifact URI is reached from this machine.
    pub(crate) fn place(&self, uri: &str) -> Result<Place, ClientError> {
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
            let artifacts = Artifacts::s3(&format!("s3://{bucket}"), self.config.s3.iter().cloned())?;
            return Ok(Place::Direct(artifacts, ArtifactPath::new(path.trim_matches('/'))?));
        }
        let path = uri.strip_prefix("file://").unwrap_or(uri);
        if path.starts_with('/') {
            return Ok(Place::Direct(Artifacts::local(Path::new(path))?, ArtifactPath::new("")?));
        }
        Err(ClientError::InvalidInput(format!(
            "artifacts at {uri} are out of reach: serin reads mlflow-artifacts:, s3:// and local paths"
        )))
    }

    /// Finds what a URI names now, and brings its files below `cache`, once a version.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] where nothing is named so; whatever the server or the disk says otherwise.
    pub async fn resolve(&self, uri: &ModelUri, cache: &Path) -> Result<ResolvedModel, ClientError> {
        let nothing = |error: ClientError| match error {
            refused @ ClientError::Refused { .. } => {
                ClientError::NotFound { what: uri.to_string(), reason: Some(Box::new(refused)) }
            }
            other => other,
        };
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
                (
                    name,
                    newest
                        .ok_or_else(|| ClientError::NotFound {
                            what: format!("{uri} (no version has that stage)"),
                            reason: None,
                        })?
                        .to_string(),
                )
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
    async fn model_of_run(&self, run: &str, path: &str) -> Result<String, ClientError> {
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
            _ => Err(ClientError::NotFound {
                what: format!("artifact or logged model {path:?} of run {run}"),
                reason: None,
            }),
        }
    }

    /// The folder of this machine that holds what lies at `location`; copied once.
    async fn copy(&self, location: &str, cache: &Path) -> Result<PathBuf, ClientError> {
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
        copied.map_err(|source| ClientError::Copy { location: location.to_owned(), source: Box::new(source) })?;
        std::fs::rename(&partial, &target).map_err(ClientError::io(&target))?;
        Ok(target)
    }

    async fn download(&self, url: &str, target: &Path) -> Result<(), ClientError> {
        let (root, path) = url.split_once("/mlflow-artifacts/artifacts/").unwrap_or((url, ""));
        let root = format!("{root}/mlflow-artifacts/artifacts");
        let mut folders = vec![path.to_owned()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            let plain = percent_encoding::percent_decode_str(&folder).decode_utf8_lossy().into_owned();
            let listed: Value = self
                .json(
                    self.send("listing artifacts", || self.request(Method::GET, &root).query(&[("path", &plain)]))
                        .await?,
                )
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
                std::fs::create_dir_all(to.parent().unwrap_or(target)).map_err(ClientError::io(&to))?;
                let url = format!("{root}/{below}");
                let mut response = self.send("reading an artifact", || self.request(Method::GET, &url)).await?;
                let mut file = std::fs::File::create(&to).map_err(ClientError::io(&to))?;
                while let Some(bytes) = response.chunk().await.map_err(|source| self.unreachable(source))? {
                    std::io::Write::write_all(&mut file, &bytes).map_err(ClientError::io(&to))?;
                }
                files += 1;
            }
        }
        if files == 0 {
            return Err(ClientError::NotFound { what: format!("files at {url}"), reason: None });
        }
        Ok(())
    }
}

/// Place that artifacts are read from and written to.
pub(crate) enum Place {
    /// Folder behind a tracking server, by its URL.
    Proxied(String),
    /// Store of the artifacts itself, and the folder in it.
    Direct(Artifacts, ArtifactPath),
}
