//! Go's durations, as `canary.yaml` writes them.

use serde::{Deserialize, Deserializer};

/// Text that Go reads as no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration: write 10s, 1m30s or 500ms")]
pub struct InvalidDuration(String);

/// A length of time such as `10s`, `1m30s` or `500ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoDuration(i64);

impl GoDuration {
    /// Makes a duration of this many milliseconds.
    #[must_use]
    pub const fn from_milliseconds(milliseconds: i64) -> Self {
        Self(milliseconds)
    }

    /// Length of the duration in milliseconds.
    #[must_use]
    pub fn milliseconds(self) -> i64 {
        self.0
    }

    /// Reads Go's form (<https://pkg.go.dev/time#ParseDuration>); fractions of a millisecond are cut off.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn parse(text: &str) -> Result<Self, InvalidDuration> {
        let wrong = || InvalidDuration(text.to_owned());
        let mut rest = text;
        let mut total = 0.0;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
            let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit = match &rest[..length] {
                "h" => 3_600_000.0,
                "m" => 60_000.0,
                "s" => 1000.0,
                "ms" => 1.0,
                "us" | "µs" => 1e-3,
                "ns" => 1e-6,
                _ => return Err(wrong()),
            };
            total += number * unit;
            rest = &rest[length..];
        }
        if total > 1e15 { Err(wrong()) } else { Ok(Self(total as i64)) }
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, expected) in
            [("10s", 10_000), ("1m", 60_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("250ms", 250), ("0s", 0)]
        {
            assert_eq!(GoDuration::parse(text).map(GoDuration::milliseconds), Ok(expected), "{text}");
        }
        for text in ["", "10", "s", "10 s", "-5s", "10x", "1.2.3s", "99999999999999h"] {
            assert!(GoDuration::parse(text).is_err(), "{text}");
        }
    }
}
