//! Writing runs, logged models and model versions.

use crate::error::ClientError;
use crate::models::Place;
use crate::server::{TrackingServer, encoded, text};
use reqwest::Method;
use serde_json::{Value, json};
use serin_tracking::{Metric, Registration, RunStatus, StoredModel, Tag};

impl TrackingServer {
    /// Starts a run, with its experiment where that is missing; answers the run's id.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn start_run(
        &self,
        experiment: &str,
        name: &str,
        user: &str,
        now_ms: i64,
        tags: &[Tag],
    ) -> Result<String, ClientError> {
        let by_name = [("experiment_name", experiment)];
        let id = match self.get("experiments/get-by-name", &by_name).await {
            Ok(found) => text(&found["experiment"]["experiment_id"]),
            Err(error) if error.is("RESOURCE_DOES_NOT_EXIST") => {
                match self.post("experiments/create", json!({ "name": experiment })).await {
                    Ok(created) => text(&created["experiment_id"]),
                    // Somebody else was quicker.
                    Err(error) if error.is("RESOURCE_ALREADY_EXISTS") => {
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

    /// Logs params and metric values of a run.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn log(&self, run_id: &str, metrics: &[Metric], params: &[Tag]) -> Result<(), ClientError> {
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

    /// Stores the files of a model package, each with its path below `folder`, as the run's model.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn put_model(
        &self,
        run_id: &str,
        folder: &str,
        files: Vec<(String, Vec<u8>)>,
    ) -> Result<StoredModel, ClientError> {
        let run = self.get("runs/get", &[("run_id", run_id)]).await?;
        let info = &run["run"]["info"];
        let new = json!({ "experiment_id": info["experiment_id"], "name": folder, "source_run_id": run_id });
        let model = match self.post("logged-models", new).await {
            Ok(created) => created["model"]["info"].clone(),
            // MLflow 2: the model is a folder of the run.
            Err(error) if error.is("ENDPOINT_NOT_FOUND") || error.is("NOT_FOUND") => {
                let uri = format!("{}/{folder}", text(&info["artifact_uri"]).trim_end_matches('/'));
                self.put_files(&uri, files).await?;
                return Ok(StoredModel { source: uri.clone(), model_id: String::new(), location: uri });
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
        Ok(StoredModel { source: format!("models:/{id}"), model_id: id, location: uri })
    }

    async fn put_files(&self, uri: &str, files: Vec<(String, Vec<u8>)>) -> Result<(), ClientError> {
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

    /// Registers a stored package as the next version of a model, made where it is missing; answers the version.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn register(&self, model: &Registration, stored: &StoredModel) -> Result<i64, ClientError> {
        match self.post("registered-models/create", json!({ "name": model.name })).await {
            Err(error) if !error.is("RESOURCE_ALREADY_EXISTS") && !error.is("ALREADY_EXISTS") => return Err(error),
            _ => {}
        }
        let mut new = json!({ "name": model.name, "source": stored.source, "run_id": model.run_id });
        if !stored.model_id.is_empty() {
            new["model_id"] = json!(stored.model_id);
        }
        let created = self.post("model-versions/create", new).await?;
        let number = text(&created["model_version"]["version"]);
        number.parse().map_err(|_| ClientError::Answer(format!("the server registered version {number:?}")))
    }

    /// Ends a run with a status; `now_ms` is its end, epoch milliseconds.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn finish_run(&self, run_id: &str, status: RunStatus, now_ms: i64) -> Result<(), ClientError> {
        let body = json!({ "run_id": run_id, "run_uuid": run_id, "status": status.as_str(), "end_time": now_ms });
        self.post("runs/update", body).await.map(drop)
    }
}

fn tolerate_repeat(answer: Result<Value, ClientError>) -> Result<(), ClientError> {
    match answer {
        Err(error) if error.to_string().contains("UNIQUE") || error.is("ENDPOINT_NOT_FOUND") => Ok(()),
        other => other.map(drop),
    }
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
