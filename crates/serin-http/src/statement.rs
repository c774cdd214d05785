//! Statement of a caller about a change: who makes it, and why.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::convert::Infallible;

/// Longest text that is kept of a header, in characters.
const LONGEST: usize = 2000;

/// Who changes something and why, as the caller states it in the headers `serin-actor` and `serin-reason`
/// (percent-encoded UTF-8). A statement proves nothing: where the user is known, the ledger names the user, too.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    /// Program or person that makes the change, where the header names it.
    pub actor: Option<String>,
    /// Reason for the change, a sentence for people, where the header gives it.
    pub reason: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Statement {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let stated = |name: &str| {
            let text = percent_encoding::percent_decode(parts.headers.get(name)?.as_bytes()).decode_utf8().ok()?;
            Some(text.chars().take(LONGEST).collect())
        };
        Ok(Self { actor: stated("serin-actor"), reason: stated("serin-reason") })
    }
}
