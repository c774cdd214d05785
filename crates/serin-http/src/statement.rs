//! Statement of a caller about a change: who makes it, why, and what must be true for it.

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
    /// Data plane that must lead the rollout for the change to be made, and the epoch of its lead, as the header
    /// `serin-leader` names them (`REPLICA EPOCH`). Epoch 0, which none has, where the header cannot be read.
    pub leader: Option<(String, i64)>,
    /// Version that must be live for the change to be made, by the header `serin-replaces`; 0, which none has, where
    /// the header cannot be read.
    pub replaces: Option<i64>,
}

impl<S: Send + Sync> FromRequestParts<S> for Statement {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let stated = |name: &str| {
            let text = percent_encoding::percent_decode(parts.headers.get(name)?.as_bytes()).decode_utf8().ok()?;
            Some(text.chars().take(LONGEST).collect::<String>())
        };
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let leader = header("serin-leader").map(|text| {
            let (replica, epoch) = text.rsplit_once(' ').unwrap_or_default();
            (replica.to_owned(), epoch.parse().unwrap_or(0))
        });
        let replaces = header("serin-replaces").map(|text| text.parse().unwrap_or(0));
        Ok(Self { actor: stated("serin-actor"), reason: stated("serin-reason"), leader, replaces })
    }
}
