//! Runs: one with all it logged, several beside each other, their metrics over steps, and their files.

use super::experiment_pages::path_of_experiment;
use super::figures::{bytes, lasting, number, opt_when, short};
use super::plots::escaped;
use super::visit::{Failure, Page, Visit, encoded, render};
use crate::error::ControlError;
use crate::state::ControlPlane;
use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use serin_artifacts::ArtifactPath;
use serin_store::{LifecycleStage, Permission, Resource, Run};
use std::collections::{BTreeMap, BTreeSet};

/// Runs that are compared at once.
const COMPARED: usize = 20;
/// Metrics that are drawn.
const PLOTS: usize = 24;
/// Points of a line.
const POINTS: usize = 500;
/// Bytes of a file that are shown in place.
const SHOWN_BYTES: u64 = 2 << 20;
/// Lines of a table that are shown.
const LINES: usize = 200;

pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/runs/compare", get(compare))
        .route("/runs/compare/charts", get(charts))
        .route("/runs/{id}", get(one))
        .route("/runs/{id}/files", get(files))
        .route("/runs/{id}/view", get(view))
        .route("/runs/{id}/raw", get(raw))
        .route("/runs/{id}/{action}", post(change))
}

async fn run(visit: &Visit, id: &str) -> Result<Run, Failure> {
    let run = visit.state.store.run(id).await?;
    visit.must(Permission::Read, &Resource::Experiment(run.info.experiment_id))?;
    Ok(run)
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    page: Page,
    id: String,
    experiment: (String, String),
    status: &'static str,
    is_deleted: bool,
    facts: Vec<(&'static str, String)>,
    metrics: Vec<(String, String, i64)>,
    params: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    datasets: Vec<[String; 4]>,
    models: Vec<(String, String)>,
    may_edit: bool,
}

async fn one(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let run = run(&visit, &id).await?;
    let info = &run.info;
    let experiment = visit.state.store.experiment(info.experiment_id).await?;
    let search =
        serin_store::Search { filter: format!("run_id = '{id}'"), limit: 100, ..serin_store::Search::default() };
    let mut versions = visit.state.store.search_model_versions(&search).await?.items;
    visit.caller.keep_visible(&mut versions, |version| Resource::RegisteredModel(version.name.clone()));
    let lasted = info.start_time_ms.zip(info.end_time_ms).map_or_else(|| "–".to_owned(), |(a, b)| lasting(b - a));
    let datasets = run.inputs.datasets.iter().map(|dataset| {
        let context = dataset.tags.iter().find(|tag| tag.key == "mlflow.data.context");
        [
            dataset.name.clone(),
            dataset.digest.clone(),
            short(&dataset.source, 120),
            context.map_or_else(|| "–".to_owned(), |tag| tag.value.clone()),
        ]
    });
    render(&RunPage {
        page: visit.page("Experiments", if info.name.is_empty() { &id } else { &info.name }),
        experiment: (experiment.name, visit.link(&path_of_experiment(info.experiment_id))),
        status: info.status.as_str(),
        is_deleted: info.lifecycle_stage == LifecycleStage::Deleted,
        facts: vec![
            ("Run id", format!("<code>{}</code>", escaped(&id))),
            ("Started", opt_when(info.start_time_ms)),
            ("Lasted", lasted),
            ("User", escaped(&info.user)),
            ("Artifacts", format!("<code>{}</code>", escaped(&info.artifact_uri))),
        ],
        metrics: run.metrics.iter().map(|metric| (metric.key.clone(), number(metric.value), metric.step)).collect(),
        params: run.params.iter().map(|param| (param.key.clone(), param.value.clone())).collect(),
        tags: run
            .tags
            .iter()
            .filter(|tag| !tag.key.starts_with("mlflow."))
            .map(|tag| (tag.key.clone(), tag.value.clone()))
            .collect(),
        datasets: datasets.collect(),
        models: versions
            .iter()
            .map(|v| {
                (format!("{} version {}", v.name, v.version), visit.link(&format!("/models/{}", encoded(&v.name))))
            })
            .collect(),
        may_edit: visit.must(Permission::Edit, &Resource::Experiment(info.experiment_id)).is_ok(),
        id,
    })
}

async fn change(visit: Visit, Path((id, action)): Path<(String, String)>) -> Result<Response, Failure> {
    let info = visit.state.store.run_info(&id).await?;
    visit.must(Permission::Edit, &Resource::Experiment(info.experiment_id))?;
    let (to, done) = match action.as_str() {
        "delete" => (LifecycleStage::Deleted, "run-deleted"),
        "restore" => (LifecycleStage::Active, "run-restored"),
        _ => return Err(ControlError::mlflow("ENDPOINT_NOT_FOUND", format!("no {action:?} for a run")).into()),
    };
    visit.state.store.set_run_lifecycle(&id, to, visit.state.now_ms()).await?;
    Ok(visit.done(&format!("/runs/{}", encoded(&id)), done))
}

#[derive(Template)]
#[template(path = "compare.html")]
struct Compare {
    page: Page,
    runs: Vec<(String, String)>,
    rows: Vec<Line>,
    query: String,
}

struct Line {
    kind: &'static str,
    key: String,
    cells: Vec<String>,
    differs: bool,
}

async fn compare(visit: Visit) -> Result<Response, Failure> {
    let ids = visit.fields.texts("run")?;
    if ids.len() > COMPARED {
        return Err(ControlError::invalid(format!(
            "at most {COMPARED} runs can be compared; {} were chosen",
            ids.len()
        ))
        .into());
    }
    let mut runs = Vec::new();
    for id in &ids {
        runs.push(run(&visit, id).await?);
    }
    let texts = |of: fn(&Run) -> Vec<(String, String)>, kind: &'static str| {
        let all: Vec<BTreeMap<String, String>> = runs.iter().map(|run| of(run).into_iter().collect()).collect();
        let keys: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
        let line = |key: &String| {
            let cells: Vec<String> = all.iter().map(|one| one.get(key).cloned().unwrap_or_default()).collect();
            let differs = cells.windows(2).any(|pair| pair[0] != pair[1]);
            Line { kind, key: key.clone(), cells, differs }
        };
        keys.into_iter().map(line).collect::<Vec<_>>()
    };
    let mut rows = texts(|run| run.metrics.iter().map(|m| (m.key.clone(), number(m.value))).collect(), "metric");
    rows.extend(texts(|run| run.params.iter().map(|p| (p.key.clone(), short(&p.value, 80))).collect(), "param"));
    let query: Vec<String> = ids.iter().map(|id| format!("run={}", encoded(id))).collect();
    render(&Compare {
        page: visit.page("Experiments", &format!("{} runs compared", runs.len())),
        runs: runs.iter().map(|run| (run.info.id.clone(), run.info.name.clone())).collect(),
        rows,
        query: query.join("&"),
    })
}

#[derive(Template)]
#[template(path = "charts.html")]
struct Charts {
    plots: Vec<(String, String)>,
    left_out: usize,
}

/// Metrics with more than one step, a line a run.
async fn charts(visit: Visit) -> Result<Response, Failure> {
    let ids: Vec<String> = visit.fields.texts("run")?.into_iter().take(COMPARED).collect();
    let mut names = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for id in &ids {
        let run = run(&visit, id).await?;
        keys.extend(run.metrics.iter().filter(|metric| metric.step != 0).map(|metric| metric.key.clone()));
        let short_id: String = id.chars().take(8).collect();
        names.insert(id.clone(), if run.info.name.is_empty() { short_id } else { run.info.name });
    }
    let mut plots = Vec::new();
    for key in keys.iter().take(PLOTS) {
        let points = visit.state.store.sampled_history(&ids, key, None, POINTS).await?;
        let mut lines: BTreeMap<&str, BTreeMap<i64, f64>> = BTreeMap::new();
        for point in &points {
            let of = point.run_id.as_deref().unwrap_or_default();
            if point.value.is_finite() {
                lines.entry(of).or_default().insert(point.step, point.value);
            }
        }
        let steps: BTreeSet<i64> = lines.values().flat_map(|line| line.keys().copied()).collect();
        if steps.len() < 2 {
            continue;
        }
        let y: Vec<Vec<Option<f64>>> =
            lines.values().map(|line| steps.iter().map(|step| line.get(step).copied()).collect()).collect();
        let series: Vec<&str> = lines.keys().map(|id| names.get(*id).map_or(*id, String::as_str)).collect();
        plots.push((
            key.clone(),
            json!({ "time": false, "label": "step", "x": steps, "y": y, "series": series }).to_string(),
        ));
    }
    render(&Charts { left_out: keys.len().saturating_sub(PLOTS), plots })
}

async fn place(visit: &Visit, id: &str, path: &str) -> Result<ArtifactPath, Failure> {
    let info = visit.state.store.run_info(id).await?;
    visit.must(Permission::Read, &Resource::Experiment(info.experiment_id))?;
    let path = ArtifactPath::new(path.trim_end_matches('/'))?;
    let root = visit.state.store.artifacts().path_of(&info.artifact_uri).ok_or_else(|| {
        ControlError::invalid(format!(
            "the artifacts lie at {}, outside this server's artifact store",
            info.artifact_uri
        ))
    })?;
    Ok(root.join(path.as_str())?)
}

#[derive(Template)]
#[template(path = "files.html")]
struct Files {
    base: String,
    id: String,
    path: String,
    entries: Vec<(String, String, Option<String>)>,
    parent: Option<String>,
    why_not: String,
}

async fn files(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let path = visit.text("path");
    let (mut entries, mut why_not) = (Vec::new(), String::new());
    match place(&visit, &id, &path).await {
        Ok(folder) => {
            for entry in visit.state.store.artifacts().list(&folder).await? {
                let inner = if path.is_empty() { entry.name.clone() } else { format!("{path}/{}", entry.name) };
                entries.push((entry.name, encoded(&inner), entry.size.map(bytes)));
            }
        }
        Err(error) => why_not = error.0.message(),
    }
    let parent = (!path.is_empty()).then(|| encoded(path.rsplit_once('/').map_or("", |(parent, _)| parent)));
    render(&Files { base: visit.link(""), id, path, entries, parent, why_not })
}

#[derive(Template)]
#[template(path = "view.html")]
struct View {
    name: String,
    raw: String,
    size: String,
    text: Option<String>,
    table: Vec<Vec<String>>,
    is_image: bool,
    is_page: bool,
    cut: bool,
}

fn ending(path: &str) -> String {
    path.rsplit('/')
        .next()
        .and_then(|name| name.rsplit_once('.'))
        .map_or_else(String::new, |(_, e)| e.to_ascii_lowercase())
}

/// A file in place: text, JSON, tables and images; pages in a frame that may do nothing.
async fn view(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let path = visit.text("path");
    let place = place(&visit, &id, &path).await?;
    let artifacts = visit.state.store.artifacts();
    let size = artifacts.get(&place).await?.size;
    let kind = ending(&path);
    let is_image = matches!(kind.as_str(), "png" | "jpg" | "jpeg" | "gif" | "svg" | "webp");
    let is_page = matches!(kind.as_str(), "html" | "htm");
    let (mut text, mut table) = (None, Vec::new());
    let shows = !is_image && !is_page && size <= SHOWN_BYTES;
    if shows {
        let content = artifacts.get_bytes(&place, SHOWN_BYTES).await?;
        if let Ok(found) = String::from_utf8(content) {
            if kind == "csv" {
                let mut reader =
                    csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(found.as_bytes());
                let lines = reader.records().take(LINES + 1).filter_map(Result::ok);
                table = lines.map(|line| line.iter().map(str::to_owned).collect()).collect();
            } else if kind == "json" {
                let pretty =
                    serde_json::from_str::<Value>(&found).and_then(|value| serde_json::to_string_pretty(&value));
                text = Some(pretty.unwrap_or(found));
            } else {
                text = Some(found);
            }
        }
    }
    render(&View {
        name: path.clone(),
        raw: visit.link(&format!("/runs/{}/raw?path={}", encoded(&id), encoded(&path))),
        size: bytes(size),
        cut: table.len() > LINES,
        text,
        table,
        is_image,
        is_page,
    })
}

/// The file itself, as a browser shows it: with no script, no form and no origin of its own.
async fn raw(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let path = visit.text("path");
    let place = place(&visit, &id, &path).await?;
    let file = visit.state.store.artifacts().get(&place).await?;
    let kind = match ending(&path).as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        _ => "application/octet-stream",
    };
    let mut response = axum::body::Body::from_stream(file.content).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.size));
    let policy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    if kind == "application/octet-stream" {
        let name = encoded(path.rsplit('/').next().unwrap_or_default());
        if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{name}")) {
            headers.insert(header::CONTENT_DISPOSITION, value);
        }
    }
    Ok(response)
}
