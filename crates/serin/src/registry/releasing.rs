//! What a rollout asks and changes in the registry: who is live, who should be.

use super::Registry;
use super::remote::is;
use serde_json::json;
use serin_server::{OthersEvidence, SharedEvidence};
#[cfg(feature = "server")]
use serin_store::StoreError;
use serin_store::{Change, ModelUri, ResolvedModel};

impl Registry {
    /// As [`Self::resolve`]; none where no version is named so.
    pub(crate) async fn find(&self, uri: &ModelUri) -> anyhow::Result<Option<ResolvedModel>> {
        match self.resolve(uri).await {
            Ok(found) => Ok(Some(found)),
            #[cfg(feature = "server")]
            Err(error) if matches!(error.downcast_ref(), Some(StoreError::NotFound(_))) => Ok(None),
            Err(error)
                if ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"].iter().any(|code| is(&error, code)) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Points an alias or a stage at a version, unless it is there already.
    pub(crate) async fn point(&self, uri: &ModelUri, version: i64, actor: &str, reason: &str) -> anyhow::Result<()> {
        if self.find(uri).await?.is_some_and(|found| found.version == Some(version)) {
            return Ok(());
        }
        tracing::info!(actor, reason, "{uri} moves to version {version}");
        self.move_to(uri, version, change(actor, reason)).await
    }

    /// Points an alias or a stage at a version; a version that comes to Staging or Production archives the one there.
    pub(super) async fn move_to(&self, uri: &ModelUri, version: i64, change: Change) -> anyhow::Result<()> {
        match (self, uri) {
            #[cfg(feature = "server")]
            (Self::Embedded { store, .. }, uri) => Ok(store.point(uri, version, change).await?),
            (Self::Remote { server, .. }, ModelUri::Alias(name, alias)) => {
                let body = json!({ "name": name, "alias": alias, "version": version.to_string() });
                server.change("registered-models/alias", body, &change).await
            }
            (Self::Remote { server, .. }, ModelUri::Stage(name, stage)) => {
                let body = json!({ "name": name, "version": version.to_string(), "stage": stage.as_str(), "archive_existing_versions": stage.archives() });
                server.change("model-versions/transition-stage", body, &change).await
            }
            _ => anyhow::bail!(
                "{uri} cannot be moved: name an alias (models:/NAME@champion) or a stage (models:/NAME/Production)"
            ),
        }
    }

    /// Says what this server counted of a release, and hears what the other ones counted.
    pub(crate) async fn share_evidence(&self, evidence: &SharedEvidence) -> anyhow::Result<OthersEvidence> {
        match self {
            #[cfg(feature = "server")]
            Self::Embedded { store, .. } => {
                Ok(serin_server::share_evidence(store, evidence, crate::commands::now_ms()).await?)
            }
            Self::Remote { server, .. } => {
                let heard = server.post_own("evidence", &serde_json::to_value(evidence)?).await?;
                Ok(serde_json::from_value(heard)?)
            }
        }
    }

    /// Writes down how a version fared in a rollout.
    pub(crate) async fn note(&self, name: &str, version: i64, phase: &str, reason: &str) -> anyhow::Result<()> {
        match self {
            #[cfg(feature = "server")]
            Self::Embedded { store, .. } => {
                Ok(store.note_rollout(name, version, phase, change("serin rollout", reason)).await?)
            }
            Self::Remote { server, .. } => {
                let value = format!("{phase}: {reason}");
                let body =
                    json!({ "name": name, "version": version.to_string(), "key": "serin.rollout", "value": value });
                server.post("model-versions/set-tag", body).await.map(drop)
            }
        }
    }
}

fn change(actor: &str, reason: &str) -> Change {
    Change { actor: actor.to_owned(), reason: reason.to_owned(), at_ms: crate::commands::now_ms() }
}
