//! serin's own routes, which MLflow's server does not have: panes, labels, performance, evidence.

use crate::error::ClientError;
use crate::server::TrackingServer;
use serde_json::{Value, json};
use serin_analysis::evidence::sharing::{OthersEvidence, SharedEvidence};
use serin_tracking::{LabelSubject, LabelsStored, NewLabel, StoredPane};

impl TrackingServer {
    /// Hands over what a scoring server saw.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn put_panes(&self, panes: &[StoredPane]) -> Result<(), ClientError> {
        self.post_own("panes", &panes_json(panes)).await.map(drop)
    }

    /// Keeps labels, all of them or none.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn put_labels(&self, labels: &[NewLabel]) -> Result<LabelsStored, ClientError> {
        let labels: Vec<Value> = labels.iter().map(sent).collect();
        let stored = self.post_own("labels", &json!({ "labels": labels })).await?;
        let count = |name: &str| stored[name].as_u64().unwrap_or(0);
        Ok(LabelsStored { new: count("new"), known: count("known") })
    }

    /// Everything said of a transaction or decision, and what counts, as the server's JSON.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn label_history(&self, transaction: Option<&str>, decision: Option<&str>) -> Result<Value, ClientError> {
        let query: Vec<(&str, String)> = [("transaction_id", transaction), ("decision_id", decision)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.to_owned())))
            .collect();
        self.get_own("labels", &query).await
    }

    /// Performance of a model's decisions on matured labels, as the server's JSON.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn performance(&self, query: &[(&str, String)]) -> Result<Value, ClientError> {
        self.get_own("performance", query).await
    }

    /// Sends what this server counted for a rollout, and returns what the other ones counted.
    ///
    /// # Errors
    /// When the server refuses, does not answer, or answers something else.
    pub async fn share_evidence(&self, evidence: &SharedEvidence) -> Result<OthersEvidence, ClientError> {
        let unreadable = |error: serde_json::Error| ClientError::Answer(error.to_string());
        let heard = self.post_own("evidence", &serde_json::to_value(evidence).map_err(unreadable)?).await?;
        serde_json::from_value(heard).map_err(unreadable)
    }
}

fn sent(label: &NewLabel) -> Value {
    let (transaction, decision) = match &label.subject {
        LabelSubject::Transaction(id) => (Some(id.clone()), None),
        LabelSubject::Decision(id) => (None, Some(uuid::Uuid::from_bytes(*id).to_string())),
    };
    json!({
        "transaction_id": transaction, "decision_id": decision, "label": label.fraud, "source": label.source.name(),
        "occurred_at": label.occurred_at_ms, "known_at": label.known_at_ms, "amount": label.amount,
    })
}

/// The body of `POST /v1/panes`.
fn panes_json(panes: &[StoredPane]) -> Value {
    let sent = |pane: &StoredPane| {
        let body: Value = serde_json::from_str(&pane.body).unwrap_or_default();
        json!({ "id": pane.id, "model": pane.model, "version": pane.version, "sequence": pane.sequence, "pane": body })
    };
    json!({ "panes": panes.iter().map(sent).collect::<Vec<_>>() })
}
