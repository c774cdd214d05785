//! `serin evaluate`: a model on a labelled file.

use super::say;
use super::train::{read_with_progress, roles, say_metrics};
use crate::cli::Evaluate;
use crate::registry::Registry;
use anyhow::Context;
use serin_analysis::threshold::Rule;
use serin_models::LoadedModel;
use serin_tracking::ModelUri;
use serin_training::Report;

pub(crate) async fn run(args: &Evaluate) -> anyhow::Result<()> {
    let uri: ModelUri = args.model.parse()?;
    let resolved = Registry::open(&args.state).await?.resolve(&uri).await?;
    let package = LoadedModel::load(&resolved, super::now_ms())?.package;
    let mut roles = roles(&args.columns);
    roles.signature = Some(package.signature.clone());
    let dataset = read_with_progress(&args.columns.data, &roles)?;
    let evaluation =
        serin_training::evaluate(&package.forest, &dataset, Rule::Fixed(package.threshold), args.review_cost);
    if let Some(path) = &args.report {
        let introduction = format!(
            "{} on {} rows of {}, at its threshold {}.",
            args.model,
            dataset.rows(),
            args.columns.data,
            package.threshold
        );
        let report = Report { introduction, evaluation: &evaluation, labels: &dataset.labels, importances: &[] };
        std::fs::write(path, report.html()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.json {
        say(serde_json::json!({"threshold": evaluation.threshold, "metrics": evaluation.metrics}));
    } else {
        say_metrics(&evaluation.metrics, evaluation.threshold);
        if let Some(path) = &args.report {
            say(format_args!("report: {}", path.display()));
        }
    }
    Ok(())
}
