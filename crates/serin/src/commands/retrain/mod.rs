//! `serin retrain`: the live model trained again on what has become known, judged against itself.

mod launch;

use super::stopping::Watch;
use super::{now_ms, say, server, train};
use crate::cli::{Counting, Retrain, TrainingOptions, moment};
use crate::registry::StoreLedger;
use anyhow::{Context, bail};
use serde_json::json;
use serin_analysis::performance::{Difference, Maturity};
use serin_batch::retraining::{Retrained, RetrainingLedger, RetrainingPlan, RowSource, newest_transaction, retrain};
use serin_dataset::Roles;
use serin_tracking::ModelUri;
use std::path::PathBuf;

pub(crate) use launch::Process;

const DAY_MS: f64 = 86_400_000.0;

pub(crate) async fn run(args: &Retrain) -> anyhow::Result<()> {
    let as_of_ms = match args.as_of.as_deref() {
        None => now_ms(),
        Some("newest") if args.data.is_some() => {
            bail!("--as-of newest is the newest transaction of the decision log: with --data write a time")
        }
        Some("newest") => newest_transaction(&log_of(args), &args.model)?,
        Some(text) => text.parse().or_else(|_| moment(text)).context("--as-of")?,
    };
    let source = source(args)?;
    let store = server::open(&args.backend, false).await?;
    let (registry, ledger) = StoreLedger::of(store, args.backend.state.join("cache"));
    let plan = match plan(args, as_of_ms) {
        Ok(plan) => plan,
        Err(error) => {
            // The history has it, so that the monitor does not set off the same failure every hour.
            let id = ledger.begin_retraining(&args.model, &args.cause, &args.reason, as_of_ms).await;
            let id = id.map_err(anyhow::Error::from_boxed)?;
            // Of what clap says, the usage is for the terminal.
            let verdict = format!("{error:#}").lines().next().unwrap_or_default().to_owned();
            let ended = ledger.end_retraining(&id, "failed", None, &verdict, as_of_ms).await;
            ended.map_err(anyhow::Error::from_boxed)?;
            return Err(error);
        }
    };
    let watch = Watch::over(registry.clone(), Some(ledger.clone()))?;
    let retrained = retrain(&registry, &ledger, &plan, &source, now_ms, &mut train::watched(&watch)).await?;
    drop(watch);
    show(args, &retrained);
    Ok(())
}

fn source(args: &Retrain) -> anyhow::Result<RowSource> {
    match (&args.data, &args.label, &args.time) {
        (None, ..) => Ok(RowSource::Log(log_of(args))),
        (Some(pattern), Some(label), Some(time)) => {
            let roles = Roles {
                label: label.clone(),
                time: Some(time.clone()),
                entity: args.entity.clone(),
                amount: args.amount.clone(),
                ..Roles::default()
            };
            Ok(RowSource::File { pattern: pattern.clone(), roles })
        }
        (Some(data), ..) => bail!("--data {data} needs --label and --time"),
    }
}

fn log_of(args: &Retrain) -> PathBuf {
    let own = || args.backend.state.join(serin_scorer::serve::DECISIONS);
    args.counting.decision_log.clone().unwrap_or_else(own)
}

fn plan(args: &Retrain, as_of_ms: i64) -> anyhow::Result<RetrainingPlan> {
    let options = TrainingOptions::of(&args.training)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("options of training, behind --")?;
    let source = args.data.as_deref().unwrap_or("the decision log");
    Ok(RetrainingPlan {
        model: args.model.clone(),
        champion: match &args.champion {
            Some(uri) => uri.parse().context("--champion")?,
            None => ModelUri::Alias(args.model.clone(), "champion".to_owned()),
        },
        challenger: args.challenger.clone(),
        cause: args.cause.clone(),
        reason: args.reason.clone(),
        as_of_ms,
        maturity: maturity(&args.counting)?,
        amount: args.amount.clone(),
        review_cost: args.counting.review_cost,
        gate_days: args.gate_days,
        train_days: args.train_days,
        test_days: args.test_days,
        min_frauds: args.min_frauds,
        min_coverage: args.min_coverage,
        champions_rule: !options.rule.is_given(),
        training: train::plan(&options, &args.model, source),
    })
}

fn maturity(counting: &Counting) -> anyhow::Result<Maturity> {
    let unlabelled_is_genuine = match counting.unlabelled.as_str() {
        "genuine" => true,
        "excluded" => false,
        other => bail!("--unlabelled {other:?}: write excluded or genuine"),
    };
    let days = counting.maturity_days;
    if !(0.0..=36_525.0).contains(&days) {
        bail!("--maturity-days {days}: write a number of days from 0 up");
    }
    Ok(Maturity { delay_ms: (days * DAY_MS) as i64, unlabelled_is_genuine })
}

fn show(args: &Retrain, retrained: &Retrained) {
    let word = retrained.outcome();
    if args.json {
        let figures = |found: &Difference| json!({ "champion": found.values[0], "challenger": found.values[1], "gain": found.gain, "interval": [found.interval.0, found.interval.1] });
        let comparison = retrained.comparison.as_ref().map(|found| {
            json!({
                "rows": found.rows, "frauds": found.frauds, "average_precision": figures(&found.average_precision),
                "recall": figures(&found.recall), "cost": figures(&found.cost), "log_loss": figures(&found.log_loss),
            })
        });
        say(json!({
            "outcome": word, "version": retrained.version, "verdict": retrained.verdict, "comparison": comparison,
        }));
        return;
    }
    if let Some(found) = &retrained.comparison {
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
    let version = retrained.version.map_or_else(String::new, |version| format!("version {version} is "));
    say(format_args!("{version}{word}: {}", retrained.verdict));
    if retrained.accepted {
        say(format_args!("models:/{}@{} points at it: a rollout releases it", args.model, args.challenger));
    }
}
