//! Evidence of several data planes: each says what it counted, and hears what the other ones did. The sum is judged, so the
//! verdict is that of one server with all of the traffic. One of them leads: it moves the release, calls the hooks and sends the
//! alerts, and the others go where it says.

use crate::http::error::ApiError;
use crate::routes::ControlPlane;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serin_analysis::evidence::Counts;
use serin_store::{LeadAsked, Store, StoreError};

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
    /// So long it leads without another word where it does, milliseconds; 0 asks for no lead.
    #[serde(default)]
    pub lease_ms: i64,
    /// A person has told it to act.
    #[serde(default)]
    pub claims: bool,
    /// Where the release stands, of one who leads.
    #[serde(default)]
    pub state: Option<Value>,
}

/// What the other data planes counted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct OthersEvidence {
    /// Added up.
    pub counts: Counts,
    /// How many they are.
    pub replicas: u64,
    /// Who asked moves the release; the others follow.
    #[serde(default)]
    pub leads: bool,
    /// Where it stands by the word of the one who leads, or has led before.
    #[serde(default)]
    pub state: Option<Value>,
}

/// Keeps one's evidence and answers the other ones'.
///
/// # Errors
/// When the database fails, or holds what it should not.
pub async fn share_evidence(store: &Store, shared: &SharedEvidence, now_ms: i64) -> Result<OthersEvidence, StoreError> {
    let wrong = |error: serde_json::Error| StoreError::Invalid(format!("evidence of {}: {error}", shared.model));
    let counts = serde_json::to_string(&shared.counts).map_err(wrong)?;
    let SharedEvidence { model, release, replica, sequence, .. } = shared;
    let mut others = OthersEvidence::default();
    for counts in store.share_evidence(model, release, replica, *sequence, &counts).await? {
        others.counts.merge(&serde_json::from_str(&counts).map_err(wrong)?);
        others.replicas += 1;
    }
    if shared.lease_ms > 0 {
        let asked = LeadAsked {
            model: model.clone(),
            replica: replica.clone(),
            now_ms,
            lease_ms: shared.lease_ms,
            claims: shared.claims,
            state: shared.state.as_ref().map(Value::to_string),
        };
        let lead = store.lead(&asked).await?;
        others.leads = lead.leads;
        others.state = lead.state.map(|state| serde_json::from_str(&state)).transpose().map_err(wrong)?;
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
    Ok(Json(share_evidence(&state.store, &shared, state.now_ms()).await?))
}
