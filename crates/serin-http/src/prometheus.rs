//! Prometheus text format, version 0.0.4.

use std::fmt::Write;

/// Metric families in Prometheus text format, written one after the other.
#[derive(Debug, Default)]
pub struct Text(String, &'static str);

impl Text {
    /// Begins a family: `kind` is `counter`, `gauge` or `histogram`; the lines that follow belong to it.
    pub fn head(&mut self, name: &'static str, kind: &str, help: &str) {
        self.1 = name;
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Returns the whole text and ends it.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }

    /// One sample of the family with its labels.
    pub fn line(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.part("", labels, value);
    }

    /// A line of the family with `suffix` behind its name, such as `_bucket`.
    pub fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{}{suffix}{labels} {value}", self.1);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn label_values_stay_within_their_quotes() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
