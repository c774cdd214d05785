//! Changes that a rollout makes in a registry elsewhere: the version that is live, and notes on a version.

use crate::error::ClientError;
use crate::server::TrackingServer;
use serde_json::json;
use serin_tracking::{Change, ModelUri};

impl TrackingServer {
    /// Points an alias or a stage at a version; a version that comes to Staging or Production archives the one there.
    ///
    /// # Errors
    /// When `uri` names neither, or the server refuses or does not answer.
    pub async fn point(&self, uri: &ModelUri, version: i64, change: &Change) -> Result<(), ClientError> {
        match uri {
            ModelUri::Alias(name, alias) => {
                let body = json!({ "name": name, "alias": alias, "version": version.to_string() });
                self.change("registered-models/alias", body, change).await
            }
            ModelUri::Stage(name, stage) => {
                let body = json!({ "name": name, "version": version.to_string(), "stage": stage.as_str(), "archive_existing_versions": stage.archives() });
                self.change("model-versions/transition-stage", body, change).await
            }
            _ => Err(ClientError::InvalidInput(format!(
                "{uri} cannot be moved: name an alias (models:/NAME@champion) or a stage (models:/NAME/Production)"
            ))),
        }
    }

    /// Writes down how a version fared in a rollout, as its tag `serin.rollout`.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn note_rollout(&self, name: &str, version: i64, phase: &str, reason: &str) -> Result<(), ClientError> {
        let value = format!("{phase}: {reason}");
        let body = json!({ "name": name, "version": version.to_string(), "key": "serin.rollout", "value": value });
        self.post("model-versions/set-tag", body).await.map(drop)
    }
}
