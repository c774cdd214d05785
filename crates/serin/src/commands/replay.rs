//! `serin replay`: logged decisions, re-scored.

use super::labelled::{Label, Labelled, Labels};
use super::{now_ms, say};
use crate::cli::{Logged, Replay, State};
use crate::registry::Registry;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use serin_decisions::{DecidingModel, DecisionFiles, Fallback, LoggedDecision, Record};
use serin_models::LoadedModel;
use serin_scorer::serve::DECISIONS;
use serin_scoring::{Decision, Translation, TranslationError};
use serin_tracking::{ModelUri, ResolvedModel};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Rows scored at once.
const BATCH: usize = 4096;

pub(crate) async fn run(args: &Replay) -> anyhow::Result<()> {
    let files = files(&args.logged)?;
    if let Some(entity) = &args.erase_entity {
        return erase(&files, entity);
    }
    match (&args.id, &args.model) {
        (Some(id), _) => one(args, &files, id).await,
        (None, Some(uri)) => many(args, &files, uri).await,
        (None, None) => bail!(
            "name a decision with --id, a model to re-score the log with --model, or an entity to forget with --erase-entity"
        ),
    }
}

/// The log that is meant.
pub(crate) fn files(logged: &Logged) -> anyhow::Result<DecisionFiles> {
    let folder = logged.decision_log.clone().unwrap_or_else(|| logged.state.state.join(DECISIONS));
    if !folder.is_dir() {
        bail!("there is no decision log at {}: name its folder with --decision-log", folder.display());
    }
    Ok(DecisionFiles::of(&folder))
}

/// Times of the decisions that the options name, epoch milliseconds.
pub(crate) fn range(logged: &Logged) -> Range<i64> {
    logged.since.unwrap_or(0)..logged.until.unwrap_or(i64::MAX)
}

/// A logged decision, taken out of its segment.
struct Found {
    shown: Value,
    model: Arc<DecidingModel>,
    features: Vec<f32>,
    score: f32,
    alert: bool,
    fallback: Option<Fallback>,
}

async fn one(args: &Replay, files: &DecisionFiles, id: &str) -> anyhow::Result<()> {
    let parsed = uuid::Uuid::parse_str(id).with_context(|| format!("--id {id:?} is not the id of a decision"))?;
    let (found, report) = files.find(parsed.as_bytes(), |decision| Found {
        shown: shown(decision),
        model: Arc::clone(decision.model),
        features: decision.features().collect(),
        score: decision.score,
        alert: decision.asked_for_alert(),
        fallback: decision.fallback,
    })?;
    report.warn();
    let Some(mut found) = found else {
        report.into_result().with_context(|| format!("decision {id} is not in what can be read of the log"))?;
        bail!("the log has no decision {id}")
    };
    let mut shadows = Vec::new();
    let report = files.about(parsed.as_bytes(), |record| {
        if let Record::Shadow(shadow) = record {
            shadows.push(json!({
                "model": { "name": shadow.model.name, "version": shadow.model.version },
                "score": shortest(shadow.score), "action": action(shadow.alert),
            }));
        }
        true
    })?;
    report.warn();
    found.shown["shadow"] = json!(shadows);
    let model = load_logged(&args.logged.state, &found.model).await?;
    let package = &model.package;
    let names = package.signature.columns.iter().map(|column| column.name.clone());
    found.shown["features"] = names.zip(&found.features).map(|(name, value)| (name, shortest(*value))).collect();
    if let Ok(contributions) = model.contributions(&found.features) {
        let names = package.signature.columns.iter().map(|column| column.name.clone()).chain(["(expected)".to_owned()]);
        found.shown["contributions"] = names.zip(contributions).map(|(name, value)| (name, shortest(value))).collect();
    }
    let score = package.forest.score(&found.features);
    // What no model decided cannot come out the same by one.
    if !Fallback::is_of_a_model(found.fallback) {
        found.shown["replayed"] = json!({ "score": shortest(score), "same_bits": null });
        return print(args, &found.shown);
    }
    let same =
        score.to_bits() == found.score.to_bits() && Decision::new(score, found.model.threshold).alert == found.alert;
    found.shown["replayed"] = json!({ "score": shortest(score), "same_bits": same });
    print(args, &found.shown)?;
    if !same {
        bail!(
            "re-scored, decision {id} comes out as {score} instead of {}: the model file or serin changed",
            found.score
        );
    }
    Ok(())
}

fn print(args: &Replay, shown: &Value) -> anyhow::Result<()> {
    if args.json {
        say(shown);
    } else {
        say(serde_json::to_string_pretty(shown)?);
    }
    Ok(())
}

fn action(alert: bool) -> &'static str {
    if alert { "alert" } else { "pass" }
}

fn shown(decision: &LoggedDecision<'_>) -> Value {
    let time = |ms| jiff::Timestamp::from_millisecond(ms).map(|time| time.to_string()).ok();
    json!({
        "decision_id": uuid::Uuid::from_bytes(decision.id).to_string(),
        "at": time(decision.at_ms()),
        "transaction_id": decision.transaction_id,
        "entity": decision.entity,
        "timestamp": decision.event_time_ms.and_then(time),
        "model": { "name": decision.model.name, "version": decision.model.version, "sha256": hex(&decision.model.sha256) },
        "score": shortest(decision.score),
        "score_bits": format!("0x{:08x}", decision.score.to_bits()),
        "threshold": shortest(decision.model.threshold),
        "action": action(decision.alert),
        "exploration": decision.propensity.map(|propensity| json!({ "propensity": shortest(propensity), "let_through": !decision.alert })),
        "fallback": decision.fallback.map(Fallback::name),
        "release": decision.assigned.map(|assigned| json!({
            "candidate_weight": f64::from(assigned.weight) / 1e4, "arm": if assigned.candidate { "candidate" } else { "stable" },
        })),
        "latency_us": f64::from(decision.latency_ns) / 1e3,
    })
}

/// The shortest number that reads back to the same float32, as the server answers it.
fn shortest(value: f32) -> Value {
    serde_json::from_str(&value.to_string()).unwrap_or(Value::Null)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The very model that decided.
pub(crate) async fn load_logged(state: &State, logged: &DecidingModel) -> anyhow::Result<LoadedModel> {
    let uri = match logged.version.parse() {
        Ok(version) => ModelUri::Version(logged.name.clone(), version),
        Err(_) => ModelUri::Path(logged.name.clone().into()),
    };
    let model = load(state, &uri).await.with_context(|| format!("cannot load {uri}, which decided"))?;
    if model.deciding.sha256 != logged.sha256 {
        bail!(
            "{uri} is not the file that decided: its SHA-256 is {}, not {}",
            model.package.model_sha256,
            hex(&logged.sha256)
        );
    }
    Ok(model)
}

async fn load(state: &State, uri: &ModelUri) -> anyhow::Result<LoadedModel> {
    let resolved = match uri {
        ModelUri::Path(path) => ResolvedModel { name: None, version: None, path: path.clone() },
        uri => Registry::open(state).await?.resolve(uri).await?,
    };
    Ok(LoadedModel::load(&resolved, now_ms())?)
}

/// Logged traffic through another model.
#[derive(Debug, Default)]
struct PairedCounts {
    decisions: usize,
    same_bits: usize,
    logged_alerts: usize,
    alerts: usize,
    pass_to_alert: usize,
    alert_to_pass: usize,
    difference: f64,
    largest: f32,
    not_a_number: usize,
    /// Decisions that no model made, and that are therefore not compared.
    by_fallback: usize,
    labelled: Labelled,
}

/// A decision as it was logged, and what is known of it.
#[derive(Debug, Clone, Copy)]
struct Before {
    score: f32,
    alert: bool,
    label: Option<Label>,
}

impl PairedCounts {
    fn add(&mut self, logged: Before, score: f32, alert: bool) {
        self.decisions += 1;
        self.same_bits += usize::from(logged.score.to_bits() == score.to_bits());
        self.logged_alerts += usize::from(logged.alert);
        self.alerts += usize::from(alert);
        self.pass_to_alert += usize::from(alert && !logged.alert);
        self.alert_to_pass += usize::from(!alert && logged.alert);
        if let Some(label) = logged.label {
            self.labelled.add(label, [(logged.score, logged.alert), (score, alert)]);
        }
        let difference = (score - logged.score).abs();
        if difference.is_nan() {
            self.not_a_number += 1;
        } else {
            self.difference += f64::from(difference);
            self.largest = self.largest.max(difference);
        }
    }
}

async fn many(args: &Replay, files: &DecisionFiles, uri: &str) -> anyhow::Result<()> {
    let parsed: ModelUri = uri.parse().map_err(anyhow::Error::msg)?;
    let model = load(&args.logged.state, &parsed).await?;
    let Range { start: since, end: until } = range(&args.logged);
    // What the columns of a row mean is in the model that decided; one that is gone is taken to have had the same.
    let mut columns = HashMap::new();
    for logged in &files.models(since, until)?.0 {
        columns.insert(logged.sha256, translation(args, logged, &model).await?);
    }
    let labels = args.labels.as_deref().map(Labels::read).transpose()?.unwrap_or_default();
    let start = Instant::now();
    let mut paired = PairedCounts::default();
    let mut rows: Vec<f32> = Vec::new();
    let mut logged: Vec<Before> = Vec::new();
    let mut margins = Vec::new();
    let mut score = |rows: &mut Vec<f32>, logged: &mut Vec<Before>| {
        margins.clear();
        margins.resize(logged.len(), 0.0);
        model.package.forest.margins_into(rows, &mut margins);
        model.package.forest.scores_from_margins(&mut margins);
        for (before, score) in logged.iter().zip(&margins) {
            paired.add(*before, *score, Decision::new(*score, model.package.threshold).alert);
        }
        rows.clear();
        logged.clear();
    };
    let mut row = Vec::new();
    let mut by_fallback = 0;
    let read = files.read(since, until, |decision| {
        if !Fallback::is_of_a_model(decision.fallback) {
            by_fallback += 1;
            return true;
        }
        let Some(translation) = columns.get(&decision.model.sha256) else { return true };
        row.clear();
        row.extend(decision.features());
        translation.append(&row, &mut rows);
        logged.push(Before {
            score: decision.score,
            alert: decision.asked_for_alert(),
            label: labels.of(decision.transaction_id),
        });
        if logged.len() == BATCH {
            score(&mut rows, &mut logged);
        }
        true
    })?;
    read.warn();
    score(&mut rows, &mut logged);
    paired.by_fallback = by_fallback;
    report(args, uri, &paired, start.elapsed().as_secs_f64())
}

/// Makes rows of the model out of rows that another one decided on.
async fn translation(args: &Replay, logged: &DecidingModel, model: &LoadedModel) -> anyhow::Result<Translation> {
    let wanted = &model.package.signature;
    if model.deciding.sha256 == logged.sha256 {
        return Ok(Translation::same(wanted));
    }
    let decided = || format!("{} {} decided, and this model cannot score its rows", logged.name, logged.version);
    if let Ok(before) = load_logged(&args.logged.state, logged).await {
        return match Translation::between(&before.package.signature, wanted) {
            Err(TranslationError::Missing(column)) => {
                bail!("{} {} decided without a column {column:?}, which this model needs", logged.name, logged.version)
            }
            made => made.with_context(decided),
        };
    }
    if wanted.columns.len() != logged.width {
        bail!(
            "{} {} decided on {} columns, this model has {}, and the names are gone with the model",
            logged.name,
            logged.version,
            logged.width,
            wanted.columns.len()
        )
    }
    Translation::assumed(wanted).with_context(decided)
}

fn report(args: &Replay, uri: &str, paired: &PairedCounts, seconds: f64) -> anyhow::Result<()> {
    let n = paired.decisions;
    if n + paired.by_fallback == 0 {
        bail!("the log has no decision in that time");
    }
    let share = |count: usize| if n == 0 { 0.0 } else { count as f64 / n as f64 };
    if args.json {
        let mut shown = json!({
            "model": uri, "decisions": n, "same_bits": paired.same_bits,
            "logged_alert_rate": share(paired.logged_alerts), "alert_rate": share(paired.alerts),
            "pass_to_alert": paired.pass_to_alert, "alert_to_pass": paired.alert_to_pass,
            "mean_abs_score_difference": paired.difference / n.max(1) as f64, "max_abs_score_difference": paired.largest,
            "not_a_number": paired.not_a_number, "by_fallback": paired.by_fallback, "seconds": seconds,
        });
        if args.labels.is_some() {
            shown["labelled"] = paired.labelled.json();
        }
        say(shown);
        return Ok(());
    }
    say(format_args!("{n} logged decisions re-scored by {uri} in {seconds:.2} s"));
    say(format_args!("  same score to the bit   {} ({:.2} %)", paired.same_bits, share(paired.same_bits) * 100.0));
    say(format_args!(
        "  alert rate              {:.4} % logged, {:.4} % now",
        share(paired.logged_alerts) * 100.0,
        share(paired.alerts) * 100.0
    ));
    say(format_args!("  pass, now alert         {}", paired.pass_to_alert));
    say(format_args!("  alert, now pass         {}", paired.alert_to_pass));
    say(format_args!(
        "  score difference        {:.6} in the mean, {:.6} at most",
        paired.difference / n.max(1) as f64,
        paired.largest
    ));
    if paired.by_fallback > 0 {
        say(format_args!("  by a fallback           {} (not re-scored)", paired.by_fallback));
    }
    if paired.not_a_number > 0 {
        say(format_args!("  no number               {}", paired.not_a_number));
    }
    if args.labels.is_some() {
        say(paired
            .labelled
            .table()
            .unwrap_or_else(|| "  labelled                no decision with such a transaction id".to_owned()));
    }
    Ok(())
}

fn erase(files: &DecisionFiles, entity: &str) -> anyhow::Result<()> {
    let erased = files.erase(entity)?;
    say(format_args!("removed {} decisions about {entity:?}", erased.decisions));
    if erased.open_segments > 0 {
        bail!(
            "{} segments are being written by a running server and were left alone; they are sealed after an hour, or when it stops: run this again then",
            erased.open_segments
        );
    }
    for damage in &erased.suspect {
        say(format_args!("not removed, damaged, and {entity:?} stands in it: {damage}"));
    }
    for damage in &erased.unread.damages {
        say(format_args!("could not be read: {damage}"));
    }
    for file in &erased.unread.unreadable {
        say(format_args!("could not be read or written: {file}"));
    }
    if !erased.is_complete() {
        bail!("the log may still hold decisions about {entity:?}, in the places named above");
    }
    Ok(())
}
