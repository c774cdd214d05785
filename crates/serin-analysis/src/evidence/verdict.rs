//! All evidence of a rollout at once: one error rate, three outcomes, one reason.

use super::allocation::{Allocation, Events};
use super::guard::{ln_e_share, ln_e_split};
use super::inputs::Inputs;
use super::paired::Paired;
use super::scores::Scores;
use super::segments::Segments;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Outcome of judging all evidence of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// Harm is proven; holds the reason as text for a person.
    Fail(String),
    /// Harmlessness is proven, or no evidence is asked for.
    Pass,
    /// Neither harm nor harmlessness is proven; holds the reason as text for a person.
    Hold(String),
}

/// Everything that is counted in a rollout; counts of several processes may be added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that both versions have scored, by what each would have done.
    pub paired: Paired,
    /// Requests that each arm has answered, by the candidate's weight in units of 1/10,000.
    pub requests: BTreeMap<u32, Events>,
    /// Answers that are no decision of the model (errors, fallbacks, scores that are no number), by arm and weight.
    pub errors: Allocation,
    /// Answers slower than a bound, by arm and weight, for each bound in milliseconds.
    #[serde(default, rename = "slow_by_bound")]
    pub slow: BTreeMap<u32, Allocation>,
    /// Answers that are alerts, by arm and weight.
    pub alerts: Allocation,
    /// Requests that both versions have scored, by segment.
    #[serde(default)]
    pub segments: Segments,
    /// Requests that both versions have scored, by how far each score lies from its version's threshold.
    #[serde(default)]
    pub scores: Scores,
    /// Live values of each column, by which version's training data they are likelier in.
    #[serde(default)]
    pub inputs: Inputs,
}

impl Counts {
    /// Adds the counts of another process.
    pub fn merge(&mut self, other: &Self) {
        self.paired.merge(&other.paired);
        for (weight, events) in &other.requests {
            *self.requests.entry(*weight).or_default() += *events;
        }
        self.errors.merge(&other.errors);
        for (bound, slow) in &other.slow {
            self.slow.entry(*bound).or_default().merge(slow);
        }
        self.alerts.merge(&other.alerts);
        self.segments.merge(&other.segments);
        self.scores.merge(&other.scores);
        self.inputs.merge(&other.inputs);
    }

    /// Number of requests that the candidate has answered.
    #[must_use]
    pub fn exposed(&self) -> u64 {
        self.requests.values().map(|events| events.candidate).sum()
    }
}

/// What is tolerated, and how sure a verdict must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Probability that a harmless candidate is ever rolled back.
    pub alpha: f64,
    /// Probability that a harmful one is ever taken for proven harmless.
    pub beta: f64,
    /// Factor above 1 by which the candidate's rate of errors, and of slow answers, may exceed the stable version's.
    pub error_ratio: f64,
    /// Factor above 1: the candidate's alert rate may be between 1/this and this times the stable version's.
    pub alert_ratio: f64,
    /// The same factor for the alert rate within each segment; none where no segments are declared.
    pub segment_ratio: Option<f64>,
    /// The same factor for the number of scores from each bound of [`Scores`] up; none leaves scores out.
    pub score_ratio: Option<f64>,
    /// Nats by which the live values of a column may be likelier, on average, in the stable version's reference than in the
    /// candidate's; none leaves columns out.
    pub input_nats: Option<f64>,
    /// Fraction of the candidate's requests, 0 to 1, that may be errors.
    pub error_share: f64,
    /// Fraction, 0 to 1, of the requests on which either version alerts that may be alerts of one version alone.
    pub disagreement: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            alpha: 0.001,
            beta: 0.05,
            error_ratio: 1.25,
            alert_ratio: 1.5,
            segment_ratio: None,
            score_ratio: Some(4.0),
            input_nats: Some(0.05),
            error_share: 0.01,
            disagreement: 0.5,
        }
    }
}

/// Evidence of one kind of harm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Component {
    /// Name of the kind of harm, as reports and reasons show it.
    pub name: &'static str,
    /// Its share of the error rate; all add up to 1.
    pub weight: f64,
    /// ln of the e-value against "there is no such harm", in nats.
    pub ln_e: f64,
    /// What was found, for a person.
    pub found: String,
}

/// Result of judging all evidence of a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Evidence of each kind of harm, in the order in which reports show them.
    pub components: Vec<Component>,
    /// ln of the weighted sum of the e-values, in nats; harm is proven from ln(1/α) up.
    pub ln_e: f64,
    /// ln of the e-value against "its alert rate is out of bounds", in nats; harmlessness is proven from ln(1/β) up.
    pub ln_e_alike: f64,
    /// FAIL, PASS or HOLD, with the reason.
    pub judgement: Judgement,
}

/// Judges counts. PASS needs proof that alerts stay within bounds and that the candidate scores what the stable version
/// scores; nothing seen is HOLD.
#[must_use]
pub fn judge(counts: &Counts, limits: &Limits) -> Verdict {
    let paired = &counts.paired;
    let seen = paired.requests() + paired.unscored;
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    let ratio = paired.alert_ratio().map_or("no alerts yet".to_owned(), |ratio| format!("{ratio:.2} times the alerts"));
    let arms =
        |events: Events| format!("{} on the candidate, {} on the stable version", events.candidate, events.stable);
    let differ = paired.raised + paired.lowered;
    let split: Vec<(f64, u64, u64)> = counts
        .requests
        .iter()
        .map(|(weight, events)| (f64::from(*weight) / 1e4, events.candidate, events.candidate + events.stable))
        .collect();
    let exposed = counts.exposed();
    let errors = counts.errors.events();
    // As many bounds as are declared: each is there from the first look on.
    let slow: Vec<(u32, f64, Events)> =
        counts.slow.iter().map(|(bound, slow)| (*bound, slow.ln_e_above(limits.error_ratio), slow.events())).collect();
    let slow_ln_e = if slow.is_empty() { 0.0 } else { super::mixture(slow.iter().map(|(_, ln_e, _)| *ln_e)) };
    let slow_found = slow.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let slow_found = slow_found
        .map_or_else(|| "none yet".to_owned(), |(bound, _, events)| format!("above {bound} ms {}", arms(*events)));
    let component = |name, weight, ln_e, found| Component { name, weight, ln_e, found };
    let two_sided = |above: f64, below: f64| super::mixture([above, below].into_iter());
    let mut components = vec![
        component(
            "unscored",
            0.15,
            ln_e_share(paired.unscored, seen, limits.error_share),
            format!("{} of {seen} requests not scored", paired.unscored),
        ),
        component("more alerts", 0.15, paired.ln_e_more_alerts(limits.alert_ratio), ratio.clone()),
        component("fewer alerts", 0.15, paired.ln_e_fewer_alerts(limits.alert_ratio), ratio),
        component(
            "disagreement",
            0.1,
            ln_e_share(differ, paired.both + differ, limits.disagreement),
            format!("{} of the alerts are one version's alone", percent(paired.disagreement().unwrap_or(0.0))),
        ),
        component("errors", 0.15, counts.errors.ln_e_above(limits.error_ratio), arms(errors)),
        component(
            "error share",
            0.1,
            ln_e_share(errors.candidate, exposed, limits.error_share),
            format!("{} of {exposed} requests", errors.candidate),
        ),
        component("slow answers", 0.1, slow_ln_e, slow_found),
        component(
            "alerts of the arms",
            0.05,
            two_sided(counts.alerts.ln_e_above(limits.alert_ratio), counts.alerts.ln_e_below(1.0 / limits.alert_ratio)),
            arms(counts.alerts.events()),
        ),
        component("split", 0.05, ln_e_split(&split), format!("{exposed} requests went to the candidate")),
    ];
    if let Some(most) = limits.score_ratio {
        let (ln_e, found) = counts.scores.ln_e(most);
        components.push(component("scores", 0.05, ln_e, found));
    }
    if let Some(most) = limits.input_nats {
        let (ln_e, means) = counts.inputs.ln_e(most);
        components.insert(0, component("inputs", 0.1, ln_e, unlike(&means, most)));
    }
    if let Some(most) = limits.segment_ratio {
        let (ln_e, worst) = counts.segments.ln_e(most);
        let found = worst.map_or("no segment yet".to_owned(), |(name, paired)| match paired.alert_ratio() {
            Some(ratio) => format!("{ratio:.2} times the alerts where {name}"),
            None => format!("{} alerts and none before where {name}", paired.raised),
        });
        components.push(component("segment", 0.1, ln_e, found));
    }
    let whole: f64 = components.iter().map(|component| component.weight).sum();
    components.iter_mut().for_each(|component| component.weight /= whole);
    let terms: Vec<f64> = components.iter().map(|component| component.weight.ln() + component.ln_e).collect();
    let ln_e = super::mixture(terms.iter().copied()) + (terms.len() as f64).ln();
    let ln_e_alike = paired.ln_e_alike(limits.alert_ratio);
    let judgement = if ln_e >= -limits.alpha.ln() {
        // Each that is proven by itself, the more telling ones first; together they may be more than any one.
        let term = |part: &&Component| part.weight.ln() + part.ln_e;
        let mut proven: Vec<&Component> = components.iter().filter(|part| term(part) >= -limits.alpha.ln()).collect();
        if proven.is_empty() {
            proven.extend(components.iter().max_by(|a, b| term(a).total_cmp(&term(b))));
        }
        let named = |part: &&Component| format!("{}: {}", part.name, part.found);
        let reason = proven.iter().map(named).collect::<Vec<_>>().join("; ") + &format!(" (E {})", shown(ln_e));
        Judgement::Fail(reason)
    } else if ln_e_alike >= -limits.beta.ln() {
        Judgement::Pass
    } else {
        let most = limits.alert_ratio;
        Judgement::Hold(format!(
            "{} requests and {} alerts do not show yet that alerts stay within {:.2} to {most:.2} times the stable version's",
            paired.requests(),
            paired.both + paired.raised + paired.lowered,
            1.0 / most
        ))
    };
    Verdict { components, ln_e, ln_e_alike, judgement }
}

/// Columns that are unlike what the candidate was trained on, by their means in nats.
fn unlike(means: &[(&str, f64)], most: f64) -> String {
    const NAMED: usize = 3;
    let unlike: Vec<_> = means.iter().filter(|(_, nats)| *nats > most).collect();
    if unlike.is_empty() {
        return "no column is unlike what the candidate was trained on".to_owned();
    }
    let named: Vec<String> =
        unlike.iter().take(NAMED).map(|(name, nats)| format!("{name} ({nats:+.2} nats)")).collect();
    let more = if unlike.len() > NAMED { format!(" and {} more", unlike.len() - NAMED) } else { String::new() };
    format!("live payments are unlike the candidate's training in {}{more}", named.join(", "))
}

/// Formats an e-value for people: a whole number, or a power of ten where it is large.
fn shown(ln_e: f64) -> String {
    if ln_e > 16.0 { format!("10^{:.0}", ln_e / std::f64::consts::LN_10) } else { format!("{:.0}", ln_e.exp()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_data_is_hold_and_weights_add_up() {
        let verdict = judge(&Counts::default(), &Limits::default());
        assert!(matches!(verdict.judgement, Judgement::Hold(_)) && verdict.ln_e.abs() < 1e-9);
        for ratio in [None, Some(2.0)] {
            let limits = Limits { segment_ratio: ratio, score_ratio: ratio, input_nats: ratio, ..Limits::default() };
            let verdict = judge(&Counts::default(), &limits);
            let total: f64 = verdict.components.iter().map(|component| component.weight).sum();
            assert!((total - 1.0).abs() < 1e-12);
            assert!(verdict.ln_e.abs() < 1e-9);
        }
    }

    #[test]
    fn each_harm_is_named() {
        let quiet = Paired { both: 300, raised: 10, lowered: 12, neither: 50_000, unscored: 0 };
        let judged = |counts: &Counts| judge(counts, &Limits::default()).judgement;
        let good = Counts { paired: quiet, ..Counts::default() };
        assert_eq!(judged(&good), Judgement::Pass);
        let named = |counts: &Counts, name: &str| {
            let Judgement::Fail(reason) = judged(counts) else { panic!("{name} is not seen") };
            assert!(reason.starts_with(name), "{reason}");
        };
        named(&Counts { paired: Paired { raised: 400, ..quiet }, ..Counts::default() }, "more alerts");
        named(&Counts { paired: Paired { both: 50, lowered: 262, ..quiet }, ..Counts::default() }, "fewer alerts");
        named(&Counts { paired: Paired { unscored: 5_000, ..quiet }, ..Counts::default() }, "unscored");
        let swapped = Paired { both: 30, raised: 400, lowered: 400, neither: 50_000, unscored: 0 };
        named(&Counts { paired: swapped, ..Counts::default() }, "disagreement");
        let mut night = good.clone();
        night.segments.add("night=1", &Paired { both: 20, raised: 200, ..Paired::default() });
        let limits = Limits { segment_ratio: Some(2.25), ..Limits::default() };
        let Judgement::Fail(reason) = judge(&night, &limits).judgement else { panic!("the night is not seen") };
        assert!(reason.starts_with("segment: 11.00 times the alerts where night=1"), "{reason}");
        assert_eq!(judged(&night), Judgement::Pass, "nobody asked for segments");
        let mut failing = good.clone();
        failing.errors.add(500, Events { candidate: 40, stable: 10 });
        failing.requests.insert(500, Events { candidate: 5_000, stable: 95_000 });
        named(&failing, "errors");
        let mut slow = good.clone();
        slow.slow.entry(20).or_default().add(500, Events { candidate: 10, stable: 200 });
        slow.slow.entry(250).or_default().add(500, Events { candidate: 40, stable: 10 });
        named(&slow, "slow answers: above 250 ms 40 on the candidate");
        let mut twice = slow.clone();
        twice.merge(&slow);
        assert_eq!(twice.slow[&20].events(), Events { candidate: 20, stable: 400 });
        let mut sharp = good.clone();
        (0..400).for_each(|_| sharp.scores.count((0.3, 0.5), (0.99, 0.5)));
        named(&sharp, "scores: ");
        let mut skewed = good;
        skewed.requests.insert(500, Events { candidate: 5_000, stable: 5_000 });
        named(&skewed, "split");
    }
}
