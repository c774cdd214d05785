//! The page a person opens: figures, curves, importances. One self-contained HTML file.

use crate::package::PackageInputs;
use crate::svg::{Plot, escape};
use serin_analysis::classification::steps;
use serin_analysis::curves::{calibration, histogram, precision_recall, roc};
use serin_scoring::Forest;
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#1c2733;background:#fff}\
h1{font-size:1.5em}table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .9em .25em 0;text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:1em}figure{margin:0}figcaption{font-weight:600}\
svg{width:100%;height:auto}svg text{font-size:11px;fill:#51606e}.grid{stroke:#e3e8ed}.guide{stroke:#9aa7b3;stroke-dasharray:4 4}\
.line{fill:none;stroke:#c98a00;stroke-width:2}.dot,.bar{fill:#c98a00}.track{background:#e3e8ed;width:16em;height:.8em;display:inline-block}\
.track i{background:#c98a00;height:.8em;display:block}\
@media(prefers-color-scheme:dark){body{background:#12181e;color:#dde5ec}svg text{fill:#a5b3bf}.grid{stroke:#26313b}.track{background:#26313b}}";

pub(crate) fn html(inputs: &PackageInputs<'_>, forest: &Forest) -> String {
    let scores = &inputs.evaluation.window.scores;
    let labels = &inputs.test.labels;
    let steps = steps(scores, labels);
    let bins: Vec<(f64, f64)> =
        calibration(scores, labels, 10).iter().map(|bin| (bin.predicted, bin.observed)).collect();

    let mut metrics = String::new();
    for (name, value) in &inputs.evaluation.metrics {
        let shown = if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value}") } else { format!("{value:.4}") };
        let _ = write!(metrics, "<tr><td>{}</td><td class=n>{shown}</td></tr>", escape(name));
    }
    let total: f64 = inputs.fitted.importances.iter().map(|(_, gain)| gain).sum::<f64>().max(1e-12);
    let mut importances = String::new();
    for (name, gain) in inputs.fitted.importances.iter().take(30) {
        let share = gain / total * 100.0;
        let _ = write!(
            importances,
            "<tr><td>{}</td><td class=n>{share:.1} %</td><td><span class=track><i style=\"width:{share:.1}%\"></i></span></td></tr>",
            escape(name)
        );
    }
    let plots = [
        Plot::new("Precision and recall", "recall", "precision").line(&precision_recall(&steps)).svg(true),
        Plot::new("ROC", "false-positive rate", "recall").diagonal().line(&roc(&steps)).svg(true),
        Plot::new("Calibration (10 bins)", "mean score", "share of frauds")
            .diagonal()
            .line(&bins)
            .dots(&bins)
            .svg(true),
        Plot::new("Scores (log of rows, 40 bins)", "score", "rows").bars(&histogram(scores, 40), true).svg(false),
    ]
    .concat();
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>Model report</title>\
         <style>{STYLE}</style><h1>Model report</h1><p>{} trees over {} columns, trained on {} rows ({} frauds) of {}; evaluated on {} later rows \
         over {} days. Threshold {} by {}, chosen on the evaluation rows: figures at the threshold describe this window.</p>\
         <table><tr><th>Metric<th>Value</tr>{metrics}</table><div class=plots>{plots}</div><h2>Importances (share of total gain)</h2>\
         <table>{importances}</table></html>",
        forest.num_trees(),
        forest.num_features(),
        inputs.train.rows(),
        inputs.train.labels.iter().sum::<f32>(),
        escape(inputs.source),
        inputs.test.rows(),
        inputs.evaluation.window.days,
        inputs.evaluation.threshold,
        escape(&inputs.rule.to_string()),
    )
}
