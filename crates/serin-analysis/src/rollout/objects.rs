//! What a Canary names: templates of queries, and where alerts go.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `metadata` of an object.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Annotations; those of `serin.dev/` are this crate's.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Without effect.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Whatever stands there: read, and without effect in-process.
pub type Anything = serde_json::Value;

/// A MetricTemplate object.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricTemplate {
    /// `flagger.app/v1beta1`.
    pub api_version: String,
    /// Name that metrics refer to.
    pub metadata: Metadata,
    /// Where and what to ask.
    pub spec: TemplateSpec,
}

/// `spec` of a MetricTemplate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateSpec {
    /// Where to ask.
    pub provider: TemplateProvider,
    /// What to ask, a template over name, namespace, target, interval and variables.
    pub query: String,
}

/// Where a template asks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateProvider {
    /// In-process only `prometheus` is asked.
    #[serde(rename = "type")]
    pub kind: String,
    /// URL.
    #[serde(default)]
    pub address: Option<String>,
    /// Sent along.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// Cluster only.
    #[serde(default)]
    pub secret_ref: Option<Anything>,
    /// Of cloud providers.
    #[serde(default)]
    pub region: Option<String>,
    /// Do not check the certificate.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// An AlertProvider object.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertProvider {
    /// `flagger.app/v1beta1`.
    pub api_version: String,
    /// Name that alerts refer to.
    pub metadata: Metadata,
    /// Where.
    pub spec: AlertSpec,
}

/// `spec` of an AlertProvider.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertSpec {
    /// Shape of the message.
    #[serde(rename = "type")]
    pub kind: AlertKind,
    /// Channel.
    #[serde(default)]
    pub channel: Option<String>,
    /// Who says it.
    #[serde(default)]
    pub username: Option<String>,
    /// URL of the incoming webhook.
    #[serde(default)]
    pub address: Option<String>,
    /// Cluster only.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Cluster only.
    #[serde(default)]
    pub secret_ref: Option<Anything>,
}

/// Shapes of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertKind {
    /// Slack.
    Slack,
    /// Microsoft Teams.
    Msteams,
    /// Discord, in Slack's shape.
    Discord,
    /// Rocket.Chat, in Slack's shape.
    Rocket,
    /// Google Chat.
    Gchat,
    /// Plain JSON; a cluster's Flagger does not know it.
    Generic,
    /// Alertmanager's API (`…/api/v2/alerts`); a cluster's Flagger does not know it.
    Alertmanager,
}
