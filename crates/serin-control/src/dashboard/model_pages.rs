//! Registered models: versions with their stages and aliases, where they come from, and who was live when.

use super::figures::{short, when};
use super::visit::{Failure, Page, Visit, encoded, render};
use crate::api::registry::registered_models::{point, remove};
use crate::error::ControlError;
use crate::state::ControlPlane;
use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use serin_http::Fields;
use serin_store::{ModelVersion, Permission, Resource, Search};
use serin_tracking::Stage;

/// Models of a page.
const MODELS: i64 = 100;
/// Rows of the ledger.
const LEDGER: i64 = 200;
/// Alias that servers with `--canary` release.
const CHALLENGER: &str = "challenger";

pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/models", get(list))
        .route("/models/{name}", get(one))
        .route("/models/{name}/{action}", post(change))
}

/// Rows of a model's ledger, the newest first: when, version, change, who, why.
pub(crate) type Ledger = Vec<[String; 5]>;

pub(crate) async fn ledger(visit: &Visit, name: &str) -> Result<Ledger, Failure> {
    let found = visit.state.store.model_history(name, LEDGER, 0).await?.into_iter();
    let row = |entry: serin_store::LedgerEntry| {
        let version = entry.version.map_or_else(|| "–".to_owned(), |version| version.to_string());
        [when(entry.at_ms), version, format!("{} {}", entry.change, entry.target), entry.actor, entry.reason]
    };
    Ok(found.map(row).collect())
}

struct Listed {
    name: String,
    href: String,
    description: String,
    updated: String,
    held: String,
}

#[derive(Template)]
#[template(path = "models.html")]
struct Models {
    page: Page,
    rows: Vec<Listed>,
    filter: String,
    wrong: String,
}

async fn list(visit: Visit) -> Result<Response, Failure> {
    let filter = visit.text("filter");
    let search = Search { filter: filter.clone(), limit: MODELS, ..Search::default() };
    let (mut models, mut wrong) = (Vec::new(), String::new());
    match visit.state.store.search_registered_models(&search).await {
        Ok(found) => models = found.items,
        Err(error) => wrong = ControlError::from(error).message(),
    }
    visit.caller.keep_visible(&mut models, |model| Resource::RegisteredModel(model.name.clone()));
    let row = |model: serin_store::RegisteredModel| {
        let stages = model.latest_versions.iter().filter(|version| version.stage != Stage::None);
        let stages = stages.map(|version| format!("{} {}", version.stage.as_str(), version.version));
        let aliases = model.aliases.iter().map(|(alias, version)| format!("{alias} {version}"));
        Listed {
            href: visit.link(&format!("/models/{}", encoded(&model.name))),
            description: short(model.description.as_deref().unwrap_or_default(), 120),
            updated: when(model.last_updated_time_ms),
            held: stages.chain(aliases).collect::<Vec<_>>().join(", "),
            name: model.name,
        }
    };
    let rows = models.into_iter().map(row).collect();
    render(&Models { page: visit.page("Models", "Models"), rows, filter, wrong })
}

struct Version {
    number: i64,
    stage: &'static str,
    is_live: bool,
    aliases: Vec<String>,
    created: String,
    user: String,
    run: Option<(String, String)>,
    data: String,
    rollout: String,
    description: String,
}

#[derive(Template)]
#[template(path = "model.html")]
struct ModelPage {
    page: Page,
    path: String,
    description: String,
    versions: Vec<Version>,
    history: Ledger,
    may_edit: bool,
    stages: [&'static str; 4],
}

async fn one(visit: Visit, Path(name): Path<String>) -> Result<Response, Failure> {
    visit.must(Permission::Read, &Resource::RegisteredModel(name.clone()))?;
    let model = visit.state.store.registered_model(&name).await?;
    let mut found = visit.state.store.versions(&name).await?;
    found.sort_by_key(|version| std::cmp::Reverse(version.version));
    let mut versions = Vec::new();
    for version in &found {
        versions.push(version_of(&visit, version).await);
    }
    let history = ledger(&visit, &name).await?;
    let mut page = visit.page("Models", &name);
    page.model.clone_from(&name);
    render(&ModelPage {
        page,
        path: visit.link(&format!("/models/{}", encoded(&name))),
        description: model.description.unwrap_or_default(),
        versions,
        history,
        may_edit: visit.must(Permission::Edit, &Resource::RegisteredModel(name)).is_ok(),
        stages: ["None", "Staging", "Production", "Archived"],
    })
}

/// A version with the run and the data that it came from, as far as the visitor may see them.
async fn version_of(visit: &Visit, version: &ModelVersion) -> Version {
    let (mut run, mut data) = (None, String::new());
    if let Ok(found) = visit.state.store.run(&version.run_id).await {
        let experiment = Resource::Experiment(found.info.experiment_id);
        if visit.must(Permission::Read, &experiment).is_ok() {
            let name = if found.info.name.is_empty() { short(&found.info.id, 9) } else { found.info.name.clone() };
            run = Some((name, visit.link(&format!("/runs/{}", encoded(&found.info.id)))));
            let sets = found.inputs.datasets.iter().map(|set| format!("{} {}", set.name, short(&set.digest, 9)));
            data = sets.collect::<Vec<_>>().join(", ");
        }
    }
    let tag = |key: &str| version.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.clone());
    Version {
        number: version.version,
        stage: version.stage.as_str(),
        is_live: visit.state.settings.guard.is_live(version),
        aliases: version.aliases.clone(),
        created: when(version.creation_time_ms),
        user: version.user.clone().unwrap_or_default(),
        run,
        data,
        rollout: tag("serin.rollout").unwrap_or_default(),
        description: version.description.clone().unwrap_or_default(),
    }
}

async fn change(visit: Visit, Path((name, action)): Path<(String, String)>, body: String) -> Result<Response, Failure> {
    visit.must(Permission::Edit, &Resource::RegisteredModel(name.clone()))?;
    let form = Fields::from_query(&body);
    let (state, caller) = (&visit.state, &visit.caller);
    let path = format!("/models/{}", encoded(&name));
    let version = || -> Result<i64, ControlError> {
        form.opt_int("version")?.ok_or_else(|| ControlError::invalid("choose a version"))
    };
    let done = match action.as_str() {
        "start" => {
            let reason = "started at the dashboard";
            point(state, caller, (&name, CHALLENGER), version()?, reason).await?;
            return Ok(visit.done(&format!("/rollouts?name={}", encoded(&name)), "started"));
        }
        "alias" => {
            point(state, caller, (&name, form.required("alias")?.trim()), version()?, "set at the dashboard").await?;
            "alias-set"
        }
        "unalias" => {
            remove(state, caller, &name, &form.required("alias")?).await?;
            "alias-removed"
        }
        "stage" => {
            let stage: Stage = form.required("stage")?.parse().map_err(ControlError::invalid)?;
            let change = state.change(caller, "set at the dashboard");
            state.store.move_to_stage(&name, version()?, stage, stage.archives(), change).await?;
            "stage-set"
        }
        "describe" => {
            let text = form.text("description")?;
            match form.opt_int("version")? {
                Some(version) => {
                    state.store.describe_model_version(&name, version, &text, state.now_ms()).await.map(drop)?;
                }
                None => state.store.describe_registered_model(&name, &text, state.now_ms()).await.map(drop)?,
            }
            "described"
        }
        _ => return Err(ControlError::mlflow("ENDPOINT_NOT_FOUND", format!("no {action:?} for a model")).into()),
    };
    Ok(visit.done(&path, done))
}
