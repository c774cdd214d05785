//! What serin adds to a Canary, as annotations, so that Flagger reads the same file.

use super::GoDuration;
use super::canary::{Canary, InvalidField};
use crate::evidence::Limits;

/// Greatest number of bounds for slow answers.
pub const SLOW: usize = 4;
const PREFIX: &str = "serin.dev/";
/// Default of `segment-tolerance`: an honest retrain moves a segment more than the whole.
const SEGMENT_TOLERANCE: f64 = 2.25;
/// Default of `min-shadow-requests`: time alone says nothing of a night without payments.
const SHADOW_REQUESTS: u64 = 100;

/// What becomes of a candidate about which too little is known when `max-hold` is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnHold {
    /// The candidate is rolled back.
    Rollback,
    /// The candidate is promoted.
    Promote,
    /// Nothing happens until a person decides.
    #[default]
    Wait,
}

/// Settings of a rollout in the annotations below `serin.dev/`.
#[derive(Debug, Clone, PartialEq)]
pub struct Extension {
    /// False with `evidence: off`, which leaves the verdict to metrics and webhooks, as Flagger does.
    pub evidence: bool,
    /// Limits of the verdict: `alpha`, `beta`, `tolerance` (alert ratio), `score-tolerance` and the like.
    pub limits: Limits,
    /// `min-shadow`: time that the candidate scores in the shadow before its first request, milliseconds.
    pub min_shadow_ms: i64,
    /// `min-shadow-requests`: number of requests that both versions have scored before the candidate answers the first one;
    /// by default 100, and none without evidence.
    pub min_shadow_requests: u64,
    /// `max-hold`: time that a promotion waits for proof, milliseconds; none waits without end.
    pub max_hold_ms: Option<i64>,
    /// `on-hold`: what becomes of the candidate when `max-hold` is over.
    pub on_hold: OnHold,
    /// `segments`: columns whose values are judged one by one, within `segment-tolerance` (2.25).
    pub segments: Vec<String>,
    /// True with `sticky: entity`, which keeps all transactions of an entity on one arm; each entity then counts once.
    pub sticky: bool,
    /// `slow`: bounds in milliseconds, ascending, above which an answer is slow; 1 to [`SLOW`] of them.
    pub slow_ms: Vec<u32>,
}

impl Default for Extension {
    fn default() -> Self {
        Self {
            evidence: true,
            limits: Limits::default(),
            min_shadow_ms: 60_000,
            min_shadow_requests: SHADOW_REQUESTS,
            max_hold_ms: None,
            on_hold: OnHold::Wait,
            segments: Vec::new(),
            sticky: false,
            slow_ms: vec![50],
        }
    }
}

impl Extension {
    /// Reads the annotations of a canary.
    ///
    /// # Errors
    /// When an annotation is unknown or has a value that it cannot have.
    pub fn of(canary: &Canary) -> Result<Self, InvalidField> {
        let mut found = Self::default();
        if canary.metadata.annotations.get("serin.dev/evidence").is_some_and(|evidence| evidence == "off") {
            found.min_shadow_requests = 0;
        }
        for (name, value) in &canary.metadata.annotations {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            let path = format!("metadata.annotations.{name}");
            let wrong = |expected: &str| InvalidField::new(&path, format!("{value:?} is not {expected}"));
            let number = |least: f64, most: f64, expected: &str| {
                value
                    .parse()
                    .ok()
                    .filter(|number: &f64| *number > least && *number < most)
                    .ok_or_else(|| wrong(expected))
            };
            let time =
                || GoDuration::parse(value).map(GoDuration::milliseconds).map_err(|_| wrong("a duration such as 5m"));
            match key {
                "evidence" => {
                    found.evidence = match value.as_str() {
                        "on" => true,
                        "off" => false,
                        _ => return Err(wrong("on or off")),
                    }
                }
                "sticky" => {
                    found.sticky = match value.as_str() {
                        "entity" => true,
                        "none" => false,
                        _ => return Err(wrong("entity or none")),
                    }
                }
                "alpha" => found.limits.alpha = number(0.0, 0.5, "a probability below 0.5")?,
                "beta" => found.limits.beta = number(0.0, 0.5, "a probability below 0.5")?,
                "tolerance" => found.limits.alert_ratio = number(1.0, 100.0, "a ratio above 1")?,
                "segment-tolerance" => found.limits.segment_ratio = Some(number(1.0, 100.0, "a ratio above 1")?),
                "segments" => {
                    let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                    found.segments = names.map(str::to_owned).collect();
                }
                "score-tolerance" if value == "off" => found.limits.score_ratio = None,
                "score-tolerance" => found.limits.score_ratio = Some(number(1.0, 100.0, "a ratio above 1, or off")?),
                "input-tolerance" if value == "off" => found.limits.input_nats = None,
                "input-tolerance" => found.limits.input_nats = Some(number(0.0, 2.0, "nats below 2, or off")?),
                "max-disagreement" => found.limits.disagreement = number(0.0, 0.9, "a share below 0.9")?,
                "max-errors" => found.limits.error_share = number(0.0, 0.9, "a share below 0.9")?,
                "min-shadow" => found.min_shadow_ms = time()?,
                "min-shadow-requests" => {
                    found.min_shadow_requests = value.parse().map_err(|_| wrong("a number of requests"))?;
                }
                "max-hold" => found.max_hold_ms = Some(time()?),
                "slow" => {
                    let bound = |text: &str| u32::try_from(GoDuration::parse(text).ok()?.milliseconds()).ok();
                    let bounds: Option<Vec<u32>> = value.split(',').map(|text| bound(text.trim())).collect();
                    let usable =
                        |bounds: &Vec<u32>| (1..=SLOW).contains(&bounds.len()) && bounds.is_sorted_by(|a, b| a < b);
                    let expected = "one to four ascending durations such as 20ms,100ms";
                    found.slow_ms = bounds.filter(usable).ok_or_else(|| wrong(expected))?;
                }
                "on-hold" => {
                    found.on_hold = match value.as_str() {
                        "rollback" => OnHold::Rollback,
                        "promote" => OnHold::Promote,
                        "wait" => OnHold::Wait,
                        _ => return Err(wrong("rollback, promote or wait")),
                    }
                }
                _ => {
                    return Err(InvalidField::new(
                        path,
                        "unknown: there are evidence, alpha, beta, tolerance, segments, segment-tolerance, score-tolerance, input-tolerance, max-disagreement, max-errors, min-shadow, min-shadow-requests, max-hold, on-hold, sticky and slow",
                    ));
                }
            }
        }
        let tolerance = found.limits.segment_ratio.unwrap_or(SEGMENT_TOLERANCE);
        found.limits.segment_ratio = (!found.segments.is_empty()).then_some(tolerance);
        Ok(found)
    }
}
