//! A score made of rules, for when no model can answer in time.

use crate::columns::Signature;
use serde::Deserialize;

/// Rules over named columns; the highest score of those that hold counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Score from which a row is an alert, inclusive, 0 to 1.
    pub threshold: f32,
    /// Score of a row for which no rule holds, 0 to 1.
    #[serde(default)]
    pub otherwise: f32,
    /// The rules, at least one, in any order.
    pub rules: Vec<Rule>,
}

/// One condition on one column.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name of the model's column that the rule is about.
    pub feature: String,
    /// Least value for which the rule holds, inclusive; none sets no bound.
    #[serde(default)]
    pub at_least: Option<f32>,
    /// Bound below which the rule holds, exclusive; none sets no bound.
    #[serde(default)]
    pub below: Option<f32>,
    /// True if the rule holds for a missing value too.
    #[serde(default)]
    pub or_missing: bool,
    /// Score of a row for which the rule holds, 0 to 1.
    pub score: f32,
}

/// Reason why a file of rules was refused.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The bytes are no JSON of rules.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// There is no rule.
    #[error("rules is empty: write at least one")]
    Empty,
    /// A score or threshold is not from 0 to 1.
    #[error("{name} is {score}: a score lies between 0 and 1")]
    NoScore {
        /// Path of the field in the file.
        name: String,
        /// Value of the field.
        score: f32,
    },
    /// A rule has no condition; here is its number, from 0.
    #[error("rules[{0}] holds for nothing: give at_least, below or or_missing")]
    NoCondition(usize),
}

impl Rules {
    /// Reads the JSON form, such as
    /// `{"threshold": 0.5, "rules": [{"feature": "TX_AMOUNT", "at_least": 1000, "score": 0.9}]}`.
    ///
    /// # Errors
    /// When the bytes are no such JSON, a score is none, or a rule holds for no row.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RulesError> {
        let rules: Self = serde_json::from_slice(bytes)?;
        if rules.rules.is_empty() {
            return Err(RulesError::Empty);
        }
        let known = |name: &str, score: f32| match (0.0..=1.0).contains(&score) {
            true => Ok(()),
            false => Err(RulesError::NoScore { name: name.to_owned(), score }),
        };
        known("threshold", rules.threshold)?;
        known("otherwise", rules.otherwise)?;
        for (number, rule) in rules.rules.iter().enumerate() {
            known(&format!("rules[{number}].score"), rule.score)?;
            if rule.at_least.is_none() && rule.below.is_none() && !rule.or_missing {
                return Err(RulesError::NoCondition(number));
            }
        }
        Ok(rules)
    }

    /// Returns the first column of a rule that a model does not have; none where it has all.
    #[must_use]
    pub fn missing_from(&self, signature: &Signature) -> Option<&str> {
        self.rules.iter().map(|rule| rule.feature.as_str()).find(|name| signature.position(name).is_none())
    }

    /// Returns the score of a row in the order of `signature`, 0 to 1; none where a column is not there.
    #[must_use]
    pub fn score(&self, signature: &Signature, features: &[f32]) -> Option<f32> {
        let mut highest = None;
        for rule in &self.rules {
            if rule.holds(*features.get(signature.position(&rule.feature)?)?) {
                highest = Some(highest.map_or(rule.score, |score: f32| score.max(rule.score)));
            }
        }
        Some(highest.unwrap_or(self.otherwise))
    }
}

impl Rule {
    fn holds(&self, value: f32) -> bool {
        if value.is_nan() {
            return self.or_missing;
        }
        let bounded = self.at_least.is_some() || self.below.is_some();
        bounded && self.at_least.is_none_or(|least| value >= least) && self.below.is_none_or(|bound| value < bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::{Column, ColumnKind};

    fn signature() -> Signature {
        let column = |name: &str| Column { name: name.into(), kind: ColumnKind::Number, nullable: true };
        Signature { columns: vec![column("amount"), column("night")] }
    }

    #[test]
    fn the_highest_rule_that_holds_counts() {
        let rules = Rules::from_bytes(
            br#"{"threshold": 0.5, "otherwise": 0.01, "rules": [
                {"feature": "amount", "at_least": 1000, "score": 0.9},
                {"feature": "amount", "at_least": 100, "below": 5000, "score": 0.4},
                {"feature": "night", "or_missing": true, "score": 0.6}]}"#,
        )
        .expect("rules");
        let score = |row: [f32; 2]| rules.score(&signature(), &row).expect("a score");
        assert_eq!(score([1000.0, 0.0]), 0.9);
        assert_eq!(score([999.99, 0.0]), 0.4);
        assert_eq!(score([5.0, 0.0]), 0.01);
        assert_eq!(score([5.0, f32::NAN]), 0.6);
        assert_eq!(score([f32::NAN, 1.0]), 0.01);
        let other = Signature { columns: signature().columns[..1].to_vec() };
        assert_eq!((rules.score(&other, &[1.0]), rules.missing_from(&other)), (None, Some("night")));
    }

    #[test]
    fn a_rule_that_can_mean_nothing_is_refused() {
        for (text, expected) in [
            (r#"{"threshold": 0.5, "rules": []}"#, "empty"),
            (r#"{"threshold": 1.5, "rules": [{"feature": "a", "below": 1, "score": 1}]}"#, "threshold is 1.5"),
            (r#"{"threshold": 0.5, "rules": [{"feature": "a", "score": 1}]}"#, "rules[0] holds for nothing"),
            (r#"{"threshold": 0.5, "rules": [{"feature": "a", "above": 1, "score": 1}]}"#, "unknown field `above`"),
        ] {
            let error = Rules::from_bytes(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
