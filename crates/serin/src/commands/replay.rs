//! `serin replay`: logged decisions, re-scored.

use super::{now_ms, say};
use crate::cli::{Logged, Replay};
use crate::registry::RegistryWhenAsked;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use serin_batch::labelled::{LabelColumns, LabelledDecisions, LabelledFigures, Labels};
use serin_batch::models::{hex, load};
use serin_batch::replay::{ExplainedDecision, PairedCounts, Rescoring, ShadowScore, explain};
use serin_decisions::{DecisionFiles, Fallback};
use serin_scorer::serve::DECISIONS;
use std::ops::Range;
use std::time::Instant;
use uuid::Uuid;

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

/// Opens the decision log that the options name.
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

async fn one(args: &Replay, files: &DecisionFiles, id: &str) -> anyhow::Result<()> {
    let parsed = Uuid::parse_str(id).with_context(|| format!("--id {id:?} is not the id of a decision"))?;
    let explained = explain(files, &RegistryWhenAsked::of(&args.logged.state), parsed, now_ms()).await?;
    let shown = shown(&explained);
    if args.json {
        say(shown);
    } else {
        say(serde_json::to_string_pretty(&shown)?);
    }
    if explained.same_bits == Some(false) {
        bail!(
            "re-scored, decision {id} comes out as {} instead of {}: the model file or serin changed",
            explained.score,
            explained.logged.score
        );
    }
    Ok(())
}

fn action(alert: bool) -> &'static str {
    if alert { "alert" } else { "pass" }
}

fn shown(explained: &ExplainedDecision) -> Value {
    let (decision, columns) = (&explained.logged, &explained.model.package.signature.columns);
    let time = |ms| jiff::Timestamp::from_millisecond(ms).map(|time| time.to_string()).ok();
    let names = || columns.iter().map(|column| column.name.clone());
    let named = |names: &mut dyn Iterator<Item = String>, values: &[f32]| -> Value {
        names.zip(values).map(|(name, value)| (name, shortest(*value))).collect()
    };
    let shadow = |shadow: &ShadowScore| {
        json!({
            "model": { "name": shadow.model.name, "version": shadow.model.version },
            "score": shortest(shadow.score), "action": action(shadow.alert),
        })
    };
    let mut shown = json!({
        "decision_id": decision.id.to_string(),
        "at": time(decision.at_ms),
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
        "shadow": explained.shadows.iter().map(shadow).collect::<Vec<_>>(),
        "features": named(&mut names(), &decision.features),
        "replayed": { "score": shortest(explained.score), "same_bits": explained.same_bits },
    });
    if let Some(contributions) = &explained.contributions {
        shown["contributions"] = named(&mut names().chain(["(expected)".to_owned()]), contributions);
    }
    shown
}

/// The shortest number that reads back to the same float32, as the server answers it.
fn shortest(value: f32) -> Value {
    serde_json::from_str(&value.to_string()).unwrap_or(Value::Null)
}

async fn many(args: &Replay, files: &DecisionFiles, uri: &str) -> anyhow::Result<()> {
    let registry = RegistryWhenAsked::of(&args.logged.state);
    let model = load(&registry, &uri.parse()?, now_ms()).await?;
    let rescoring = Rescoring::of(files, &registry, &model, range(&args.logged), now_ms()).await?;
    let labels = args.labels.as_deref().map(labels).transpose()?.unwrap_or_default();
    let start = Instant::now();
    let paired = rescoring.run(&labels)?;
    report(args, uri, &paired, start.elapsed().as_secs_f64());
    Ok(())
}

/// Reads `FILE[:ID,LABEL[,AMOUNT]]`: CSV or Parquet, columns `transaction_id` and `label` where none is named.
fn labels(argument: &str) -> anyhow::Result<Labels> {
    let (file, columns) = argument.rsplit_once(':').unwrap_or((argument, "transaction_id,label"));
    let (id, label, amount) = match columns.split(',').collect::<Vec<_>>()[..] {
        [id, label] => (id, label, None),
        [id, label, amount] => (id, label, Some(amount)),
        _ => bail!("--labels {argument}: write FILE or FILE:ID,LABEL or FILE:ID,LABEL,AMOUNT"),
    };
    let columns =
        LabelColumns { transaction_id: id.to_owned(), label: label.to_owned(), amount: amount.map(str::to_owned) };
    Labels::read(file, &columns)
        .with_context(|| format!("--labels {argument} (FILE:ID,LABEL,AMOUNT names its columns)"))
}

fn report(args: &Replay, uri: &str, paired: &PairedCounts, seconds: f64) {
    let (n, share) = (paired.decisions, |count| paired.share(count));
    if args.json {
        let mut shown = json!({
            "model": uri, "decisions": n, "same_bits": paired.same_bits,
            "logged_alert_rate": share(paired.logged_alerts), "alert_rate": share(paired.alerts),
            "pass_to_alert": paired.pass_to_alert, "alert_to_pass": paired.alert_to_pass,
            "mean_abs_score_difference": paired.mean_abs_difference(), "max_abs_score_difference": paired.max_abs_difference,
            "not_a_number": paired.not_a_number, "by_fallback": paired.by_fallback, "seconds": seconds,
        });
        if args.labels.is_some() {
            shown["labelled"] = labelled_json(&paired.labelled);
        }
        say(shown);
        return;
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
        paired.mean_abs_difference(),
        paired.max_abs_difference
    ));
    if paired.by_fallback > 0 {
        say(format_args!("  by a fallback           {} (not re-scored)", paired.by_fallback));
    }
    if paired.not_a_number > 0 {
        say(format_args!("  no number               {}", paired.not_a_number));
    }
    if args.labels.is_some() {
        print_labelled(&paired.labelled);
    }
}

fn labelled_json(labelled: &LabelledDecisions) -> Value {
    let [logged, now] = labelled.figures().map(|model| {
        json!({
            "average_precision": model.average_precision, "roc_auc": model.roc_auc, "precision": model.precision,
            "recall": model.recall, "alerts": model.alerts, "caught": model.caught, "missed_amount": model.missed_amount,
        })
    });
    json!({ "decisions": labelled.decisions(), "frauds": labelled.frauds(), "logged": logged, "now": now })
}

fn print_labelled(labelled: &LabelledDecisions) {
    if labelled.decisions() == 0 {
        say("  labelled                no decision with such a transaction id");
        return;
    }
    say(format_args!(
        "  labelled                {} decisions, {} frauds     logged         now",
        labelled.decisions(),
        labelled.frauds()
    ));
    let figures = labelled.figures();
    let row = |name: &str, digits: usize, figure: fn(&LabelledFigures) -> Option<f64>| {
        let number = |value: Option<f64>| {
            value.filter(|value| value.is_finite()).map_or("—".to_owned(), |value| format!("{value:.digits$}"))
        };
        let [logged, now] = figures.each_ref().map(|model| number(figure(model)));
        say(format_args!("    {name:<22}{logged:>12}{now:>12}"));
    };
    row("average precision", 4, |model| model.average_precision);
    row("precision", 4, |model| model.precision);
    row("recall", 4, |model| model.recall);
    row("frauds caught", 0, |model| Some(model.caught as f64));
    row("amount missed", 2, |model| Some(model.missed_amount));
    // The table ends with an empty line.
    say("");
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
