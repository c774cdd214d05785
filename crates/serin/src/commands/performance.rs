//! `serin performance`: how decisions turned out.

use super::say;
use crate::cli::{Performance, moment};
use crate::registry::Registry;
use serde_json::Value;

pub(crate) async fn run(args: &Performance) -> anyhow::Result<()> {
    let registry = Registry::open(&args.state).await?;
    let mut query = vec![
        ("name", args.model.clone()),
        ("maturity_days", args.counting.maturity_days.to_string()),
        ("unlabelled", args.counting.unlabelled.clone()),
        ("review_cost", args.counting.review_cost.to_string()),
        ("cards", args.cards.to_string()),
    ];
    // A day or a time, as --since takes it; "newest" and epoch milliseconds go as they are.
    let as_of = args.as_of.clone().map(|text| moment(&text).map_or(text, |time| time.to_string()));
    let optional = [
        ("since", args.since.map(|time| time.to_string())),
        ("until", args.until.map(|time| time.to_string())),
        ("as_of", as_of),
        ("by", args.by.clone()),
        ("amount", args.amount.clone()),
    ];
    query.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let log =
        args.counting.decision_log.clone().unwrap_or_else(|| args.state.state.join(serin_scorer::serve::DECISIONS));
    let found = registry.performance(&query, &log).await?;
    if args.json {
        say(found);
        return Ok(());
    }
    let groups = found["groups"].as_array().cloned().unwrap_or_default();
    if groups.is_empty() {
        say(format_args!("{} decided nothing in that time", args.model));
    }
    for group in &groups {
        print(group, &found);
    }
    Ok(())
}

fn print(group: &Value, found: &Value) {
    let name = group["group"].as_str().unwrap_or_default();
    let percent = |value: &Value| format!("{:.1} %", value.as_f64().unwrap_or(0.0) * 100.0);
    say(format_args!(
        "{}{}{}",
        found["name"].as_str().unwrap_or_default(),
        if name.is_empty() { "" } else { ", " },
        name
    ));
    say(format_args!(
        "  {} decisions, {} alerts; {} are {} days old, {} of them labelled ({} of all), {} frauds",
        group["decisions"],
        group["alerts"],
        group["matured"],
        found["maturity_days"],
        group["labelled"],
        percent(&group["coverage"]),
        group["frauds"]
    ));
    let count = |name: &str| group[name].as_u64().unwrap_or(0);
    if count("explored") + count("held") > 0 {
        say(format_args!(
            "  {} alerts that --explore let through stand for {} that were held, by their propensity",
            group["explored"], group["held"]
        ));
    }
    for (name, value) in group["metrics"].as_object().into_iter().flatten() {
        say(format_args!("  {name:<30} {:>14.4}", value.as_f64().unwrap_or(f64::NAN)));
    }
    if let Some(estimate) = group["estimate"].as_object() {
        say("  over all decisions, an estimate without labels (CBPE):");
        for name in ["frauds", "precision", "recall", "average_precision"] {
            if let Some(value) = estimate.get(name).and_then(Value::as_f64) {
                say(format_args!("    {name:<28} {value:>14.4}"));
            }
        }
    }
}
