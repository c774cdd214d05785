//! Counts of the traffic that scoring servers hand to the tracking server.

/// Counts of one model version that one data plane made for one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPane {
    /// Id of the pane, `REPLICA/NUMBER`, chosen by the sender. Sending the same id with a higher `sequence` replaces the
    /// body; a lower one is ignored.
    pub id: String,
    /// Name of the registered model.
    pub model: String,
    /// Version of the registered model.
    pub version: String,
    /// Beginning of the hour, epoch milliseconds.
    pub from_ms: i64,
    /// Number of the message about this pane; it grows with every message.
    pub sequence: i64,
    /// Counts as JSON, not read here.
    pub body: String,
}
