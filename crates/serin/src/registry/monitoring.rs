//! Labels and performance, where they are kept.

use super::Registry;
#[cfg(feature = "server")]
use serde_json::Value;
#[cfg(feature = "train")]
use serde_json::json;
#[cfg(feature = "server")]
use serin_server::{Monitoring, performance_report};
use serin_store::StoredPane;
#[cfg(feature = "train")]
use serin_store::{LabelSubject, LabelsStored, NewLabel};
#[cfg(feature = "server")]
use std::path::Path;

impl Registry {
    /// Keeps what a data plane saw.
    pub(crate) async fn put_panes(&self, panes: Vec<StoredPane>) -> anyhow::Result<()> {
        match self {
            #[cfg(feature = "server")]
            Self::Embedded { store, .. } => Ok(store.put_panes(panes).await?),
            Self::Remote { server, .. } => server.post_own("panes", &serin_server::panes_json(&panes)).await.map(drop),
        }
    }

    /// Keeps labels, all of them or none.
    #[cfg(feature = "train")]
    pub(crate) async fn put_labels(&self, labels: Vec<NewLabel>) -> anyhow::Result<LabelsStored> {
        match self {
            #[cfg(feature = "server")]
            Self::Embedded { store, .. } => Ok(store.put_labels(labels, crate::commands::now_ms()).await?),
            Self::Remote { server, .. } => {
                let labels: Vec<Value> = labels.iter().map(sent).collect();
                let stored = server.post_own("labels", &json!({ "labels": labels })).await?;
                let count = |name: &str| stored[name].as_u64().unwrap_or(0);
                Ok(LabelsStored { new: count("new"), known: count("known") })
            }
        }
    }

    /// Everything said of a transaction or decision, and what counts.
    #[cfg(feature = "train")]
    pub(crate) async fn label_history(
        &self,
        transaction: Option<&str>,
        decision: Option<&str>,
    ) -> anyhow::Result<Value> {
        let query: Vec<(&str, String)> = [("transaction_id", transaction), ("decision_id", decision)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.to_owned())))
            .collect();
        match self {
            #[cfg(feature = "server")]
            Self::Embedded { store, .. } => {
                serin_server::label_report(store, transaction, decision).await.map_err(anyhow::Error::msg)
            }
            Self::Remote { server, .. } => server.get_own("labels", &query).await,
        }
    }

    /// How decisions turned out; `log` is the folder of the decision log, where it is read from here.
    #[cfg(feature = "server")]
    pub(crate) async fn performance(&self, query: &[(&str, String)], log: &Path) -> anyhow::Result<Value> {
        match self {
            #[cfg(feature = "server")]
            Self::Embedded { store, cache } => {
                anyhow::ensure!(
                    log.is_dir(),
                    "there is no decision log at {}: name its folder with --decision-log",
                    log.display()
                );
                let monitoring =
                    Monitoring { decisions: Some(log.to_owned()), cache: cache.clone(), ..Monitoring::default() };
                let now_ms = crate::commands::now_ms();
                performance_report(store, &monitoring, query, now_ms).await.map_err(anyhow::Error::msg)
            }
            Self::Remote { server, .. } => server.get_own("performance", query).await,
        }
    }
}

#[cfg(feature = "train")]
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
