//! Figures as SVG in the page: they need no script, and say in words what they show.

use super::figures::{number, percent};
use std::fmt::Write;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 46.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 10.0;

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn open(label: &str, height: f64) -> String {
    format!(
        "<svg class=\"figure\" role=\"img\" viewBox=\"0 0 {WIDTH} {height}\" aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\">",
        escaped(label)
    )
}

/// A bar of two distributions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) shares: [f64; 2],
}

/// Two distributions beside each other, in shares of their rows; the vertical axis is a square root, so that rare values
/// are seen.
pub(crate) fn bars(label: &str, bars: &[Bar]) -> String {
    let top = bars.iter().flat_map(|bar| bar.shares).fold(1e-9, f64::max);
    let (wide, high) = (WIDTH - LEFT, HEIGHT - BOTTOM - TOP);
    let slot = wide / bars.len().max(1) as f64;
    let mut out = open(label, HEIGHT);
    for share in [1.0, 0.25, 0.04] {
        let y = TOP + high * (1.0 - f64::sqrt(share));
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 4.0,
            y + 4.0,
            percent(top * share)
        );
    }
    // One path a side: a page has hundreds of bars.
    for (side, class) in ["reference", "live"].into_iter().enumerate() {
        let _ = write!(out, "<path class=\"{class}\" d=\"");
        for (place, bar) in bars.iter().enumerate().filter(|(_, bar)| bar.shares[side] > 0.0) {
            let x = LEFT + slot * (place as f64 + 0.08 + 0.42 * side as f64);
            let tall = high * (bar.shares[side] / top).sqrt();
            let _ = write!(out, "M{x:.1} {:.1}v-{tall:.1}h{:.1}v{tall:.1}z", TOP + high, slot * 0.42);
        }
        out.push_str("\"/>");
    }
    for (place, bar) in bars.iter().enumerate().step_by(bars.len().div_ceil(6).max(1)) {
        let x = LEFT + slot * place as f64;
        let _ = write!(out, "<text x=\"{x:.1}\" y=\"{:.1}\">{}</text>", HEIGHT - 10.0, escaped(&bar.name));
    }
    let base = TOP + high;
    let _ = write!(out, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{base}\" y2=\"{base}\"/></svg>");
    out
}

/// Contributions to a margin, the strongest first: to the right they speak for fraud.
pub(crate) fn reasons(label: &str, reasons: &[(String, f64)]) -> String {
    let top = reasons.iter().map(|(_, value)| value.abs()).fold(1e-9, f64::max);
    let row = 22.0;
    let height = row * reasons.len() as f64 + 6.0;
    let (middle, half) = (WIDTH * 0.72, WIDTH * 0.22);
    let mut out = open(label, height);
    for (place, (name, value)) in reasons.iter().enumerate() {
        let y = row * place as f64 + 3.0;
        let long = half * value.abs() / top;
        let (x, class) = if *value >= 0.0 { (middle, "up") } else { (middle - long, "down") };
        let at = if *value >= 0.0 { middle + long + 3.0 } else { middle - long - 3.0 };
        let anchor = if *value >= 0.0 { "start" } else { "end" };
        let _ = write!(
            out,
            "<text class=\"value\" x=\"0\" y=\"{:.1}\">{}</text><rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{long:.1}\" height=\"{}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}{}</text>",
            y + 14.0,
            escaped(&super::figures::short(name, 46)),
            row - 6.0,
            y + 12.0,
            if *value >= 0.0 { "+" } else { "" },
            number(*value)
        );
    }
    let _ = write!(out, "<line class=\"axis\" x1=\"{middle}\" x2=\"{middle}\" y1=\"0\" y2=\"{height}\"/></svg>");
    out
}

/// A line of a plot: class, name and points.
pub(crate) struct Curve<'a> {
    pub(crate) class: &'static str,
    pub(crate) name: &'a str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Curves within [0, 1] x [0, 1]; `even` draws the diagonal, on which a calibrated model lies.
pub(crate) fn unit_square(label: &str, axes: [&str; 2], curves: &[Curve<'_>], even: bool) -> String {
    let (wide, high) = (WIDTH - LEFT - 10.0, 230.0);
    let height = high + TOP + BOTTOM;
    let at = |(x, y): (f64, f64)| (LEFT + wide * x.clamp(0.0, 1.0), TOP + high * (1.0 - y.clamp(0.0, 1.0)));
    let mut out = open(label, height);
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let ((x, bottom), (left, y)) = (at((tick, 0.0)), at((0.0, tick)));
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/><line class=\"axis\" x1=\"{left:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            left + wide,
            bottom + 13.0,
            left - 4.0,
            y + 4.0
        );
    }
    let _ = write!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text><text x=\"2\" y=\"{:.1}\">{}</text>",
        LEFT + wide,
        height - 3.0,
        escaped(axes[0]),
        height - 3.0,
        escaped(axes[1])
    );
    if even {
        let ((x1, y1), (x2, y2)) = (at((0.0, 0.0)), at((1.0, 1.0)));
        let _ = write!(out, "<line class=\"even\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
    }
    for curve in curves {
        let points: Vec<String> = curve
            .points
            .iter()
            .filter(|point| point.0.is_finite() && point.1.is_finite())
            .map(|point| at(*point))
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = write!(
            out,
            "<polyline class=\"curve {}\" points=\"{}\"><title>{}</title></polyline>",
            curve.class,
            points.join(" "),
            escaped(curve.name)
        );
    }
    out.push_str("</svg>");
    out
}

/// One look at a rollout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Look {
    pub(crate) at_ms: i64,
    /// The candidate's share of the traffic, percent.
    pub(crate) weight: f64,
    /// Logarithms to base 10 of the evidence for harm, and for being alike.
    pub(crate) log_e: [f64; 2],
}

/// Evidence over time against what it has to reach, above the candidate's share of the traffic.
pub(crate) fn evidence(label: &str, looks: &[Look], reaches: [f64; 2]) -> String {
    let (wide, high) = (WIDTH - LEFT - 10.0, 190.0);
    let height = high + TOP + BOTTOM;
    let (first, last) = (looks.first().map_or(0, |l| l.at_ms), looks.last().map_or(0, |l| l.at_ms));
    let span = (last - first).max(1) as f64;
    let highest = looks.iter().flat_map(|look| look.log_e).chain(reaches).filter(|v| v.is_finite()).fold(1.0, f64::max);
    let (low, most) = (-1.5, (highest * 1.1).min(reaches[0].max(reaches[1]) * 2.5));
    let x = |at_ms: i64| LEFT + wide * (at_ms - first) as f64 / span;
    let y = |value: f64| TOP + high * (1.0 - (value.clamp(low, most) - low) / (most - low));
    let mut out = open(label, height);
    for (place, look) in looks.iter().enumerate() {
        let until = looks.get(place + 1).map_or(last, |next| next.at_ms);
        let tall = high * look.weight / 100.0;
        if tall > 0.0 && until > look.at_ms {
            let _ = write!(
                out,
                "<rect class=\"step\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\"><title>{} % of the traffic</title></rect>",
                x(look.at_ms),
                TOP + high - tall,
                x(until) - x(look.at_ms),
                number(look.weight)
            );
        }
    }
    for (reach, name) in reaches.into_iter().zip(["roll back", "promote"]) {
        let at = y(reach);
        let _ = write!(
            out,
            "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name} from {}</text>",
            LEFT + wide,
            LEFT + wide,
            at - 4.0,
            number(10f64.powf(reach).round())
        );
    }
    for (tick, name) in [(0.0, "1"), (-1.0, "0.1")] {
        let at = y(tick);
        let _ = write!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            LEFT + wide,
            LEFT - 4.0,
            at + 4.0
        );
    }
    for (side, class) in ["curve second", "curve"].into_iter().enumerate() {
        let points: Vec<String> = looks
            .iter()
            .filter(|look| !look.log_e[side].is_nan())
            .map(|look| format!("{:.1},{:.1}", x(look.at_ms), y(look.log_e[side])))
            .collect();
        let _ = write!(out, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }
    let _ = write!(
        out,
        "<text x=\"{LEFT}\" y=\"{:.1}\">0 s</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text></svg>",
        height - 8.0,
        LEFT + wide,
        height - 8.0,
        super::figures::lasting(last - first)
    );
    out
}
