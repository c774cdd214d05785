//! Objects that a Canary names: templates of queries, and where alerts go.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `metadata` of an object.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
pub struct Metadata {
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; none where the file gives none.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Annotations; those of `serin.dev/` are this crate's.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Labels; read, and without effect.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Any JSON value: read, and without effect in-process.
pub type Anything = serde_json::Value;

/// A MetricTemplate object: a query that metrics of a Canary name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricTemplate {
    /// API group and version, `flagger.app/v1beta1`.
    pub api_version: String,
    /// Name that metrics refer to.
    pub metadata: Metadata,
    /// Server that is asked, and the query that it is asked.
    pub spec: TemplateSpec,
}

/// `spec` of a MetricTemplate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateSpec {
    /// Server that answers the query.
    pub provider: TemplateProvider,
    /// Text of the query, a template over name, namespace, target, interval and variables.
    pub query: String,
}

/// Server that answers a template's query.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateProvider {
    /// Type of the server; in-process only `prometheus` is asked.
    #[serde(rename = "type")]
    pub kind: String,
    /// URL of the server; without it the Canary's `metricsServer` is asked.
    #[serde(default)]
    pub address: Option<String>,
    /// HTTP headers of the query; read, and without effect in-process.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// Secret with the server's credentials; has an effect only in a cluster.
    #[serde(default)]
    pub secret_ref: Option<Anything>,
    /// Region of a cloud provider; read, and without effect in-process.
    #[serde(default)]
    pub region: Option<String>,
    /// True to not check the server's certificate; read, and without effect in-process.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// An AlertProvider object: where alerts of a Canary go.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertProvider {
    /// API group and version, `flagger.app/v1beta1`.
    pub api_version: String,
    /// Name that alerts refer to.
    pub metadata: Metadata,
    /// Address and shape of the messages.
    pub spec: AlertSpec,
}

/// `spec` of an AlertProvider.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertSpec {
    /// Shape of the message.
    #[serde(rename = "type")]
    pub kind: AlertKind,
    /// Channel that the message is posted to; `general` without it.
    #[serde(default)]
    pub channel: Option<String>,
    /// Name that the message is posted under; `serin` without it.
    #[serde(default)]
    pub username: Option<String>,
    /// URL of the incoming webhook.
    #[serde(default)]
    pub address: Option<String>,
    /// HTTP proxy; has an effect only in a cluster.
    #[serde(default)]
    pub proxy: Option<String>,
    /// Secret with the address; has an effect only in a cluster.
    #[serde(default)]
    pub secret_ref: Option<Anything>,
}

/// Service that a message goes to, which gives the message its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertKind {
    /// An incoming webhook of Slack.
    Slack,
    /// A Microsoft Teams webhook.
    Msteams,
    /// A Discord webhook, in Slack's shape.
    Discord,
    /// A Rocket.Chat webhook, in Slack's shape.
    Rocket,
    /// A Google Chat webhook.
    Gchat,
    /// Plain JSON; a cluster's Flagger does not know it.
    Generic,
    /// Alertmanager's API (`…/api/v2/alerts`); a cluster's Flagger does not know it.
    Alertmanager,
}
