//! `serin monitor`: the live monitor's eyes on the traffic of a file.

use super::say;
use super::train::{read_with_progress, roles};
use crate::cli::Monitor;
use crate::registry::Registry;
use anyhow::{Context, bail};
use serde_json::json;
use serin_analysis::monitor::{
    AlertBook, Budget, HOUR_MS, Hysteresis, MonitorProfile, Pane, Report, SHARE, conditions, report,
};
use serin_models::LoadedModel;
use serin_tracking::ModelUri;
use std::collections::BTreeMap;

pub(crate) async fn run(args: &Monitor) -> anyhow::Result<()> {
    let uri: ModelUri = args.model.parse()?;
    let resolved = Registry::open(&args.state).await?.resolve(&uri).await?;
    let file = resolved.path.join("monitor.json");
    let bytes = std::fs::read(&file)
        .with_context(|| format!("{} has no reference ({}): train it with this serin", args.model, file.display()))?;
    let profile = MonitorProfile::from_bytes(&bytes)?;
    let package = LoadedModel::load(&resolved, super::now_ms())?.package;
    let mut roles = roles(&args.columns);
    roles.signature = Some(package.signature.clone());
    let dataset = read_with_progress(&args.columns.data, &roles)?;
    if dataset.times.is_empty() {
        bail!("the monitor looks at hours: name the column of times with --time");
    }
    let mut scores = vec![0.0; dataset.rows()];
    package.forest.margins_into(&dataset.features, &mut scores);
    package.forest.scores_from_margins(&mut scores);
    let mut panes: BTreeMap<i64, Pane> = BTreeMap::new();
    for (row, features) in dataset.features.chunks_exact(dataset.width()).enumerate() {
        let at_ms = dataset.times[row];
        let hour = at_ms.div_euclid(HOUR_MS);
        let pane = panes.entry(hour).or_insert_with(|| Pane::new(&profile, at_ms));
        pane.add(&profile, features, scores[row], scores[row] >= package.threshold);
    }
    let budget = Budget { days_between_alarms: args.days_between_alarms, ..Budget::default() };
    let mut book = AlertBook::default();
    let (mut timeline, mut looks, mut last) = (Vec::new(), 0, None);
    let hours: Vec<i64> = panes.keys().copied().collect();
    for hour in hours {
        let window: Vec<Pane> = panes.range(hour - args.window + 1..=hour).map(|(_, pane)| pane.clone()).collect();
        let Some(found) = report(&profile, &window, &budget) else { continue };
        looks += 1;
        for change in book.look(conditions(&found, SHARE), Hysteresis::default()) {
            timeline.push((found.window_ms.1, change));
        }
        last = Some(found);
    }
    let time = |ms: i64| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string());
    if args.json {
        let alerts: Vec<_> = timeline
            .iter()
            .map(|(at, change)| {
                json!({ "at": time(*at), "rule": change.rule, "subject": change.subject, "began": change.began, "message": change.message })
            })
            .collect();
        say(
            json!({ "looks": looks, "alerts": alerts, "last": last.as_ref().map(serin_analysis::monitor::drift_json) }),
        );
        return Ok(());
    }
    for (at, change) in &timeline {
        let what = if change.began { "ALERT" } else { "over " };
        say(format_args!("{}  {what}  {:<14} {}", time(*at), change.rule.name(), change.message));
    }
    let days = looks as f64 / 24.0;
    let began = timeline.iter().filter(|(_, change)| change.began).count();
    say(format_args!("{looks} looks over {days:.1} days of traffic: {began} alerts"));
    if let Some(last) = &last {
        print(last);
    }
    Ok(())
}

fn print(found: &Report) {
    say(format_args!("last window, {} decisions:", found.rows));
    for watch in found.drift.iter().chain([&found.alert_rate]) {
        let mark = if watch.alarm { "ALARM" } else { "" };
        say(format_args!(
            "  {:<36} {:<14} {:>9.4}  alarm from {:>8.4}  {:?} {mark}",
            watch.name, watch.measure, watch.value, watch.threshold, watch.certainty
        ));
    }
    for watch in found.quality.iter().filter(|watch| watch.alarm) {
        say(format_args!(
            "  {:<36} {:<14} {:>9.4}  alarm from {:>8.4}",
            watch.name, watch.measure, watch.value, watch.threshold
        ));
    }
}
