//! Context of a request: what its head says about deciding it.

use crate::state::DataPlane;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use std::convert::Infallible;
use std::time::Instant;

/// Conditions from a request's head under which it is decided.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RequestContext {
    /// Moment after which a fallback decides; `None` without a deadline.
    pub(crate) due: Option<Instant>,
    /// True if the rule of an A/B rollout sends the request to the candidate.
    pub(crate) matched: bool,
}

impl RequestContext {
    /// Context of a request, by the server's deadline and the matching rule of its release.
    pub(crate) fn of(state: &DataPlane, uri: &Uri, headers: &HeaderMap) -> Self {
        let due = state.deadline.map(|time| Instant::now() + time);
        let matching = state.release.as_ref().and_then(|release| release.matching());
        let matched = matching.is_some_and(|matching| {
            let header = |name: &str| {
                let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
                (!values.is_empty()).then(|| values.join(","))
            };
            let parameter = |name: &str| {
                let mut pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
                pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
            };
            matching.accepts(header, parameter)
        });
        Self { due, matched }
    }

    pub(crate) fn is_over(self) -> bool {
        self.due.is_some_and(|due| Instant::now() >= due)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or_default())
    }
}
