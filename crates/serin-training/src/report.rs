//! The page a person opens: figures, curves, importances. One self-contained HTML file.

use crate::Evaluation;
use crate::svg::{Plot, escape};
use serin_analysis::classification::steps;
use serin_analysis::curves::{calibration, histogram, precision_recall, roc};
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#1c2733;background:#fff}\
h1{font-size:1.5em}table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .9em .25em 0;text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:1em}figure{margin:0}figcaption{font-weight:600}\
svg{width:100%;height:auto}svg text{font-size:11px;fill:#51606e}.grid{stroke:#e3e8ed}.guide{stroke:#9aa7b3;stroke-dasharray:4 4}\
.line{fill:none;stroke:#c98a00;stroke-width:2}.dot,.bar{fill:#c98a00}.track{background:#e3e8ed;width:16em;height:.8em;display:inline-block}\
.track i{background:#c98a00;height:.8em;display:block}\
@media(prefers-color-scheme:dark){body{background:#12181e;color:#dde5ec}svg text{fill:#a5b3bf}.grid{stroke:#26313b}.track{background:#26313b}}";

/// Content of the report's page.
#[derive(Debug)]
pub struct Report<'a> {
    /// One paragraph: which model, which rows.
    pub introduction: String,
    /// Scores, threshold and metrics.
    pub evaluation: &'a Evaluation,
    /// Label of each row, 0 or 1, in the order of the evaluation's scores.
    pub labels: &'a [f32],
    /// Total gain by feature name, largest first; may be empty.
    pub importances: &'a [(String, f64)],
}

impl Report<'_> {
    /// The page, complete in itself.
    #[must_use]
    pub fn html(&self) -> String {
        let scores = &self.evaluation.window.scores;
        let steps = steps(scores, self.labels, &[]);
        let bins: Vec<(f64, f64)> =
            calibration(scores, self.labels, 10).iter().map(|bin| (bin.predicted, bin.observed)).collect();
        let mut metrics = String::new();
        for (name, value) in &self.evaluation.metrics {
            let whole = value.fract() == 0.0 && value.abs() < 1e15;
            let shown = if whole { format!("{value}") } else { format!("{value:.4}") };
            let _ = write!(metrics, "<tr><td>{}</td><td class=n>{shown}</td></tr>", escape(name));
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
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
             <title>Model report</title><style>{STYLE}</style><h1>Model report</h1><p>{}</p>\
             <table><tr><th>Metric<th>Value</tr>{metrics}</table><div class=plots>{plots}</div>{}</html>",
            escape(&self.introduction),
            self.importances()
        )
    }

    fn importances(&self) -> String {
        if self.importances.is_empty() {
            return String::new();
        }
        let total: f64 = self.importances.iter().map(|(_, gain)| gain).sum::<f64>().max(1e-12);
        let mut rows = String::new();
        for (name, gain) in self.importances.iter().take(30) {
            let share = gain / total * 100.0;
            let _ = write!(
                rows,
                "<tr><td>{}</td><td class=n>{share:.1} %</td><td><span class=track><i style=\"width:{share:.1}%\"></i></span></td></tr>",
                escape(name)
            );
        }
        format!("<h2>Importances (share of total gain)</h2><table>{rows}</table>")
    }
}
