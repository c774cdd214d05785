//! Experiments and their runs, as a table that sorts, filters and picks its columns; and the trash.

use super::figures::{count, lasting, number, opt_when, short, when};
use super::visit::{Failure, Page, Visit, encoded, render};
use crate::error::ControlError;
use crate::state::ControlPlane;
use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use serin_http::Fields;
use serin_store::{Experiment, LifecycleStage, Permission, Resource, Run, RunSearch, Search, ViewType};
use std::collections::BTreeSet;

/// Runs of a page.
const RUNS: i64 = 100;
/// Columns that are shown where nothing is picked.
const METRICS: usize = 6;
const PARAMS: usize = 3;

pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/experiments", get(list))
        .route("/experiments/{id}", get(one))
        .route("/experiments/{id}/runs/delete", post(delete_runs))
        .route("/experiments/{id}/{action}", post(change))
        .route("/trash", get(trash))
        .route("/trash/empty", post(empty))
}

struct Listed {
    id: i64,
    name: String,
    created: String,
    updated: String,
    tags: String,
}

fn listed(experiment: &Experiment) -> Listed {
    let tags = experiment.tags.iter().filter(|tag| !tag.key.starts_with("mlflow."));
    Listed {
        id: experiment.id,
        name: experiment.name.clone(),
        created: when(experiment.creation_time_ms),
        updated: when(experiment.last_update_time_ms),
        tags: tags.map(|tag| format!("{}={}", tag.key, short(&tag.value, 40))).collect::<Vec<_>>().join(", "),
    }
}

#[derive(Template)]
#[template(path = "experiments.html")]
struct Experiments {
    page: Page,
    rows: Vec<Listed>,
    filter: String,
    wrong: String,
    next: Option<i64>,
}

async fn list(visit: Visit) -> Result<Response, Failure> {
    let page = visit.page("Experiments", "Experiments");
    let filter = visit.text("filter");
    let offset = visit.fields.opt_int("offset").ok().flatten().unwrap_or(0).max(0);
    let search = Search { filter: filter.clone(), limit: RUNS, offset, ..Search::default() };
    let (mut found, mut wrong, mut next) = (Vec::new(), String::new(), None);
    match visit.state.store.search_experiments(&search, ViewType::ActiveOnly).await {
        Ok(page) => (found, next) = (page.items, page.next),
        Err(error) => wrong = ControlError::from(error).message(),
    }
    visit.caller.keep_visible(&mut found, |experiment| Resource::Experiment(experiment.id));
    render(&Experiments { page, rows: found.iter().map(listed).collect(), filter, wrong, next })
}

struct Column {
    name: String,
    /// `metrics.` or `params.` and the name, as the search calls it.
    field: String,
    sorted: &'static str,
    href: String,
    is_metric: bool,
}

struct RunRow {
    id: String,
    name: String,
    status: &'static str,
    state: &'static str,
    started: String,
    lasted: String,
    user: String,
    cells: Vec<String>,
}

#[derive(Template)]
#[template(path = "experiment.html")]
struct ExperimentPage {
    page: Page,
    id: i64,
    experiment: Listed,
    is_deleted: bool,
    filter: String,
    order: String,
    columns: Vec<Column>,
    choices: Vec<(String, bool)>,
    rows: Vec<RunRow>,
    wrong: String,
    started_href: String,
    started_sorted: &'static str,
    from: i64,
    previous: Option<String>,
    next: Option<String>,
    may_edit: bool,
    may_manage: bool,
}

async fn one(visit: Visit, Path(id): Path<i64>) -> Result<Response, Failure> {
    visit.must(Permission::Read, &Resource::Experiment(id))?;
    let experiment = visit.state.store.experiment(id).await?;
    let (filter, order) = (visit.text("filter"), visit.text("order"));
    let offset = visit.fields.opt_int("offset").ok().flatten().unwrap_or(0).max(0);
    let picked: Vec<String> = visit.fields.texts("column")?;
    let search = RunSearch {
        experiment_ids: vec![id],
        view: ViewType::ActiveOnly,
        search: Search {
            filter: filter.clone(),
            order_by: if order.is_empty() { Vec::new() } else { vec![order.clone()] },
            limit: RUNS,
            offset,
        },
    };
    let (mut runs, mut wrong, mut next) = (Vec::new(), String::new(), None);
    match visit.state.store.search_runs(&search).await {
        Ok(page) => (runs, next) = (page.items, page.next),
        Err(error) => wrong = ControlError::from(error).message(),
    }
    let address = |order: &str, offset: i64| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("filter", &filter).append_pair("order", order);
        query.extend_pairs(picked.iter().map(|column| ("column", column)));
        if offset > 0 {
            query.append_pair("offset", &offset.to_string());
        }
        visit.link(&format!("/experiments/{id}?{}", query.finish()))
    };
    let sorted = |field: &str| match order.strip_prefix(field).map(str::trim) {
        Some("ASC") => ("ascending", "DESC"),
        Some("DESC") => ("descending", "ASC"),
        _ => ("none", "DESC"),
    };
    let (choices, columns) = columns(&runs, &picked, |field| {
        let (sorted, other) = sorted(field);
        (sorted, address(&format!("{field} {other}"), 0))
    });
    let started = sorted("attributes.start_time");
    render(&ExperimentPage {
        page: visit.page("Experiments", &experiment.name),
        id,
        is_deleted: experiment.lifecycle_stage == LifecycleStage::Deleted,
        experiment: listed(&experiment),
        rows: runs.iter().map(|run| row(run, &columns)).collect(),
        started_href: address(&format!("attributes.start_time {}", started.1), 0),
        started_sorted: started.0,
        from: offset + 1,
        previous: (offset > 0).then(|| address(&order, (offset - RUNS).max(0))),
        next: next.map(|offset| address(&order, offset)),
        may_edit: visit.must(Permission::Edit, &Resource::Experiment(id)).is_ok(),
        may_manage: visit.must(Permission::Manage, &Resource::Experiment(id)).is_ok(),
        filter,
        order,
        columns,
        choices,
        wrong,
    })
}

/// A name within the search's grammar: quoted where it is not plain.
fn quoted(kind: &str, key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain { format!("{kind}.{key}") } else { format!("{kind}.`{key}`") }
}

/// Everything that the runs logged with whether it is shown, and what is shown.
fn columns(
    runs: &[Run],
    picked: &[String],
    sort: impl Fn(&str) -> (&'static str, String),
) -> (Vec<(String, bool)>, Vec<Column>) {
    let metrics: BTreeSet<&str> = runs.iter().flat_map(|run| run.metrics.iter().map(|m| m.key.as_str())).collect();
    let params: BTreeSet<&str> = runs.iter().flat_map(|run| run.params.iter().map(|p| p.key.as_str())).collect();
    let of = |kind: &'static str, keys: &BTreeSet<&str>| -> Vec<(String, String)> {
        keys.iter().map(|key| (format!("{kind}.{key}"), (*key).to_owned())).collect()
    };
    let (metrics, params) = (of("metrics", &metrics), of("params", &params));
    let usual = metrics.iter().take(METRICS).chain(params.iter().take(PARAMS));
    let usual: BTreeSet<&String> = usual.map(|(key, _)| key).collect();
    let shows = |key: &String| if picked.is_empty() { usual.contains(key) } else { picked.contains(key) };
    let all = || metrics.iter().chain(&params);
    let choices = all().map(|(key, _)| (key.clone(), shows(key))).collect();
    let shown = all().filter(|(key, _)| shows(key)).map(|(key, name)| {
        let is_metric = key.starts_with("metrics.");
        let field = quoted(if is_metric { "metrics" } else { "params" }, name);
        let (sorted, href) = sort(&field);
        Column { name: name.clone(), field, sorted, href, is_metric }
    });
    (choices, shown.collect())
}

fn row(run: &Run, columns: &[Column]) -> RunRow {
    let cell = |column: &Column| {
        if column.is_metric {
            let found = run.metrics.iter().find(|metric| metric.key == column.name);
            return found.map_or_else(String::new, |metric| number(metric.value));
        }
        let found = run.params.iter().find(|param| param.key == column.name);
        found.map_or_else(String::new, |param| short(&param.value, 40))
    };
    let info = &run.info;
    let lasted = info.start_time_ms.zip(info.end_time_ms).map(|(start, end)| lasting(end - start));
    RunRow {
        id: info.id.clone(),
        name: info.name.clone(),
        status: info.status.as_str(),
        state: match info.status.as_str() {
            "FINISHED" => "good",
            "FAILED" | "KILLED" => "bad",
            _ => "warn",
        },
        started: opt_when(info.start_time_ms),
        lasted: lasted.unwrap_or_default(),
        user: info.user.clone(),
        cells: columns.iter().map(cell).collect(),
    }
}

/// Puts chosen runs into the trash.
async fn delete_runs(visit: Visit, Path(id): Path<i64>, body: String) -> Result<Response, Failure> {
    visit.must(Permission::Edit, &Resource::Experiment(id))?;
    for run in Fields::from_query(&body).texts("run")? {
        let info = visit.state.store.run_info(&run).await?;
        if info.experiment_id != id {
            return Err(ControlError::invalid(format!("run {run} is not of this experiment")).into());
        }
        visit.state.store.set_run_lifecycle(&run, LifecycleStage::Deleted, visit.state.now_ms()).await?;
    }
    Ok(visit.done(&format!("/experiments/{id}"), "run-deleted"))
}

async fn change(visit: Visit, Path((id, action)): Path<(i64, String)>) -> Result<Response, Failure> {
    visit.must(Permission::Manage, &Resource::Experiment(id))?;
    let (to, path, done) = match action.as_str() {
        "delete" => (LifecycleStage::Deleted, "/experiments".to_owned(), "experiment-deleted"),
        "restore" => (LifecycleStage::Active, format!("/experiments/{id}"), "experiment-restored"),
        _ => return Err(ControlError::mlflow("ENDPOINT_NOT_FOUND", format!("no {action:?} for an experiment")).into()),
    };
    visit.state.store.set_experiment_lifecycle(id, to, visit.state.now_ms()).await?;
    Ok(visit.done(&path, done))
}

#[derive(Template)]
#[template(path = "trash.html")]
struct Trash {
    page: Page,
    experiments: Vec<Listed>,
    runs: Vec<(RunRow, String)>,
    more: bool,
    would: [String; 3],
    is_admin: bool,
}

async fn trash(visit: Visit) -> Result<Response, Failure> {
    let store = &visit.state.store;
    let search = Search { limit: RUNS, ..Search::default() };
    let mut experiments = store.search_experiments(&search, ViewType::DeletedOnly).await?.items;
    visit.caller.keep_visible(&mut experiments, |experiment| Resource::Experiment(experiment.id));
    let all = Search { limit: 10_000, ..Search::default() };
    let mut everywhere = store.search_experiments(&all, ViewType::All).await?.items;
    visit.caller.keep_visible(&mut everywhere, |experiment| Resource::Experiment(experiment.id));
    let deleted = RunSearch {
        experiment_ids: everywhere.iter().map(|experiment| experiment.id).collect(),
        view: ViewType::DeletedOnly,
        search,
    };
    let runs = store.search_runs(&deleted).await?;
    let would = store.collect_deleted(visit.state.now_ms(), true, &mut |_| {}).await?;
    let named = |run: &Run| {
        let experiment = everywhere.iter().find(|experiment| experiment.id == run.info.experiment_id);
        (row(run, &[]), experiment.map_or_else(String::new, |experiment| experiment.name.clone()))
    };
    render(&Trash {
        page: visit.page("Trash", "Trash"),
        experiments: experiments.iter().map(listed).collect(),
        runs: runs.items.iter().map(named).collect(),
        more: runs.next.is_some(),
        would: [would.runs, would.logged_models, would.experiments].map(count),
        is_admin: visit.is_admin(),
    })
}

/// Everything in the trash goes for good.
async fn empty(visit: Visit) -> Result<Response, Failure> {
    if !visit.is_admin() {
        return Err(ControlError::mlflow("PERMISSION_DENIED", "only administrators may empty the trash").into());
    }
    visit.state.store.collect_deleted(visit.state.now_ms(), false, &mut |_| {}).await?;
    Ok(visit.done("/trash", "emptied"))
}

/// Path of an experiment's page.
pub(crate) fn path_of_experiment(id: i64) -> String {
    format!("/experiments/{}", encoded(&id.to_string()))
}
