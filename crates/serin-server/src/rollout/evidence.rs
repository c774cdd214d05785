//! Evidence of several data planes: each says what it counted, and hears what the other ones did. The sum is judged, so the
//! verdict is that of one server with all of the traffic.

use crate::http::error::ApiError;
use crate::routes::ControlPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serin_analysis::evidence::Counts;
use serin_store::{Store, StoreError};

/// What a data plane counted of a release so far; its later word replaces its earlier one, so that repeats change nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedEvidence {
    /// Registered model.
    pub model: String,
    /// Which versions: the candidate's and the stable one's.
    pub release: String,
    /// Name of the data plane, its own for ever.
    pub replica: String,
    /// Grows with every word.
    pub sequence: i64,
    /// Everything it counted.
    pub counts: Counts,
}

/// What the other data planes counted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct OthersEvidence {
    /// Added up.
    pub counts: Counts,
    /// How many they are.
    pub replicas: u64,
}

/// Keeps one's evidence and answers the other ones'.
///
/// # Errors
/// When the database fails, or holds what it should not.
pub async fn share_evidence(store: &Store, shared: &SharedEvidence) -> Result<OthersEvidence, StoreError> {
    let wrong = |error: serde_json::Error| StoreError::Invalid(format!("evidence of {}: {error}", shared.model));
    let counts = serde_json::to_string(&shared.counts).map_err(wrong)?;
    let SharedEvidence { model, release, replica, sequence, .. } = shared;
    let mut others = OthersEvidence::default();
    for counts in store.share_evidence(model, release, replica, *sequence, &counts).await? {
        others.counts.merge(&serde_json::from_str(&counts).map_err(wrong)?);
        others.replicas += 1;
    }
    Ok(others)
}

/// `POST /v1/evidence`. May be repeated.
pub(crate) async fn share(State(state): State<ControlPlane>, body: Bytes) -> Result<Json<OthersEvidence>, ApiError> {
    let shared: SharedEvidence =
        serde_json::from_slice(&body).map_err(|error| ApiError::invalid(format!("this is no evidence: {error}")))?;
    if shared.model.len() > 256 || shared.release.len() > 128 || shared.replica.len() > 64 || shared.replica.is_empty()
    {
        return Err(ApiError::invalid("model, release or replica is too long, or empty"));
    }
    Ok(Json(share_evidence(&state.store, &shared).await?))
}
