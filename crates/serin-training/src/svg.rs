//! Small SVG plots without a library: a line, bars, and axes with a handful of labels.

use std::fmt::Write;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 280.0;
const MARGIN: f64 = 46.0;

/// A plot over [0, 1] x [0, 1].
#[derive(Debug)]
pub(crate) struct Plot {
    body: String,
    title: &'static str,
    x_label: &'static str,
    y_label: &'static str,
}

fn x(value: f64) -> f64 {
    MARGIN + value * (WIDTH - MARGIN - 12.0)
}

fn y(value: f64) -> f64 {
    HEIGHT - MARGIN + 8.0 - value * (HEIGHT - MARGIN - 22.0)
}

impl Plot {
    pub(crate) fn new(title: &'static str, x_label: &'static str, y_label: &'static str) -> Self {
        Self { body: String::new(), title, x_label, y_label }
    }

    pub(crate) fn diagonal(mut self) -> Self {
        let _ = write!(
            self.body,
            r#"<line class="guide" x1="{}" y1="{}" x2="{}" y2="{}"/>"#,
            x(0.0),
            y(0.0),
            x(1.0),
            y(1.0)
        );
        self
    }

    /// A line; more points than the eye can tell apart are thinned.
    pub(crate) fn line(mut self, points: &[(f64, f64)]) -> Self {
        let every = points.len().div_ceil(600).max(1);
        let mut path = String::new();
        for (i, (px, py)) in points.iter().enumerate() {
            if i % every == 0 || i + 1 == points.len() {
                let _ = write!(path, "{:.1},{:.1} ", x(*px), y(*py));
            }
        }
        let _ = write!(self.body, r#"<polyline class="line" points="{path}"/>"#);
        self
    }

    pub(crate) fn dots(mut self, points: &[(f64, f64)]) -> Self {
        for (px, py) in points {
            let _ = write!(self.body, r#"<circle class="dot" cx="{:.1}" cy="{:.1}" r="4"/>"#, x(*px), y(*py));
        }
        self
    }

    /// Bars of equal width; heights are shares of the highest, on a log scale when asked.
    pub(crate) fn bars(mut self, counts: &[u64], logarithmic: bool) -> Self {
        let scale = |count: u64| if logarithmic { (count as f64).ln_1p() } else { count as f64 };
        let top = counts.iter().map(|count| scale(*count)).fold(0.0, f64::max).max(1e-9);
        for (i, count) in counts.iter().enumerate() {
            let left = x(i as f64 / counts.len() as f64);
            let width = x((i + 1) as f64 / counts.len() as f64) - left - 1.0;
            let height = y(0.0) - y(scale(*count) / top);
            let _ = write!(
                self.body,
                r#"<rect class="bar" x="{left:.1}" y="{:.1}" width="{width:.1}" height="{height:.1}"><title>{count} rows</title></rect>"#,
                y(0.0) - height
            );
        }
        self
    }

    pub(crate) fn svg(self, y_ticks: bool) -> String {
        let mut axes = String::new();
        for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let _ =
                write!(axes, r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{tick}</text>"#, x(tick), y(0.0) + 16.0);
            let _ = write!(
                axes,
                r#"<line class="grid" x1="{}" y1="{:.1}" x2="{}" y2="{:.1}"/>"#,
                x(0.0),
                y(tick),
                x(1.0),
                y(tick)
            );
            if y_ticks {
                let _ = write!(
                    axes,
                    r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{tick}</text>"#,
                    x(0.0) - 6.0,
                    y(tick) + 4.0
                );
            }
        }
        format!(
            r#"<figure><figcaption>{title}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{axes}{body}<text x="{cx:.1}" y="{by:.1}" text-anchor="middle">{xl}</text><text transform="translate(12 {cy:.1}) rotate(-90)" text-anchor="middle">{yl}</text></svg></figure>"#,
            title = self.title,
            body = self.body,
            xl = self.x_label,
            yl = self.y_label,
            cx = x(0.5),
            by = HEIGHT - 6.0,
            cy = y(0.5),
        )
    }
}

/// Text that is safe inside HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
