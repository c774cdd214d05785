//! From figures to alerts: an alert begins after some looks in a row at which its condition held and ends after some at
//! which it did not; in between it is one alert, however often the condition is looked at.

use super::{Certainty, Report, Watch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What kind of thing is wrong; each has its own name in configuration, history and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A column, or the score, is no longer distributed as it was.
    Drift,
    /// The drifted columns carry much of the model.
    DriftedShare,
    /// Alerts are more or fewer than they were.
    AlertRate,
    /// Values are missing or unknown: for a person, never for a retraining.
    DataQuality,
    /// Matured figures are worse than they were.
    Performance,
    /// Scoring itself: nothing comes, or decisions are lost.
    Service,
}

impl Rule {
    /// Every rule, in the order of declaration.
    pub const ALL: [Self; 6] =
        [Self::Drift, Self::DriftedShare, Self::AlertRate, Self::DataQuality, Self::Performance, Self::Service];

    /// Returns the name of the rule in configuration, history and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::DriftedShare => "drifted-share",
            Self::AlertRate => "alert-rate",
            Self::DataQuality => "data-quality",
            Self::Performance => "performance",
            Self::Service => "service",
        }
    }

    /// Returns whether somebody has to look now: true for all rules but drift of a single column.
    #[must_use]
    pub fn is_critical(self) -> bool {
        !matches!(self, Self::Drift)
    }
}

/// What was found of one condition at one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Rule that the condition belongs to.
    pub rule: Rule,
    /// Name of the column or figure that the condition is about.
    pub subject: String,
    /// Whether the condition holds; none where nothing can be said, which changes no alert.
    pub wrong: Option<bool>,
    /// The condition in one sentence, for a person.
    pub message: String,
}

/// How many looks in a row it takes to begin and to end an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hysteresis {
    /// Number of looks in a row at which the condition must hold until the alert begins; 0 counts as 1.
    pub begin: u32,
    /// Number of looks in a row at which the condition must not hold until the alert ends.
    pub end: u32,
}

impl Default for Hysteresis {
    fn default() -> Self {
        Self { begin: 2, end: 6 }
    }
}

/// An alert that began or ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Rule that the alert belongs to.
    pub rule: Rule,
    /// Name of the column or figure that the alert is about.
    pub subject: String,
    /// True if the alert began, false if it ended.
    pub began: bool,
    /// The alert in one sentence, for a person.
    pub message: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct State {
    wrong: u32,
    right: u32,
    firing: bool,
}

/// State of every alert by rule and subject: whether it is on, and how many looks in a row spoke for a change. As JSON it is a
/// list of the alerts that are on or about to begin, so that the next look may come after a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct AlertBook(BTreeMap<(Rule, String), State>);

/// State of one alert, as a book is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    rule: Rule,
    subject: String,
    wrong: u32,
    right: u32,
    firing: bool,
}

impl From<Vec<Entry>> for AlertBook {
    fn from(entries: Vec<Entry>) -> Self {
        let state = |entry: Entry| {
            let Entry { rule, subject, wrong, right, firing } = entry;
            ((rule, subject), State { wrong, right, firing })
        };
        Self(entries.into_iter().map(state).collect())
    }
}

impl From<AlertBook> for Vec<Entry> {
    fn from(book: AlertBook) -> Self {
        // Looks in a row at which nothing was wrong count for alerts that are on only.
        let speaks = |(_, state): &(_, State)| state.firing || state.wrong > 0;
        let entry = |((rule, subject), state): ((Rule, String), State)| {
            let State { wrong, right, firing } = state;
            Entry { rule, subject, wrong, right, firing }
        };
        book.0.into_iter().filter(speaks).map(entry).collect()
    }
}

impl AlertBook {
    /// Makes a book with alerts that are on already, as after a restart.
    pub fn with(firing: impl IntoIterator<Item = (Rule, String)>) -> Self {
        Self(firing.into_iter().map(|key| (key, State { firing: true, ..State::default() })).collect())
    }

    /// Takes the conditions of one look and returns the alerts that began or ended by it.
    pub fn look(&mut self, conditions: Vec<Condition>, hysteresis: Hysteresis) -> Vec<Change> {
        let mut changes = Vec::new();
        for Condition { rule, subject, wrong, message } in conditions {
            let Some(wrong) = wrong else { continue };
            let state = self.0.entry((rule, subject.clone())).or_default();
            (state.wrong, state.right) =
                if wrong { (state.wrong.saturating_add(1), 0) } else { (0, state.right.saturating_add(1)) };
            let turns =
                if state.firing { state.right >= hysteresis.end } else { state.wrong >= hysteresis.begin.max(1) };
            if turns {
                state.firing = !state.firing;
                changes.push(Change { rule, subject, began: state.firing, message });
            }
        }
        changes
    }

    /// Returns whether an alert of this rule is on.
    #[must_use]
    pub fn is_firing(&self, rule: Rule) -> bool {
        self.0.iter().any(|((of, _), state)| *of == rule && state.firing)
    }
}

/// Turns a report into conditions. `share` is the fraction of the model's gain, 0 to 1, in drifted columns from which the
/// whole model counts as drifted.
#[must_use]
pub fn conditions(report: &Report, share: f64) -> Vec<Condition> {
    let known = |watch: &Watch| !matches!(watch.certainty, Certainty::Insufficient(..));
    let of = |rule: Rule, watch: &Watch| Condition {
        rule,
        subject: watch.name.clone(),
        wrong: known(watch).then_some(watch.alarm),
        message: format!(
            "{} of {} is {:.4}, alarm from {:.4} ({} decisions)",
            watch.measure, watch.name, watch.value, watch.threshold, report.rows
        ),
    };
    let mut found: Vec<Condition> = report.drift.iter().map(|watch| of(Rule::Drift, watch)).collect();
    found.extend(report.quality.iter().map(|watch| of(Rule::DataQuality, watch)));
    found.push(of(Rule::AlertRate, &report.alert_rate));
    let names: Vec<&str> = report.drift.iter().filter(|watch| watch.alarm).map(|watch| watch.name.as_str()).collect();
    found.push(Condition {
        rule: Rule::DriftedShare,
        subject: "model".to_owned(),
        wrong: report.drift.iter().any(known).then_some(report.drifted_importance >= share),
        message: format!(
            "columns with {:.0} % of the model's gain drifted, alarm from {:.0} %: {}",
            report.drifted_importance * 100.0,
            share * 100.0,
            names.join(", ")
        ),
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(book: &mut AlertBook, wrong: Option<bool>) -> Option<bool> {
        let condition = Condition { rule: Rule::Drift, subject: "x".to_owned(), wrong, message: "x is odd".to_owned() };
        let changes = book.look(vec![condition], Hysteresis { begin: 2, end: 3 });
        assert!(changes.len() <= 1);
        changes.first().map(|change| change.began)
    }

    #[test]
    fn an_alert_begins_and_ends_once() {
        let mut book = AlertBook::default();
        let looks = [
            Some(true),
            Some(false),
            Some(true),
            None,
            Some(true),
            Some(true),
            Some(false),
            Some(false),
            Some(true),
            Some(false),
            Some(false),
            Some(false),
            Some(false),
        ];
        let changes: Vec<(usize, bool)> =
            looks.iter().enumerate().filter_map(|(i, wrong)| Some((i, look(&mut book, *wrong)?))).collect();
        assert_eq!(changes, [(4, true), (11, false)]);
        assert!(!book.is_firing(Rule::Drift));
    }

    #[test]
    fn looks_in_a_row_are_counted_over_a_restart() {
        let mut book = AlertBook::default();
        assert_eq!(look(&mut book, Some(true)), None);
        let stored = serde_json::to_string(&book).expect("JSON");
        let mut book: AlertBook = serde_json::from_str(&stored).expect("a book");
        assert_eq!(look(&mut book, Some(true)), Some(true), "the second look in a row");
        assert_eq!((look(&mut book, Some(false)), look(&mut book, Some(false))), (None, None));
        let stored = serde_json::to_string(&book).expect("JSON");
        let mut book: AlertBook = serde_json::from_str(&stored).expect("a book");
        assert_eq!(look(&mut book, Some(false)), Some(false), "the third quiet look in a row");
        assert_eq!(serde_json::to_string(&book).expect("JSON"), "[]", "what is quiet is not stored");
    }

    #[test]
    fn what_was_on_before_a_restart_is_not_told_again() {
        let mut book = AlertBook::with([(Rule::Drift, "x".to_owned())]);
        assert!(book.is_firing(Rule::Drift) && !book.is_firing(Rule::AlertRate));
        assert_eq!((look(&mut book, Some(true)), look(&mut book, Some(true))), (None, None));
        assert_eq!([Some(false); 3].map(|wrong| look(&mut book, wrong)), [None, None, Some(false)]);
    }
}
