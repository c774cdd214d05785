//! `serin train`: file → dataset → XGBoost → evaluation → package → run and registered version.

use super::{now_ms, progress, say};
use crate::cli::{Columns, ThresholdRule, Train};
use crate::registry::Registry;
use anyhow::{Context, bail};
use serin_analysis::threshold::Rule;
use serin_dataset::{Dataset, Roles, Split, TimeSplit, parse_timestamp, random_split, read};
use serin_scoring::Forest;
use serin_tracking::{Change, Metric, Registration, RunStatus, Stage, Tag};
use serin_training::{Evaluation, Fitted, PackageInputs, Parameters, build_package, evaluate, fit};
use std::collections::BTreeMap;
use std::time::Instant;

/// What came out of a training.
pub(crate) struct Outcome {
    pub(crate) metrics: BTreeMap<String, f64>,
    pub(crate) threshold: f32,
    pub(crate) run_id: String,
    pub(crate) version: Option<i64>,
    /// Folder of the package, or its URI.
    pub(crate) package: String,
    pub(crate) train_rows: usize,
    pub(crate) test_rows: usize,
    pub(crate) rounds: usize,
    pub(crate) read_seconds: f64,
    pub(crate) fit_seconds: f64,
}

pub(crate) async fn run(args: &Train) -> anyhow::Result<()> {
    let outcome = train(args).await?;
    if args.json {
        let json = serde_json::json!({
            "run_id": outcome.run_id, "model_name": args.model_name, "version": outcome.version,
            "package": outcome.package, "threshold": outcome.threshold, "rounds": outcome.rounds,
            "train_rows": outcome.train_rows, "test_rows": outcome.test_rows, "metrics": outcome.metrics,
        });
        say(json);
        return Ok(());
    }
    say(format_args!(
        "{} rows read in {:.1} s, {} rounds on {} rows in {:.1} s, tested on {} later rows",
        outcome.train_rows + outcome.test_rows,
        outcome.read_seconds,
        outcome.rounds,
        outcome.train_rows,
        outcome.fit_seconds,
        outcome.test_rows
    ));
    say_metrics(&outcome.metrics, outcome.threshold);
    match outcome.version {
        Some(version) => say(format_args!("registered as {} version {version}", args.model_name)),
        None => say("not registered (--no-register)"),
    }
    say(format_args!("report: {}", format_args!("{}/report.html", outcome.package)));
    let uri = outcome
        .version
        .map_or_else(|| outcome.package.clone(), |version| format!("models:/{}/{version}", args.model_name));
    say(format_args!("serve it: serin serve --state {} -m {uri}", args.state.state.display()));
    Ok(())
}

pub(crate) fn say_metrics(metrics: &BTreeMap<String, f64>, threshold: f32) {
    say(format_args!("threshold {threshold}"));
    for (name, value) in metrics {
        if value.fract() == 0.0 && value.abs() < 1e15 {
            say(format_args!("  {name:<24} {value:>14}"));
        } else {
            say(format_args!("  {name:<24} {value:>14.4}"));
        }
    }
}

pub(crate) fn roles(columns: &Columns) -> Roles {
    Roles {
        label: columns.label.clone(),
        time: columns.time.clone(),
        entity: columns.entity.clone(),
        amount: columns.amount.clone(),
        weight: columns.weight.clone(),
        features: columns.features.clone(),
        exclude: columns.exclude.clone(),
        signature: None,
    }
}

pub(crate) fn read_with_progress(data: &str, roles: &Roles) -> anyhow::Result<Dataset> {
    let bar = progress::bar("reading", 1);
    let dataset = read(data, roles, &mut |rows, done, total| {
        bar.set_length(total.max(1));
        bar.set_position(done);
        bar.set_message(format!("{rows} rows"));
    })?;
    bar.finish_and_clear();
    Ok(dataset)
}

pub(crate) async fn train(args: &Train) -> anyhow::Result<Outcome> {
    train_into(args, &Registry::open(&args.state).await?, None).await
}

/// Trains into a registry that is open. `newer` are rows that the file has not: live traffic is compared with them, too.
pub(crate) async fn train_into(args: &Train, registry: &Registry, newer: Option<&Dataset>) -> anyhow::Result<Outcome> {
    let stage: Option<Stage> = args.stage.as_deref().map(str::parse).transpose()?;
    let start = Instant::now();
    let dataset = read_with_progress(&args.columns.data, &roles(&args.columns))?;
    let read_seconds = start.elapsed().as_secs_f64();
    if let Some((name, _)) = args.describe.iter().find(|(name, _)| dataset.signature.position(name).is_none()) {
        anyhow::bail!("--describe {name}=…: {name:?} is none of the features");
    }
    let (split, later) = split(args, &dataset)?;
    let (train, test) = (dataset.take(&split.train), dataset.take(&split.test));
    let later = dataset.take(&later);
    let later = match newer.filter(|newer| newer.signature.columns.len() == later.width()) {
        Some(newer) => {
            let newer = Dataset { signature: later.signature.clone(), ..newer.clone() };
            later.and(&newer)
        }
        None => later,
    };
    drop(dataset);

    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let started = now_ms();
    let run_id = registry.start_run(&args.experiment, &args.model_name, &user, started, tags(args)).await?;
    let start = Instant::now();
    let rule = rule(&args.rule);
    let work = fit_and_package(args, [&train, &test, &later], rule, &run_id);
    let (fitted, evaluation, files) = match work {
        Ok(work) => work,
        Err(error) => {
            registry.finish_run(&run_id, RunStatus::Failed, now_ms()).await?;
            return Err(error);
        }
    };
    let fit_seconds = start.elapsed().as_secs_f64();

    log(registry, &run_id, args, &fitted, &evaluation, started).await?;
    let stored = registry.put_model(&run_id, files, super::now_ms()).await?;
    let mut version = None;
    if !args.no_register {
        let change = Change::new(user, "serin train", now_ms());
        let model =
            Registration { name: args.model_name.clone(), run_id: run_id.clone(), alias: args.alias.clone(), stage };
        version = Some(registry.register(&model, &stored, change).await?);
    }
    registry.finish_run(&run_id, RunStatus::Finished, now_ms()).await?;
    let package = stored.location;
    Ok(Outcome {
        metrics: evaluation.metrics,
        threshold: evaluation.threshold,
        run_id,
        version,
        package,
        train_rows: train.rows(),
        test_rows: test.rows(),
        rounds: fitted.rounds,
        read_seconds,
        fit_seconds,
    })
}

fn tags(args: &Train) -> Vec<Tag> {
    args.tag.iter().map(|(name, value)| Tag::new(name, value)).collect()
}

/// Training and test rows, and those that live traffic is compared with.
fn split(args: &Train, dataset: &Dataset) -> anyhow::Result<(Split, Vec<usize>)> {
    if let Some(share) = args.random_split {
        if !(0.0..1.0).contains(&share) || share == 0.0 {
            bail!("--random-split {share}: the share of test rows lies between 0 and 1");
        }
        let split = random_split(dataset.rows(), share, 0);
        let later = split.test.clone();
        return Ok((split, later));
    }
    let mut split = TimeSplit::at_the_end(dataset, args.delay_days, args.test_days)?;
    split.drop_known_entities = !args.keep_known_cards;
    if let Some(from) = &args.train_from {
        let from_ms =
            parse_timestamp(from).with_context(|| format!("--train-from {from:?} is not a date such as 2018-07-25"))?;
        let end_ms = split.train_from_ms + i64::from(split.train_days) * 86_400_000;
        split.train_from_ms = from_ms;
        split.train_days =
            args.train_days.unwrap_or_else(|| u32::try_from((end_ms - from_ms) / 86_400_000).unwrap_or(0));
    }
    Ok((split.split(dataset)?, split.after_training(dataset)))
}

pub(crate) fn rule(rule: &ThresholdRule) -> Rule {
    match rule {
        ThresholdRule { alert_rate: Some(rate), .. } => Rule::AlertRate(*rate),
        ThresholdRule { review_capacity: Some(per_day), .. } => Rule::ReviewCapacity(*per_day),
        ThresholdRule { cost: Some(review), .. } => Rule::Cost(*review),
        ThresholdRule { threshold, .. } => Rule::Fixed(threshold.unwrap_or(0.5)),
    }
}

type Work = (Fitted, Evaluation, Vec<(String, Vec<u8>)>);

fn fit_and_package(args: &Train, rows: [&Dataset; 3], rule: Rule, run_id: &str) -> anyhow::Result<Work> {
    let [train, test, later] = rows;
    let parameters = Parameters { set: args.set.clone(), rounds: args.rounds, early_stopping: args.early_stopping };
    let bar = progress::bar("training", args.rounds as u64);
    let mut observe = |round: serin_training::Round<'_>| {
        bar.set_position(round.round as u64 + 1);
        if let Some((_, metric, value)) = round.metrics.last() {
            bar.set_message(format!("{metric} {value:.4}"));
        }
    };
    let fitted = if args.early_stopping.is_some() {
        let (early, late) = last_fifth(train);
        fit(&early, Some(&late), &parameters, &mut observe)?
    } else {
        fit(train, None, &parameters, &mut observe)?
    };
    bar.finish_and_clear();
    let forest = Forest::from_bytes(&fitted.model)?;
    let review_cost = args.rule.cost.unwrap_or(0.0);
    let evaluation = evaluate(&forest, test, rule, review_cost);
    let created = jiff::Timestamp::from_millisecond(now_ms())?.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let inputs = PackageInputs {
        fitted: &fitted,
        train,
        test,
        later,
        reference_rows: args.reference_rows,
        evaluation: &evaluation,
        descriptions: &args.describe.iter().cloned().collect(),
        rule,
        source: &args.columns.data,
        run_id,
        created: &created,
    };
    let (files, _) = build_package(&inputs)?;
    let files = files.into_iter().map(|file| (file.name.to_owned(), file.bytes)).collect();
    Ok((fitted, evaluation, files))
}

/// By time where there is one, else by row order.
fn last_fifth(train: &Dataset) -> (Dataset, Dataset) {
    let mut order: Vec<usize> = (0..train.rows()).collect();
    if !train.times.is_empty() {
        order.sort_by_key(|row| train.times[*row]);
    }
    let cut = order.len() - order.len() / 5;
    (train.take(&order[..cut]), train.take(&order[cut..]))
}

async fn log(
    registry: &Registry,
    run_id: &str,
    args: &Train,
    fitted: &Fitted,
    evaluation: &Evaluation,
    at_ms: i64,
) -> anyhow::Result<()> {
    let parameters = Parameters { set: args.set.clone(), rounds: args.rounds, early_stopping: args.early_stopping };
    let mut params: Vec<Tag> = parameters.effective().into_iter().map(|(key, value)| Tag { key, value }).collect();
    params.push(Tag::new("rounds", fitted.rounds.to_string()));
    params.push(Tag::new("threshold", evaluation.threshold.to_string()));
    let mut metrics: Vec<Metric> = evaluation
        .metrics
        .iter()
        .map(|(key, value)| Metric { key: key.clone(), value: *value, timestamp_ms: at_ms, ..Metric::default() })
        .collect();
    metrics.extend(fitted.history.iter().map(|(round, set, metric, value)| Metric {
        key: format!("{set}-{metric}"),
        value: *value,
        timestamp_ms: at_ms,
        step: *round as i64,
        ..Metric::default()
    }));
    registry.log(run_id, metrics, params).await
}
