//! `serin export`: the decision log as Parquet, for DuckDB, pandas and Spark.

use super::replay::{files, load_logged, range};
use super::say;
use crate::cli::Export;
use anyhow::bail;
use serin_dataset::{DecisionRow, DecisionWriter};
use serin_store::Fallback;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub(crate) async fn run(args: &Export) -> anyhow::Result<()> {
    let files = files(&args.logged)?;
    let (since, until) = range(&args.logged);
    // The log holds features by position; their names are in the models that decided.
    let mut names = HashMap::new();
    for model in &files.models(since, until)? {
        let columns = match load_logged(&args.logged.state, model).await {
            Ok(loaded) => loaded.package.signature.columns.iter().map(|column| column.name.clone()).collect(),
            Err(error) => {
                tracing::warn!("{} {}: features are named f0, f1, … ({error:#})", model.name, model.version);
                (0..model.width).map(|i| format!("f{i}")).collect::<Vec<_>>()
            }
        };
        names.insert(model.sha256, columns);
    }
    let mut writers: HashMap<PathBuf, DecisionWriter> = HashMap::new();
    let mut failure = None;
    let mut features = Vec::new();
    files.read(since, until, |decision| {
        features.clear();
        features.extend(decision.features());
        let row = DecisionRow {
            decision_id: &uuid::Uuid::from_bytes(decision.id).to_string(),
            at_ms: decision.at_ms(),
            transaction_id: decision.transaction_id,
            entity: decision.entity,
            event_time_ms: decision.event_time_ms,
            score: decision.score,
            threshold: decision.model.threshold,
            alert: decision.alert,
            fallback: decision.fallback.map(Fallback::name),
            latency_us: decision.latency_ns as f32 / 1e3,
            features: &features,
        };
        let path = file_of(&args.out, &decision.model.name, &decision.model.version, decision.at_ms());
        let written = match writers.get_mut(&path) {
            Some(writer) => writer.push(&row),
            None => DecisionWriter::create(&path, &names[&decision.model.sha256])
                .and_then(|writer| writers.entry(path).or_insert(writer).push(&row)),
        };
        failure = written.err();
        failure.is_none()
    })?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    let (count, mut rows) = (writers.len(), 0);
    for (_, writer) in writers {
        rows += writer.finish()?;
    }
    if rows == 0 {
        bail!("the log has no decision in that time");
    }
    say(format_args!("{rows} decisions in {count} Parquet files below {}", args.out.display()));
    Ok(())
}

/// `model=NAME/version=V/hour=2026-11-25T10/decisions.parquet`, as DuckDB and Spark read partitions.
fn file_of(out: &Path, name: &str, version: &str, at_ms: i64) -> PathBuf {
    let plain = |text: &str| {
        let kept = |c: char| if c.is_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
        text.chars().map(kept).collect::<String>()
    };
    let hour = jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| "unknown".to_owned(), |time| time.strftime("%Y-%m-%dT%H").to_string());
    out.join(format!("model={}", plain(name)))
        .join(format!("version={}", if version.is_empty() { "none" } else { version }))
        .join(format!("hour={hour}"))
        .join("decisions.parquet")
}
