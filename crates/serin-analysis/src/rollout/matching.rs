//! Which requests an A/B rollout sends to the candidate: `spec.analysis.match`, as Flagger hands it to a mesh.

use super::canary::InvalidField;
use regex_lite::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One alternative of an A/B rollout: a request that fits all of its patterns goes to the candidate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Pattern of each header by the header's name, in any case.
    #[serde(default)]
    pub headers: BTreeMap<String, Pattern>,
    /// Pattern of each query parameter by the parameter's name.
    #[serde(default)]
    pub query_params: BTreeMap<String, Pattern>,
    /// Labels of the client's workload; have an effect only in a cluster.
    #[serde(default)]
    pub source_labels: BTreeMap<String, String>,
}

/// Comparison of a header's or parameter's value with a text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Pattern {
    /// The value is this text.
    Exact(String),
    /// The value begins with this text.
    Prefix(String),
    /// The value ends with this text.
    Suffix(String),
    /// The whole value matches this regular expression.
    Regex(String),
}

/// Alternatives of a rollout. Each asks for all of its headers and query parameters; one that fits is enough.
#[derive(Debug)]
pub struct Matching(Vec<Alternative>);

#[derive(Debug, Default)]
struct Alternative {
    /// Test of each header by its lower-case name.
    headers: Vec<(String, Test)>,
    parameters: Vec<(String, Test)>,
}

#[derive(Debug)]
enum Test {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Regex(Regex),
}

impl Test {
    /// `path` is the pattern's, for the error.
    fn of(path: &str, pattern: &Pattern) -> Result<Self, InvalidField> {
        Ok(match pattern {
            Pattern::Exact(text) => Self::Exact(text.clone()),
            Pattern::Prefix(text) => Self::Prefix(text.clone()),
            Pattern::Suffix(text) => Self::Suffix(text.clone()),
            // Of the whole value, as Envoy takes it.
            Pattern::Regex(text) => {
                let regex = Regex::new(&format!("^(?:{text})$"));
                Self::Regex(regex.map_err(|error| InvalidField::new(path, format!("{text:?}: {error}")))?)
            }
        })
    }

    fn accepts(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => value == text,
            Self::Prefix(text) => value.starts_with(text),
            Self::Suffix(text) => value.ends_with(text),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

impl Matching {
    /// Compiles the alternatives; none where the list is empty.
    ///
    /// # Errors
    /// When a pattern is no regular expression, or an alternative names nothing that a request has.
    pub fn of(matches: &[Match]) -> Result<Option<Self>, InvalidField> {
        let mut alternatives = Vec::new();
        for (number, alternative) in matches.iter().enumerate() {
            let at = format!("spec.analysis.match[{number}]");
            let test = |kind: &str, (name, pattern): (&String, &Pattern)| {
                Test::of(&format!("{at}.{kind}.{name}"), pattern).map(|test| (name.clone(), test))
            };
            let headers: Result<Vec<_>, _> = alternative.headers.iter().map(|pair| test("headers", pair)).collect();
            let parameters: Result<Vec<_>, _> =
                alternative.query_params.iter().map(|pair| test("queryParams", pair)).collect();
            let (mut headers, parameters) = (headers?, parameters?);
            if headers.is_empty() && parameters.is_empty() {
                let reason = "it names no header and no queryParam, by which alone a request is told here";
                return Err(InvalidField::new(at, reason));
            }
            headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
            alternatives.push(Alternative { headers, parameters });
        }
        Ok((!alternatives.is_empty()).then_some(Self(alternatives)))
    }

    /// Returns whether a request is the candidate's. `header` is asked by lower-case name, `parameter` by name; a value of
    /// none does not match.
    pub fn accepts(&self, header: impl Fn(&str) -> Option<String>, parameter: impl Fn(&str) -> Option<String>) -> bool {
        let all = |tests: &[(String, Test)], value: &dyn Fn(&str) -> Option<String>| {
            tests.iter().all(|(name, test)| value(name).is_some_and(|value| test.accepts(&value)))
        };
        self.0.iter().any(|one| all(&one.headers, &header) && all(&one.parameters, &parameter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(yaml_like: &str, headers: &[(&str, &str)], parameters: &[(&str, &str)]) -> bool {
        let matches: Vec<Match> = serde_json::from_str(yaml_like).expect("a match");
        let matching = Matching::of(&matches).expect("patterns").expect("some");
        let of = |pairs: &[(&str, &str)], name: &str| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        matching.accepts(|name| of(headers, name), |name| of(parameters, name))
    }

    #[test]
    fn alternatives_of_headers_and_parameters_are_told() {
        let cookie = r#"[{"headers": {"Cookie": {"regex": "(.*?;)?(canary=always)(;.*)?"}}}, {"headers": {"x-shop": {"prefix": "b"}, "x-team": {"exact": "risk"}}, "queryParams": {"to": {"suffix": "-new"}}}]"#;
        assert!(accepts(cookie, &[("cookie", "a=1;canary=always;b=2")], &[]));
        assert!(!accepts(cookie, &[("cookie", "xcanary=always")], &[]) && !accepts(cookie, &[], &[]));
        let both = [("x-shop", "berlin"), ("x-team", "risk")];
        assert!(accepts(cookie, &both, &[("to", "v-new")]));
        assert!(!accepts(cookie, &both, &[]) && !accepts(cookie, &both[..1], &[("to", "v-new")]));
    }

    #[test]
    fn what_cannot_be_told_is_refused_with_its_place() {
        let refused = |text: &str| {
            let matches: Vec<Match> = serde_json::from_str(text).expect("a match");
            Matching::of(&matches).expect_err("refused").to_string()
        };
        assert!(
            refused(r#"[{"sourceLabels": {"app": "x"}}]"#).starts_with("spec.analysis.match[0]: it names no header")
        );
        assert!(refused(r#"[{"headers": {"a": {"regex": "("}}}]"#).starts_with("spec.analysis.match[0].headers.a: "));
        assert!(Matching::of(&[]).is_ok_and(|none| none.is_none()));
    }
}
