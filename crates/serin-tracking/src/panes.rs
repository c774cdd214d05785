//! What scoring servers saw of the traffic, as it is handed to the tracking server.

/// What one data plane saw of one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPane {
    /// Names the replica and the hour: a later word replaces an earlier one.
    pub id: String,
    /// Registered model.
    pub model: String,
    /// Of it.
    pub version: String,
    /// Beginning of the hour, epoch milliseconds.
    pub from_ms: i64,
    /// Grows with every word about the hour; a late one that is older changes nothing.
    pub sequence: i64,
    /// JSON, not read here.
    pub body: String,
}
