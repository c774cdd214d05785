//! Evidence of several data planes: each says what it counted, and hears what the other ones did. The sum is judged, so the
//! verdict is that of one server with all of the traffic. One of them leads: it moves the release, calls the hooks and sends the
//! alerts, and the others go where it says.

use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::Value;
use serin_analysis::evidence::sharing::{OthersEvidence, SharedEvidence};
use serin_store::{LeaseRequest, Store, StoreError};

/// Keeps one's evidence and answers the other ones'.
///
/// # Errors
/// When the database fails, or holds what it should not.
pub async fn share_evidence(store: &Store, shared: &SharedEvidence, now_ms: i64) -> Result<OthersEvidence, StoreError> {
    let wrong = |error: serde_json::Error| StoreError::InvalidInput(format!("evidence of {}: {error}", shared.model));
    let counts = serde_json::to_string(&shared.counts).map_err(wrong)?;
    let SharedEvidence { model, release, replica, sequence, .. } = shared;
    let mut others = OthersEvidence::default();
    for counts in store.share_evidence(model, release, replica, *sequence, &counts).await? {
        others.counts.merge(&serde_json::from_str(&counts).map_err(wrong)?);
        others.replicas += 1;
    }
    if shared.lease_ms > 0 {
        let asked = LeaseRequest {
            model: model.clone(),
            replica: replica.clone(),
            now_ms,
            lease_ms: shared.lease_ms,
            claims: shared.claims,
            state: shared.state.as_ref().map(Value::to_string),
        };
        let lead = store.lead(&asked).await?;
        (others.leads, others.epoch) = (lead.leads, lead.epoch);
        if lead.leads {
            // Counts of attempts that are over would be kept for ever.
            store.forget_evidence(model, release).await?;
        }
        others.state = lead.state.map(|state| serde_json::from_str(&state)).transpose().map_err(wrong)?;
    }
    Ok(others)
}

/// `POST /v1/evidence`. May be repeated.
pub(crate) async fn share(
    State(state): State<ControlPlane>,
    body: Bytes,
) -> Result<Json<OthersEvidence>, ControlError> {
    let shared: SharedEvidence = serde_json::from_slice(&body)
        .map_err(|error| ControlError::invalid(format!("this is no evidence: {error}")))?;
    if shared.model.len() > 256 || shared.release.len() > 128 || shared.replica.len() > 64 || shared.replica.is_empty()
    {
        return Err(ControlError::invalid("model, release or replica is too long, or empty"));
    }
    Ok(Json(share_evidence(&state.store, &shared, state.now_ms()).await?))
}
