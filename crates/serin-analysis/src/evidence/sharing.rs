//! What the scoring servers of one rollout tell each other through the tracking server.

use super::Counts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
