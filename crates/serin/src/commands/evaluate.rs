//! `serin evaluate`: a model on a labelled file.

use super::say;
use super::train::{read_with_progress, say_metrics};
use crate::cli::Evaluate;
use anyhow::bail;
use serin_analysis::threshold::Rule;
use serin_server::LiveModel;
use serin_store::{ModelUri, Store};

pub(crate) async fn run(args: &Evaluate) -> anyhow::Result<()> {
    let uri: ModelUri = args.model.parse().map_err(anyhow::Error::msg)?;
    let resolved = Store::open(&args.state.state).await?.resolve(&uri).await?;
    let model = LiveModel::load(&resolved)?;
    let signature = &model.package.signature;
    let mut columns = args.columns.clone();
    columns.features = Some(signature.columns.iter().map(|column| column.name.clone()).collect());
    let dataset = read_with_progress(&columns)?;
    for (ours, theirs) in signature.columns.iter().zip(&dataset.signature.columns) {
        if std::mem::discriminant(&ours.kind) != std::mem::discriminant(&theirs.kind) {
            bail!("column {:?} is {:?} in the file, the model was trained on {:?}", ours.name, theirs.kind, ours.kind);
        }
        // Codes are positions in a list: another list would silently mean other categories.
        if ours.kind != theirs.kind {
            bail!(
                "column {:?} has other categories than in training; evaluating those is not supported yet",
                ours.name
            );
        }
    }
    let evaluation = serin_training::evaluate(
        &model.package.forest,
        &dataset,
        Rule::Fixed(model.package.threshold),
        args.review_cost,
    );
    if args.json {
        say(serde_json::json!({"threshold": evaluation.threshold, "metrics": evaluation.metrics}));
    } else {
        say_metrics(&evaluation.metrics, evaluation.threshold);
    }
    Ok(())
}
