//! What the scoring servers of one rollout tell each other through the tracking server.

use super::Counts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a data plane counted of a release so far. A later message replaces the earlier one, so that repeats change nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedEvidence {
    /// Name of the registered model.
    pub model: String,
    /// Which versions: the candidate's and the stable one's.
    pub release: String,
    /// Name of the data plane that sends this; it keeps the name for ever.
    pub replica: String,
    /// Sequence number of the message; it grows with every message of a replica.
    pub sequence: i64,
    /// Everything that this data plane has counted of the release so far, not only since its last message.
    pub counts: Counts,
    /// For how long the sender keeps the lead without another message, milliseconds; 0 asks for no lead.
    #[serde(default)]
    pub lease_ms: i64,
    /// True if a person has told this data plane to act.
    #[serde(default)]
    pub claims: bool,
    /// JSON state of the rollout, sent by the data plane that leads; none from the others.
    #[serde(default)]
    pub state: Option<Value>,
}

/// Proof of the lead of a rollout: a change in the registry is made only while it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Name of the data plane that leads.
    pub replica: String,
    /// Number of the lead; it grows each time that the lead changes hands, or is claimed.
    pub epoch: i64,
}

/// What the data planes other than the one that asks have counted of the release.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct OthersEvidence {
    /// Sum of the counts of the other data planes.
    pub counts: Counts,
    /// Number of the other data planes whose counts are in the sum.
    pub replicas: u64,
    /// True if the data plane that asked leads: it moves the release, and the others follow.
    #[serde(default)]
    pub leads: bool,
    /// Epoch of the lead, 0 where the data plane that asked does not lead.
    #[serde(default)]
    pub epoch: i64,
    /// JSON state of the rollout last sent by another data plane, which leads or has led before; none if the one that asked
    /// sent it.
    #[serde(default)]
    pub state: Option<Value>,
}
