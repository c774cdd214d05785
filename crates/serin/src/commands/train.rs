//! `serin train`: a file of rows to a registered version.

use super::stopping::Watch;
use super::{now_ms, progress, say};
use crate::cli::{Columns, ThresholdRule, Train, TrainingOptions};
use crate::registry::Registry;
use anyhow::Context;
use serin_analysis::threshold::Rule;
use serin_batch::training::{SplitRule, Trained, TrainingPlan, TrainingRows, TrainingStep, train};
use serin_dataset::{Dataset, Roles, parse_timestamp, read};
use serin_tracking::Tag;
use serin_training::Parameters;
use std::collections::BTreeMap;
use std::time::Instant;

pub(crate) async fn run(args: &Train) -> anyhow::Result<()> {
    let plan = TrainingPlan {
        register: !args.no_register,
        alias: args.alias.clone(),
        stage: args.stage.as_deref().map(str::parse).transpose()?,
        ..plan(&args.options, &args.model_name, &args.columns.data)
    };
    let split = split(args)?;
    let registry = Registry::open(&args.state).await?;
    let start = Instant::now();
    let dataset = read_with_progress(&args.columns.data, &roles(&args.columns))?;
    let read_seconds = start.elapsed().as_secs_f64();
    let rows = TrainingRows::split(&dataset, &split)?;
    drop(dataset);
    let watch = Watch::over(registry.clone(), None)?;
    let trained = train(&registry, &plan, &rows, now_ms, &mut watched(&watch)).await?;
    drop(watch);
    show(args, &trained, read_seconds);
    Ok(())
}

fn show(args: &Train, trained: &Trained, read_seconds: f64) {
    if args.json {
        let json = serde_json::json!({
            "run_id": trained.run_id, "model_name": args.model_name, "version": trained.version,
            "package": trained.package, "threshold": trained.threshold, "rounds": trained.rounds,
            "train_rows": trained.train_rows, "test_rows": trained.test_rows, "metrics": trained.metrics,
        });
        say(json);
        return;
    }
    say(format_args!(
        "{} rows read in {read_seconds:.1} s, {} rounds on {} rows in {:.1} s, tested on {} later rows",
        trained.train_rows + trained.test_rows,
        trained.rounds,
        trained.train_rows,
        trained.took_ms as f64 / 1000.0,
        trained.test_rows
    ));
    say_metrics(&trained.metrics, trained.threshold);
    match trained.version {
        Some(version) => say(format_args!("registered as {} version {version}", args.model_name)),
        None => say("not registered (--no-register)"),
    }
    say(format_args!("report: {}/report.html", trained.package));
    let registered = trained.version.map(|version| format!("models:/{}/{version}", args.model_name));
    let uri = registered.unwrap_or_else(|| trained.package.clone());
    say(format_args!("serve it: serin serve --state {} -m {uri}", args.state.state.display()));
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
    let mut observe = bars();
    Ok(read(data, roles, &mut |rows, done, total| observe(TrainingStep::Reading(rows, done, total)))?)
}

/// Shows the steps of a training as bars.
pub(crate) fn bars() -> impl FnMut(TrainingStep<'_>) + Send {
    let steps = progress::Steps::default();
    move |step| match step {
        TrainingStep::RunBegun(_) | TrainingStep::RetrainingBegun(_) => {}
        TrainingStep::Reading(rows, done, total) => {
            steps.show("reading", done, total.max(1)).set_message(format!("{rows} rows"));
        }
        TrainingStep::Round(round, most) => {
            let bar = steps.show("training", round.round as u64 + 1, most as u64);
            if let Some((_, metric, value)) = round.metrics.last() {
                bar.set_message(format!("{metric} {value:.4}"));
            }
        }
    }
}

/// Shows the steps of a training as bars, and lets a watch note what they begin.
pub(crate) fn watched(watch: &Watch) -> impl FnMut(TrainingStep<'_>) + Send {
    let mut bars = bars();
    move |step| {
        watch.note(&step);
        bars(step);
    }
}

/// The training that options ask for, of rows from `source`, which registers a version.
pub(crate) fn plan(options: &TrainingOptions, model: &str, source: &str) -> TrainingPlan {
    TrainingPlan {
        model: model.to_owned(),
        experiment: options.experiment.clone(),
        user: std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned()),
        tags: options.tag.iter().map(|(name, value)| Tag::new(name, value)).collect(),
        source: source.to_owned(),
        parameters: Parameters {
            set: options.set.clone(),
            rounds: options.rounds,
            early_stopping: options.early_stopping,
        },
        rule: rule(&options.rule),
        reference_rows: options.reference_rows,
        descriptions: options.describe.iter().cloned().collect(),
        register: true,
        alias: None,
        stage: None,
    }
}

fn split(args: &Train) -> anyhow::Result<SplitRule> {
    if let Some(share) = args.random_split {
        return Ok(SplitRule::Random(share));
    }
    let date = |text: &String| {
        parse_timestamp(text).with_context(|| format!("--train-from {text:?} is not a date such as 2018-07-25"))
    };
    Ok(SplitRule::Later {
        train_from_ms: args.train_from.as_ref().map(date).transpose()?,
        train_days: args.train_days,
        delay_days: args.delay_days,
        test_days: args.test_days,
        keep_known_cards: args.keep_known_cards,
    })
}

fn rule(rule: &ThresholdRule) -> Rule {
    match rule {
        ThresholdRule { alert_rate: Some(rate), .. } => Rule::AlertRate(*rate),
        ThresholdRule { review_capacity: Some(per_day), .. } => Rule::ReviewCapacity(*per_day),
        ThresholdRule { cost: Some(review), .. } => Rule::Cost(*review),
        ThresholdRule { threshold, .. } => Rule::Fixed(threshold.unwrap_or(0.5)),
    }
}
