//! Keys that callers of the data plane show; only their hashes are kept.

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// Shorter keys can be guessed.
const SHORTEST: usize = 16;
/// The keys that are admitted. Cheap to clone.
#[derive(Clone)]
pub struct ApiKeys(Arc<[[u8; 32]]>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.0.len())
    }
}

/// Reason why a file of keys was refused. No variant holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// A key can be guessed; here is its line, from 1.
    #[error("the key on line {0} is shorter than {SHORTEST} characters: make one with openssl rand -hex 24")]
    Short(usize),
    /// The file has no key.
    #[error("there is no key in it: write one a line, made with openssl rand -hex 24")]
    Empty,
}

impl ApiKeys {
    /// One key a line; empty lines and what begins with `#` are skipped.
    ///
    /// # Errors
    /// When there is no key, or one is shorter than 16 characters; names its line, not the key.
    pub fn parse(text: &str) -> Result<Self, InvalidKeys> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let key = line.trim();
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            if key.len() < SHORTEST {
                return Err(InvalidKeys::Short(number + 1));
            }
            keys.push(Sha256::digest(key.as_bytes()).into());
        }
        if keys.is_empty() {
            return Err(InvalidKeys::Empty);
        }
        Ok(Self(keys.into()))
    }

    /// Whether a request shows one of the keys, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.
    #[must_use]
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let shown = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()));
        let Some(shown) = shown else { return false };
        let shown = Sha256::digest(shown.as_bytes());
        // All are compared, each in constant time: how long it takes says nothing of which one was nearly right.
        self.0.iter().fold(false, |admitted, key| {
            admitted | aws_lc_rs::constant_time::verify_slices_are_equal(key, &shown).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_keys_is_read_and_its_faults_are_named_without_the_key() {
        assert!(ApiKeys::parse("").is_err() && ApiKeys::parse("# only a comment\n\n").is_err());
        let error = ApiKeys::parse("0123456789abcdef\nshort-secret\n").expect_err("too short").to_string();
        assert!(error.contains("line 2") && !error.contains("short-secret"), "{error}");
        let keys = ApiKeys::parse("# ours\n  0123456789abcdef  \nfedcba9876543210\n").expect("two keys");
        assert_eq!(format!("{keys:?}"), "ApiKeys(2)");
    }
}
