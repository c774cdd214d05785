//! Which route needs which permission on what.

use crate::error::ControlError;
use axum::http::Method;
use serin_http::{Fields, experiment_id};
use serin_store::{Permission, Resource, Store};

/// First parts of the paths that are pages.
const PAGES: [&str; 11] = [
    "",
    "overview",
    "rollouts",
    "drift",
    "performance",
    "decisions",
    "experiments",
    "runs",
    "models",
    "settings",
    "trash",
];

/// Permission that a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// The request is open to everybody.
    Nothing,
    /// The caller must be a known user; the handler shows only what that user may see.
    User,
    /// The user's own permission must include this one: to make something new.
    Default(Permission),
    /// Permission on the resources that the request's fields name.
    Fields(Permission, About),
    /// Permission on the experiment that an artifact path starts with.
    ArtifactPath(Permission, String),
    /// Read permission on the experiment of the path in the query. Only administrators may list the root, which shows
    /// everybody's.
    ArtifactList,
    /// Permission on the experiment of the logged model in the path.
    LoggedModelPath(Permission, String),
    /// Permission on the registered model in the path.
    ModelPath(Permission, String),
    /// The caller must be an administrator.
    Admin,
}

/// Fields that name the resource of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// `experiment_id`, or the experiment of that name, or all of `experiment_ids`.
    Experiment,
    /// `run_id`, `run_uuid` or `run_ids`: their experiments.
    Run,
    /// `run_uuid` in the query of a POST, whose body is a file.
    RunInQuery,
    /// `name`: a registered model.
    Model,
}

pub(crate) fn need(method: &Method, path: &str) -> Need {
    use Permission::{Edit, Manage, Read};
    if matches!(path, "/health" | "/version" | "/favicon.ico")
        || path.starts_with("/assets/")
        || path.ends_with("/3.0/mlflow/server-info")
    {
        return Need::Nothing;
    }
    if let Some(rest) = path.strip_prefix("/api/v1/models/") {
        return match (method, rest.strip_suffix("/history")) {
            (&Method::GET, Some(name)) => Need::ModelPath(Read, decoded(name)),
            _ => Need::Admin,
        };
    }
    // Pages ask for what they show and do themselves.
    if PAGES.contains(&path.split('/').nth(1).unwrap_or_default()) {
        return Need::User;
    }
    match (method, path) {
        (&Method::POST, "/v1/labels") => return Need::Default(Edit),
        (&Method::GET, "/v1/labels") => return Need::User,
        (&Method::GET, "/v1/performance" | "/v1/drift" | "/v1/retrainings") => {
            return Need::Fields(Read, About::Model);
        }
        (&Method::GET, "/v1/alerts" | "/v1/jobs") => return Need::User,
        (&Method::POST, "/v1/panes" | "/v1/evidence") => return Need::Default(Edit),
        _ => {}
    }
    let read = method == Method::GET;
    let below = |root: &str| {
        path.strip_prefix("/api").or_else(|| path.strip_prefix("/ajax-api")).and_then(|rest| rest.strip_prefix(root))
    };
    if let Some(rest) = below("/2.0/mlflow-artifacts/") {
        let level = if read { Read } else { Edit };
        let file = ["artifacts/", "presigned/", "mpu/create/", "mpu/complete/", "mpu/abort/"]
            .into_iter()
            .find_map(|root| rest.strip_prefix(root));
        return match file {
            Some(file) if !file.is_empty() => Need::ArtifactPath(level, decoded(file)),
            _ if read && matches!(rest, "artifacts" | "artifacts/") => Need::ArtifactList,
            _ => Need::Admin,
        };
    }
    let route = match (below("/2.0/mlflow/"), path) {
        (Some(route), _) => route,
        (None, "/get-artifact") => "get-artifact",
        (None, "/model-versions/get-artifact") => "model-versions/get-artifact",
        _ => return Need::Admin,
    };
    if let Some(rest) = route.strip_prefix("logged-models/").filter(|rest| *rest != "search") {
        let id = rest.split('/').next().unwrap_or_default();
        return Need::LoggedModelPath(if read { Read } else { Edit }, decoded(id));
    }
    match route {
        "experiments/create" => Need::Default(Edit),
        "experiments/search" | "registered-models/search" | "model-versions/search" => Need::User,
        "experiments/get"
        | "experiments/get-by-name"
        | "runs/search"
        | "logged-models/search"
        | "experiments/search-datasets" => Need::Fields(Read, About::Experiment),
        "experiments/delete" | "experiments/restore" | "experiments/update" => Need::Fields(Manage, About::Experiment),
        "experiments/set-experiment-tag" | "experiments/delete-experiment-tag" | "runs/create" | "logged-models" => {
            Need::Fields(Edit, About::Experiment)
        }
        "runs/get"
        | "metrics/get-history"
        | "metrics/get-history-bulk"
        | "metrics/get-history-bulk-interval"
        | "artifacts/list"
        | "artifacts/presigned-download-url"
        | "get-artifact" => Need::Fields(Read, About::Run),
        "runs/update"
        | "runs/delete"
        | "runs/restore"
        | "runs/log-metric"
        | "runs/log-parameter"
        | "runs/set-tag"
        | "runs/delete-tag"
        | "runs/log-batch"
        | "runs/log-inputs"
        | "runs/outputs"
        | "runs/log-model"
        | "artifacts/presigned-upload-url" => Need::Fields(Edit, About::Run),
        "upload-artifact" => Need::Fields(Edit, About::RunInQuery),
        "registered-models/create" => Need::Default(Edit),
        "registered-models/get"
        | "registered-models/get-latest-versions"
        | "model-versions/get"
        | "model-versions/get-download-uri"
        | "model-versions/get-artifact" => Need::Fields(Read, About::Model),
        "registered-models/alias" if read => Need::Fields(Read, About::Model),
        "registered-models/delete" | "registered-models/rename" => Need::Fields(Manage, About::Model),
        "registered-models/update"
        | "registered-models/set-tag"
        | "registered-models/delete-tag"
        | "registered-models/alias"
        | "model-versions/create"
        | "model-versions/update"
        | "model-versions/delete"
        | "model-versions/transition-stage"
        | "model-versions/set-tag"
        | "model-versions/delete-tag" => Need::Fields(Edit, About::Model),
        _ => Need::Admin,
    }
}

fn decoded(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// What the fields name; nothing named is an error of the handler, so it is let through to it only where the handler
/// touches nothing either.
pub(crate) async fn resources(store: &Store, fields: &Fields, about: About) -> Result<Vec<Resource>, ControlError> {
    match about {
        About::Model => Ok(vec![Resource::RegisteredModel(fields.required("name")?)]),
        About::Experiment => {
            let mut ids: Vec<i64> =
                fields.texts("experiment_ids")?.iter().map(|id| experiment_id(id)).collect::<Result<_, _>>()?;
            if let Some(name) = fields.opt_text("experiment_name")? {
                ids.push(store.experiment_by_name(&name).await?.id);
            }
            match fields.opt_text("experiment_id")? {
                Some(id) if !id.is_empty() => ids.push(experiment_id(&id)?),
                // A run without experiment goes to the default one; a search without any finds nothing.
                _ if ids.is_empty() => ids.push(0),
                _ => {}
            }
            Ok(ids.into_iter().map(Resource::Experiment).collect())
        }
        About::Run | About::RunInQuery => {
            let mut runs = Vec::new();
            for name in ["run_id", "run_uuid", "run_ids"] {
                runs.extend(fields.texts_or_text(name)?.into_iter().filter(|id| !id.is_empty()));
            }
            runs.sort_unstable();
            runs.dedup();
            let model = fields.text("model_id")?;
            if runs.is_empty() && !model.is_empty() {
                return Ok(vec![Resource::Experiment(store.logged_model(&model).await?.experiment_id)]);
            }
            if runs.is_empty() {
                return Err(fields.run_id().err().map_or_else(|| ControlError::invalid("no run is named"), Into::into));
            }
            let mut resources = Vec::new();
            for run in runs {
                resources.push(Resource::Experiment(store.run_info(&run).await?.experiment_id));
            }
            Ok(resources)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_rule_names_is_for_administrators() {
        for path in [
            "/api/2.0/mlflow/new/route",
            "/api/2.0/mlflow/webhooks",
            "/metrics",
            "/api/2.0/mlflow-artifacts/other",
            "/api/v1/anything",
            "/graphql",
            "/api/3.0/mlflow/traces",
        ] {
            assert_eq!(need(&Method::GET, path), Need::Admin, "{path}");
        }
    }

    #[test]
    fn both_prefixes_need_the_same() {
        for route in ["runs/get", "registered-models/delete", "experiments/create", "logged-models/m-1/tags"] {
            let one = need(&Method::POST, &format!("/api/2.0/mlflow/{route}"));
            assert_ne!(one, Need::Admin, "{route}");
            assert_eq!(one, need(&Method::POST, &format!("/ajax-api/2.0/mlflow/{route}")));
        }
    }
}
