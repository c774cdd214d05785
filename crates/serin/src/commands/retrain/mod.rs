//! `serin retrain`: rows whose labels are complete → training → the gate → challenger, or discarded with the reason.
//! Nothing is promoted here: a challenger is released by a rollout.

mod launch;
mod rows;

use super::{now_ms, say, server, train};
use crate::cli::{Cli, Command, Retrain};
use crate::registry::Registry;
use anyhow::{Context, bail};
use clap::Parser;
use rows::Rows;
use serde_json::json;
use serin_analysis::performance::{Comparison, Difference, Gate, GateRules, PairedRow, compare, gate};
use serin_analysis::threshold::Rule;
use serin_dataset::{Dataset, ROLE_COLUMNS, write_dataset};
use serin_models::LoadedModel;
use serin_scoring::{Manifest, Translation};
use serin_store::Store;
use serin_tracking::{ModelUri, ResolvedModel, Tag};
use std::path::Path;
use std::time::Instant;

pub(crate) use launch::Process;

const RESAMPLES: usize = 1000;
/// Rows whose scoring is timed at once.
const TIMED: usize = 512;

/// What came of a retraining.
struct Outcome {
    accepted: bool,
    version: Option<i64>,
    verdict: String,
    comparison: Option<Comparison>,
}

pub(crate) async fn run(args: &Retrain) -> anyhow::Result<()> {
    let store = server::open(&args.backend, false).await?;
    let registry = Registry::Embedded { store: store.clone(), cache: args.backend.state.join("cache") };
    let as_of_ms = match args.as_of.as_deref() {
        None => now_ms(),
        Some("newest") => rows::newest(args)?,
        Some(text) => text.parse().or_else(|_| super::super::cli::moment(text)).context("--as-of")?,
    };
    let id = store.begin_retraining(&args.model, &args.cause, &args.reason, as_of_ms).await?;
    let started = Instant::now();
    let result = retrain(args, &store, &registry, as_of_ms).await;
    // On the clock that it is dated by.
    let ended_ms = as_of_ms + started.elapsed().as_millis() as i64;
    match &result {
        Ok(outcome) => {
            let word = if outcome.accepted { "accepted" } else { "discarded" };
            store.end_retraining(&id, word, outcome.version, &outcome.verdict, ended_ms).await?;
            show(args, word, outcome);
        }
        Err(error) => store.end_retraining(&id, "failed", None, &format!("{error:#}"), ended_ms).await?,
    }
    result.map(drop)
}

fn show(args: &Retrain, word: &str, outcome: &Outcome) {
    if args.json {
        let figures = |found: &Difference| json!({ "champion": found.values[0], "challenger": found.values[1], "gain": found.gain, "interval": [found.interval.0, found.interval.1] });
        let comparison = outcome.comparison.as_ref().map(|found| {
            json!({
                "rows": found.rows, "frauds": found.frauds, "average_precision": figures(&found.average_precision),
                "recall": figures(&found.recall), "cost": figures(&found.cost), "log_loss": figures(&found.log_loss),
            })
        });
        say(
            json!({ "outcome": word, "version": outcome.version, "verdict": outcome.verdict, "comparison": comparison }),
        );
        return;
    }
    if let Some(found) = &outcome.comparison {
        say(format_args!(
            "on {} matured transactions that neither was trained on, {} frauds:",
            found.rows, found.frauds
        ));
        say(format_args!("  {:<20}{:>12}{:>12}   gain, 95 % interval", "", "champion", "challenger"));
        for (name, figure) in [
            ("average precision", &found.average_precision),
            ("recall", &found.recall),
            ("cost", &found.cost),
            ("log loss", &found.log_loss),
        ] {
            say(format_args!(
                "  {name:<20}{:>12.4}{:>12.4}   {:+.4} [{:+.4}, {:+.4}]",
                figure.values[0], figure.values[1], figure.gain, figure.interval.0, figure.interval.1
            ));
        }
    }
    let version = outcome.version.map_or_else(String::new, |version| format!("version {version} is "));
    say(format_args!("{version}{word}: {}", outcome.verdict));
    if outcome.accepted {
        say(format_args!("models:/{}@{} points at it: a rollout releases it", args.model, args.challenger));
    }
}

async fn retrain(args: &Retrain, store: &Store, registry: &Registry, as_of_ms: i64) -> anyhow::Result<Outcome> {
    let champion_uri: ModelUri = match &args.champion {
        Some(uri) => uri.parse().context("--champion")?,
        None => ModelUri::Alias(args.model.clone(), "champion".to_owned()),
    };
    let champion = registry.resolve(&champion_uri).await.with_context(|| format!("the champion {champion_uri}"))?;
    let live = LoadedModel::load(&champion, now_ms())?;
    let rows = rows::gather(args, store, registry, &live.package.signature, as_of_ms).await?;
    let discarded = |verdict: String| Ok(Outcome { accepted: false, version: None, verdict, comparison: None });
    if let Some(reason) = rows.too_little(args) {
        return discarded(reason);
    }
    let Rows { train: training, gate: judged, .. } = rows;
    let folder = args.backend.state.join("retraining");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{}-{as_of_ms}.parquet", serin_scorer::file_name(&args.model)));
    write_dataset(&training, &file)?;
    let result = train_on(args, registry, &champion, [&training, &judged], &file).await;
    // It holds transactions: no longer than they are needed.
    let _ = std::fs::remove_file(&file);
    let version = result?;
    let challenger = registry.resolve(&ModelUri::Version(args.model.clone(), version)).await?;
    let (comparison, latency) = judge(args, [&live, &LoadedModel::load(&challenger, now_ms())?], &judged)?;
    let rules = GateRules { min_frauds: args.min_frauds, ..GateRules::default() };
    let (accepted, verdict) = match gate(comparison.as_ref(), latency, &rules) {
        Gate::Accept(reason) => (true, reason),
        Gate::Discard(reason) => (false, reason),
    };
    let word = if accepted { "accepted" } else { "discarded" };
    let tag = Tag::new("serin.gate", format!("{word}: {verdict}").chars().take(4000).collect::<String>());
    store.set_model_version_tag(&args.model, version, tag).await?;
    if accepted {
        let alias = ModelUri::Alias(args.model.clone(), args.challenger.clone());
        registry.point(&alias, version, "serin retrain", &format!("{}: {verdict}", args.cause)).await?;
    }
    Ok(Outcome { accepted, version: Some(version), verdict, comparison })
}

/// Runs `serin train`'s work on the rows; the version it made.
async fn train_on(
    args: &Retrain,
    registry: &Registry,
    champion: &ResolvedModel,
    [training, judged]: [&Dataset; 2],
    file: &Path,
) -> anyhow::Result<i64> {
    let [label, time, entity, amount, weight] = ROLE_COLUMNS;
    let features: Vec<&str> = training.signature.columns.iter().map(|column| column.name.as_str()).collect();
    let mut line: Vec<String> =
        ["serin", "train", &file.display().to_string(), "--label", label, "--time", time].map(str::to_owned).to_vec();
    let mut option = |name: &str, value: &str| line.extend([name.to_owned(), value.to_owned()]);
    if !training.entities.is_empty() {
        option("--entity", entity);
    }
    if !training.amounts.is_empty() {
        option("--amount", amount);
    }
    if !training.weights.is_empty() {
        option("--weight", weight);
    }
    option("--features", &features.join(","));
    option("--model-name", &args.model);
    option("--delay-days", "0");
    option("--test-days", &args.test_days.to_string());
    for (name, value) in [("serin.cause", &args.cause), ("serin.reason", &args.reason)] {
        option("--tag", &format!("{name}={value}"));
    }
    // The log holds what comes, known cards and all.
    line.push("--keep-known-cards".to_owned());
    let own = |name: &str| args.training.iter().any(|given| given == name || given.starts_with(&format!("{name}=")));
    if !["--threshold", "--alert-rate", "--review-capacity", "--cost"].into_iter().any(own) {
        line.extend(rule_of(&champion.path).into_iter().flatten());
    }
    line.extend(args.training.iter().cloned());
    let parsed =
        Cli::try_parse_from(&line).map_err(|error| anyhow::anyhow!("{error}")).context("options of training")?;
    let Command::Train(options) = parsed.command else { unreachable!("the command is named") };
    let outcome = train::train_into(&options, registry, Some(judged)).await?;
    outcome.version.context("nothing was registered: take --no-register away")
}

/// The champion's rule for its threshold, as options; none where its package names none.
fn rule_of(package: &Path) -> Option<[String; 2]> {
    let manifest = Manifest::from_bytes(&std::fs::read(package.join("serin.json")).ok()?).ok()?;
    let (name, value) = match manifest.threshold_rule.parse().ok()? {
        Rule::AlertRate(rate) => ("--alert-rate", rate.to_string()),
        Rule::ReviewCapacity(per_day) => ("--review-capacity", per_day.to_string()),
        Rule::Cost(review) => ("--cost", review.to_string()),
        Rule::Fixed(threshold) => ("--threshold", threshold.to_string()),
    };
    Some([name.to_owned(), value])
}

/// Champion and challenger on the same rows, and their microseconds a row: those of the fastest block of [`TIMED`] rows, as what else
/// runs on the machine is not the model's doing.
fn judge(args: &Retrain, models: [&LoadedModel; 2], rows: &Dataset) -> anyhow::Result<(Option<Comparison>, [f64; 2])> {
    let mut sides = Vec::new();
    for package in models.map(|model| &model.package) {
        let translation = Translation::between(&rows.signature, &package.signature)?;
        let mut features = Vec::with_capacity(rows.rows() * translation.width());
        for row in rows.features.chunks_exact(rows.width()) {
            translation.append(row, &mut features);
        }
        let mut scores = vec![0.0; rows.rows()];
        let mut fastest = f64::INFINITY;
        for (features, scores) in features.chunks(TIMED * translation.width().max(1)).zip(scores.chunks_mut(TIMED)) {
            let start = Instant::now();
            package.forest.margins_into(features, scores);
            package.forest.scores_from_margins(scores);
            fastest = fastest.min(start.elapsed().as_secs_f64() * 1e6 / scores.len() as f64);
        }
        sides.push((scores, package.threshold, if fastest.is_finite() { fastest } else { 0.0 }));
    }
    let [(a, at_a, took_a), (b, at_b, took_b)] = &sides[..] else { bail!("there are two models") };
    let paired: Vec<PairedRow> = (0..rows.rows())
        .map(|row| PairedRow {
            fraud: rows.labels[row] == 1.0,
            amount: rows.amounts.get(row).copied().unwrap_or(0.0),
            scores: [a[row], b[row]],
            alerts: [a[row] >= *at_a, b[row] >= *at_b],
            weight: rows.weights.get(row).copied().map_or(1.0, f64::from),
        })
        .collect();
    Ok((compare(&paired, args.counting.review_cost, RESAMPLES, 0), [*took_a, *took_b]))
}
