//! `serin labels`: labels of files into the database, and what was said of one transaction.

use super::{progress, say};
use crate::cli::{ImportLabels, Labels, LabelsCommand, ShowLabels};
use crate::registry::Registry;
use anyhow::{Context, bail};
use serin_control::{InvalidLabels, label_of_texts};
use serin_dataset::{Table, Values};
use serin_tracking::NewLabel;
use std::collections::HashMap;
use std::io::Write;

/// Labels kept at once; all of them or none.
const BATCH: usize = 50_000;
const NAMES: [&str; 7] = ["transaction_id", "decision_id", "label", "source", "occurred_at", "known_at", "amount"];

pub(crate) async fn run(args: &Labels) -> anyhow::Result<()> {
    match &args.command {
        LabelsCommand::Import(args) => import(args).await,
        LabelsCommand::Show(args) => show(args).await,
    }
}

async fn import(args: &ImportLabels) -> anyhow::Result<()> {
    let labels = read(args)?;
    let registry = Registry::open(&args.state).await?;
    let bar = progress::bar("importing", labels.len() as u64);
    let (mut new, mut known) = (0, 0);
    for batch in labels.chunks(BATCH) {
        let stored = registry.put_labels(batch.to_vec()).await?;
        (new, known) = (new + stored.new, known + stored.known);
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    say(format_args!("{new} labels are new, {known} were there already"));
    Ok(())
}

/// A column's cells as texts.
fn text(values: &Values, row: usize) -> Option<String> {
    match values {
        Values::Numbers { values, .. } => Some(values[row]).filter(|number| !number.is_nan()).map(|n| n.to_string()),
        Values::Booleans(values) => values[row].map(|truth| truth.to_string()),
        Values::Texts { codes, levels } => codes[row].map(|code| levels[code as usize].clone()),
        Values::Times(values) => values[row].map(|time| time.to_string()),
    }
}

fn read(args: &ImportLabels) -> anyhow::Result<Vec<NewLabel>> {
    let theirs: HashMap<&str, &str> =
        args.column.iter().map(|(ours, theirs)| (ours.as_str(), theirs.as_str())).collect();
    if let Some(unknown) = theirs.keys().find(|ours| !NAMES.contains(ours)) {
        bail!("--column {unknown}=…: the columns of labels are {}", NAMES.join(", "));
    }
    let (names, _) = Table::names(&args.data)?;
    let mut wanted: Vec<String> = Vec::new();
    for ours in NAMES {
        match theirs.get(ours) {
            Some(name) => wanted.push((*name).to_owned()),
            None if names.iter().any(|name| name == ours) => wanted.push(ours.to_owned()),
            None => {}
        }
    }
    let has = |ours: &str| wanted.iter().any(|name| name == theirs.get(ours).copied().unwrap_or(ours));
    if !has("label") || !(has("transaction_id") || has("decision_id")) {
        bail!(
            "{} has the columns {}: labels need transaction_id or decision_id, and label; name them with --column OURS=THEIRS",
            args.data,
            names.join(", ")
        );
    }
    let bar = progress::bar("reading", 100);
    let table = Table::read(&args.data, Some(&wanted), &mut |_, done, all| bar.set_position(done * 100 / all.max(1)))
        .with_context(|| format!("the labels of {} cannot be read", args.data))?;
    bar.finish_and_clear();
    let columns: HashMap<&str, &Values> =
        table.columns.iter().map(|column| (column.name.as_str(), &column.values)).collect();
    let column = |ours: &str| columns.get(theirs.get(ours).copied().unwrap_or(ours)).copied();
    let rows = table.columns.first().map_or(0, |column| match &column.values {
        Values::Numbers { values, .. } => values.len(),
        Values::Booleans(values) => values.len(),
        Values::Texts { codes, .. } => codes.len(),
        Values::Times(values) => values.len(),
    });
    let mut labels = Vec::with_capacity(rows);
    for row in 0..rows {
        let cells = NAMES.map(|name| (name, column(name).and_then(|values| text(values, row))));
        let cell = |name: &str| cells.iter().find(|(ours, _)| *ours == name).and_then(|(_, text)| text.as_deref());
        let mut label =
            label_of_texts(cell, args.source.as_deref()).with_context(|| format!("{}, row {}", args.data, row + 1))?;
        if label.known_at_ms.is_none()
            && let (Some(occurred), Some(after)) = (label.occurred_at_ms, args.known_after)
        {
            label.known_at_ms = Some(occurred.saturating_add(after));
        }
        let late = |known: i64| args.known_before.is_some_and(|before| known >= before);
        if !label.known_at_ms.is_some_and(late) {
            labels.push(label);
        }
    }
    Ok(labels)
}

/// Labels of a Parquet file's bytes, for the server.
pub(crate) fn of_parquet(bytes: &[u8]) -> Result<Vec<NewLabel>, InvalidLabels> {
    let file = tempfile::Builder::new().suffix(".parquet").tempfile().and_then(|mut file| {
        file.write_all(bytes)?;
        Ok(file)
    });
    let file = file.map_err(|error| InvalidLabels(format!("the file cannot be kept while it is read: {error}")))?;
    let args = ImportLabels {
        data: file.path().display().to_string(),
        column: Vec::new(),
        source: None,
        known_after: None,
        known_before: None,
        state: crate::cli::State { state: std::path::PathBuf::new(), tracking_uri: None },
    };
    // Names the file that was sent, not ours.
    read(&args).map_err(|error| InvalidLabels(format!("{error:#}").replace(&args.data, "the file")))
}

async fn show(args: &ShowLabels) -> anyhow::Result<()> {
    let registry = Registry::open(&args.state).await?;
    let found = registry.label_history(args.transaction_id.as_deref(), args.decision_id.as_deref()).await?;
    say(serde_json::to_string_pretty(&found)?);
    Ok(())
}
