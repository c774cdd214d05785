//! The page for a person: a table, and the histograms of both files over each other. One self-contained file.

use super::FileDrift;
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#1c2733;background:#fff}\
h1{font-size:1.5em}h2{font-size:1em;margin:0}table{border-collapse:collapse;margin:1em 0;width:100%}td,th{padding:.25em .9em .25em 0;text-align:left;border-bottom:1px solid #e3e8ed}\
td.n{text-align:right;font-variant-numeric:tabular-nums}.yes{color:#b3261e;font-weight:600}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:1.5em}figure{margin:0}svg{width:100%;height:auto}\
svg text{font-size:10px;fill:#51606e}.r{fill:#5b7f9e;fill-opacity:.55}.c{fill:#c98a00;fill-opacity:.55}.key i{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}\
@media(prefers-color-scheme:dark){body{background:#12181e;color:#dde5ec}td,th{border-color:#26313b}svg text{fill:#a5b3bf}.yes{color:#ff8a80}}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) fn page(reference: &str, current: &str, drift: &FileDrift) -> String {
    let columns = &drift.columns;
    let (mut rows, mut plots) = (String::new(), String::new());
    for column in columns {
        let name = escaped(&column.name);
        let missing = column.missing.map(|share| format!("{:.2} %", share * 100.0)).join(" → ");
        // Writing to a String cannot fail.
        let _ = match &column.tested {
            Ok(tested) => write!(
                rows,
                "<tr><td>{name}<td>{}<td>{}<td class=n>{:.6}<td class=n>{}<td class={}>{}<td class=n>{missing}",
                column.kind(),
                tested.method.display_name(),
                tested.score,
                tested.threshold,
                if tested.drifted { "yes" } else { "no" },
                if tested.drifted { "drift" } else { "no drift" },
            ),
            Err(error) => {
                write!(
                    rows,
                    "<tr><td>{name}<td>{}<td colspan=4>{}<td class=n>{missing}",
                    column.kind(),
                    escaped(&error.to_string())
                )
            }
        };
        let _ = write!(plots, "<figure><h2>{name}</h2>{}</figure>", bars(&column.histogram));
    }
    let verdict = if drift.has_drifted() { "drift" } else { "no drift" };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>Drift report</title>\
         <style>{STYLE}</style><h1>Drift: {} of {} columns</h1><p>{} against {}: {:.0} % of the columns drifted, which is {verdict} at {:.0} %. Tests, bins and \
         thresholds as Evidently 0.7.23.<p class=key><i class=r style=\"background:#5b7f9e\"></i>reference<i class=c style=\"background:#c98a00\"></i>current, share of rows a bin</p>\
         <table><tr><th>Column<th>Type<th>Test<th>Score<th>Threshold<th>Result<th>Missing{rows}</table><div class=plots>{plots}</div></html>",
        drift.drifted(),
        columns.len(),
        escaped(current),
        escaped(reference),
        drift.share() * 100.0,
        drift.drift_share * 100.0,
    )
}

/// Draws a histogram as SVG.
fn bars(bars: &[(String, f64, f64)]) -> String {
    const WIDTH: f64 = 320.0;
    const HEIGHT: f64 = 130.0;
    let Some((first, last)) = bars.first().zip(bars.last()) else { return "<p>no values on a side</p>".to_owned() };
    let top = bars.iter().map(|(_, reference, current)| reference.max(*current)).fold(1e-9, f64::max);
    let step = WIDTH / bars.len() as f64;
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=img aria-label=\"shares of both samples\">", HEIGHT + 16.0);
    for (number, (label, reference, current)) in bars.iter().enumerate() {
        for (class, share) in [("r", reference), ("c", current)] {
            let height = share / top * HEIGHT;
            let _ = write!(
                svg,
                "<rect class={class} x={:.1} y={:.1} width={:.1} height={height:.1}><title>{}: {:.2} % {}</title></rect>",
                number as f64 * step,
                HEIGHT - height,
                (step - 1.0).max(0.5),
                escaped(label),
                share * 100.0,
                if class == "r" { "reference" } else { "current" },
            );
        }
    }
    let _ = write!(
        svg,
        "<text x=0 y={y}>{}</text><text x={WIDTH} y={y} text-anchor=end>{}</text><text x={WIDTH} y=10 text-anchor=end>{:.1} %</text></svg>",
        escaped(&first.0),
        escaped(&last.0),
        top * 100.0,
        y = HEIGHT + 13.0,
    );
    svg
}
