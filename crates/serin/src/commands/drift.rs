//! `serin drift`: two files, column by column, as Evidently 0.7.23 would compare them.

use super::progress::Steps;
use super::say;
use crate::cli::{Drift, FailOn};
use anyhow::Context;
use serde_json::{Value, json};
use serin_analysis::drift::Method;
use serin_batch::drift::{ColumnComparison, DriftOptions, DriftStep, Methods, compare_files};
use std::collections::BTreeMap;

/// Exit status when the condition of `--fail-on` holds.
const DRIFTED: i32 = 3;

pub(crate) fn run(args: &Drift) -> anyhow::Result<()> {
    let options = DriftOptions {
        columns: args.columns.clone(),
        methods: methods(args)?,
        drift_share: args.drift_share,
        histograms: args.html.is_some(),
    };
    let bars = Steps::default();
    let drift = compare_files(&args.reference, &args.current, &options, &|step, done, all| {
        drop(match step {
            DriftStep::Reading => bars.show("reading", done * 100 / all.max(1), 100),
            DriftStep::Comparing => bars.show("comparing", done, all),
        });
    })?;
    drop(bars);
    if let Some(path) = &args.html {
        let page = drift.page(&args.reference, &args.current);
        std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.evidently_json {
        let written = serde_json::to_vec_pretty(&drift.evidently())?;
        std::fs::write(path, written).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let (drifted, share) = (drift.drifted(), drift.share());
    let left_out: Vec<String> = drift.left_out.iter().map(|(name, reason)| format!("{name} ({reason})")).collect();
    if args.json {
        let shown: Vec<Value> = drift.columns.iter().map(shown).collect();
        say(
            json!({ "drifted_columns": drifted, "columns_compared": drift.columns.len(), "share": share, "dataset_drift": drift.has_drifted(), "columns": shown, "left_out": left_out }),
        );
    } else {
        print(&drift.columns);
        let word = if drift.has_drifted() { "drift" } else { "no drift" };
        say(format_args!(
            "{drifted} of {} columns drifted ({:.0} %, {word} from {:.0} %)",
            drift.columns.len(),
            share * 100.0,
            args.drift_share * 100.0
        ));
        if !left_out.is_empty() {
            say(format_args!("not compared: {}", left_out.join(", ")));
        }
    }
    let fails = match args.fail_on {
        FailOn::Never => false,
        FailOn::Dataset => drift.has_drifted(),
        FailOn::Column => drifted > 0,
    };
    if fails {
        // The result is out; a pipeline looks at the status.
        super::leave(DRIFTED);
    }
    Ok(())
}

fn methods(args: &Drift) -> anyhow::Result<Methods> {
    let method = |text: &String| text.parse::<Method>();
    let mut columns = BTreeMap::new();
    for (name, text) in &args.column_method {
        columns.insert(name.clone(), method(text)?);
    }
    Ok(Methods {
        columns,
        numbers: args.num_method.as_ref().map(method).transpose()?,
        categories: args.cat_method.as_ref().map(method).transpose()?,
        all: args.method.as_ref().map(method).transpose()?,
        threshold: args.threshold,
    })
}

fn shown(column: &ColumnComparison) -> Value {
    let mut shown = json!({
        "column": column.name, "type": column.kind(),
        "missing_reference": column.missing[0], "missing_current": column.missing[1],
    });
    match &column.tested {
        Ok(drift) => {
            shown["method"] = json!(drift.method.to_string());
            // NaN is no JSON: null says that the test says nothing.
            shown["score"] = json!(drift.score);
            shown["threshold"] = json!(drift.threshold);
            shown["drifted"] = json!(drift.drifted);
        }
        Err(error) => shown["error"] = json!(error.to_string()),
    }
    shown
}

fn print(columns: &[ColumnComparison]) {
    let width = columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0).max(6);
    say(format_args!("{:width$}  type  {:30}  {:>11}  {:>9}  drift", "column", "test", "score", "threshold"));
    for column in columns {
        match &column.tested {
            Ok(drift) => say(format_args!(
                "{:width$}  {}   {:30}  {:>11.6}  {:>9}  {}",
                column.name,
                column.kind(),
                drift.method.display_name(),
                drift.score,
                drift.threshold,
                if drift.drifted { "yes" } else { "no" }
            )),
            Err(error) => say(format_args!("{:width$}  {}   {error}", column.name, column.kind())),
        }
    }
}
