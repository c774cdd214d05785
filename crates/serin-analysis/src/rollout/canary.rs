//! `canary.yaml`: Flagger's Canary, MetricTemplate and AlertProvider (flagger.app/v1beta1), strictly.
//!
//! Fields, defaults and constraints as in Flagger 1.44's CRDs (<https://docs.flagger.app/usage/how-it-works>). A field
//! that Flagger does not have is an error; what only a cluster can mean is read and has no effect in-process, which
//! [`Canary::ignored`] lists.

use super::duration::GoDuration;
use super::matching::Matching;
pub use super::matching::{Match, Pattern};
pub use super::objects::Anything;
pub use super::objects::{
    AlertKind, AlertProvider, AlertSpec, Metadata, MetricTemplate, TemplateProvider, TemplateSpec,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One document of the file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind")]
pub enum Document {
    /// Rules by which new versions are released.
    Canary(Box<Canary>),
    /// A query that a canary's metric names.
    MetricTemplate(MetricTemplate),
    /// Address that a canary's alerts go to.
    AlertProvider(AlertProvider),
}

/// A Canary object: how new versions of one workload are released.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Canary {
    /// API group and version, `flagger.app/v1beta1`; any other is refused.
    pub api_version: String,
    /// Name and namespace, as webhooks get them.
    pub metadata: Metadata,
    /// Rules of the release.
    pub spec: CanarySpec,
    /// Status of the object, written by controllers; read, and without effect.
    #[serde(default)]
    pub status: Option<Anything>,
}

/// `spec` of a Canary.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CanarySpec {
    /// Mesh or ingress that splits the traffic; `kubernetes` means blue/green without weights.
    #[serde(default)]
    pub provider: Option<String>,
    /// URL of the Prometheus that is asked where a metric's template names no server.
    #[serde(default)]
    pub metrics_server: Option<String>,
    /// Workload that is released.
    pub target_ref: Reference,
    /// Autoscaler of the workload; has an effect only in a cluster.
    #[serde(default)]
    pub autoscaler_ref: Option<Anything>,
    /// Ingress of the workload; has an effect only in a cluster, but templates of queries may name it.
    #[serde(default)]
    pub ingress_ref: Option<Reference>,
    /// Route of the workload; has an effect only in a cluster, but templates of queries may name it.
    #[serde(default)]
    pub route_ref: Option<Reference>,
    /// Upstream of the workload; has an effect only in a cluster.
    #[serde(default)]
    pub upstream_ref: Option<Reference>,
    /// Service that is made for the workload; has an effect only in a cluster.
    #[serde(default)]
    pub service: Option<Anything>,
    /// Seconds in which the candidate must become ready, or it is rolled back.
    #[serde(default)]
    pub progress_deadline_seconds: Option<u32>,
    /// True to promote a candidate as soon as it is ready, without analysis.
    #[serde(default)]
    pub skip_analysis: bool,
    /// True to restore the workload when the Canary is deleted; has an effect only in a cluster.
    #[serde(default)]
    pub revert_on_deletion: bool,
    /// True to make no look for now: the rollout stays as it is.
    #[serde(default)]
    pub suspend: bool,
    /// Steps and checks of the analysis; `canaryAnalysis` is its old name.
    #[serde(alias = "canaryAnalysis")]
    pub analysis: Analysis,
}

/// Reference to an object by name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reference {
    /// API group and version of the object.
    #[serde(default)]
    pub api_version: Option<String>,
    /// Kind of the object, such as `Deployment`.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; none where the file gives none.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// Steps and checks that a candidate must pass.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    /// Time between two looks; 60 s without it, and never less than 10 s outside of tests.
    #[serde(default)]
    pub interval: Option<GoDuration>,
    /// Number of failed checks that ends in a rollback; below 1 it is 1.
    #[serde(default)]
    pub threshold: i32,
    /// Highest weight of the candidate, percent; 100 without it.
    #[serde(default)]
    pub max_weight: Option<u32>,
    /// Percent that each step adds to the candidate's weight.
    #[serde(default)]
    pub step_weight: Option<u32>,
    /// Weights of the candidate one after the other, percent, rising.
    #[serde(default)]
    pub step_weights: Vec<u32>,
    /// Percent that the stable version gets back with each step on promotion; 0 gives it all at once.
    #[serde(default)]
    pub step_weight_promotion: u32,
    /// Number of looks of a blue/green or A/B rollout; 0 for one by weights.
    #[serde(default)]
    pub iterations: u32,
    /// Requests that an A/B rollout sends to the candidate; any of the list is enough.
    #[serde(default, rename = "match")]
    pub matches: Vec<Match>,
    /// True to copy traffic to the candidate before it answers any.
    #[serde(default)]
    pub mirror: bool,
    /// Percent of the traffic that is mirrored; has an effect only in a cluster.
    #[serde(default)]
    pub mirror_weight: Option<u32>,
    /// Percent of the stable version's pods that must be ready; has an effect only in a cluster.
    #[serde(default)]
    pub primary_ready_threshold: Option<u32>,
    /// Percent of the candidate's pods that must be ready; has an effect only in a cluster.
    #[serde(default)]
    pub canary_ready_threshold: Option<u32>,
    /// Cookie that keeps a client on one version; has an effect only in a cluster.
    #[serde(default)]
    pub session_affinity: Option<Anything>,
    /// Measurements that must pass at every look.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// Webhooks of the rollout: gates, checks and messages.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
    /// Messages to people about the rollout's events.
    #[serde(default)]
    pub alerts: Vec<Alert>,
}

/// One measurement of the candidate and the range in which it passes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metric {
    /// Name of the metric; `request-success-rate` (percent) and `request-duration` (milliseconds) are built in, other names
    /// need a template or a query.
    pub name: String,
    /// Length of time that the query looks back on, for its `{{ interval }}`.
    #[serde(default)]
    pub interval: Option<GoDuration>,
    /// Old form of a range: a lower bound for the success rate, an upper bound for anything else.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// Range of values that pass.
    #[serde(default)]
    pub threshold_range: Option<Range>,
    /// Old form of a template: the query itself, in PromQL.
    #[serde(default)]
    pub query: Option<String>,
    /// MetricTemplate that has the query.
    #[serde(default)]
    pub template_ref: Option<Reference>,
    /// Variables of the template's query, by name.
    #[serde(default)]
    pub template_variables: BTreeMap<String, String>,
}

/// Range of values; both bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Least value that passes; none sets no bound.
    #[serde(default)]
    pub min: Option<f64>,
    /// Greatest value that passes; none sets no bound.
    #[serde(default)]
    pub max: Option<f64>,
}

impl Metric {
    /// Returns whether a value passes. An infinity is compared as any number; NaN is not a value, and is to be told apart
    /// before.
    #[must_use]
    pub fn accepts(&self, value: f64) -> bool {
        match (self.threshold_range, self.threshold) {
            (Some(range), _) => range.min.is_none_or(|min| value >= min) && range.max.is_none_or(|max| value <= max),
            (None, Some(least)) if self.name == "request-success-rate" => value >= least,
            (None, Some(most)) => value <= most,
            (None, None) => true,
        }
    }
}

/// Point of a rollout at which a webhook is called, and what its answer does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookType {
    /// Before the start; the rollout waits until it answers yes.
    ConfirmRollout,
    /// Before the candidate gets traffic; a failure is a failed check.
    PreRollout,
    /// At every look; a failure is a failed check.
    #[default]
    #[serde(alias = "")]
    Rollout,
    /// Before each step; the rollout waits until it answers yes.
    ConfirmTrafficIncrease,
    /// Before the promotion; the rollout waits until it answers yes.
    ConfirmPromotion,
    /// After the rollout has succeeded or failed; its answer changes nothing.
    PostRollout,
    /// At every look; the rollout is rolled back when it answers yes.
    Rollback,
    /// At every event; its answer changes nothing.
    Event,
}

/// A webhook that takes part in a rollout.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Name of the webhook, as messages show it.
    pub name: String,
    /// URL that the webhook is posted to.
    pub url: String,
    /// Point of the rollout at which it is called.
    #[serde(default, rename = "type")]
    pub kind: HookType,
    /// Time that its answer is waited for; 10 s without it.
    #[serde(default)]
    pub timeout: Option<GoDuration>,
    /// Number of tries after the first.
    #[serde(default)]
    pub retries: u32,
    /// True to not check the server's certificate.
    #[serde(default, rename = "disableTLS")]
    pub disable_tls: bool,
    /// True to raise no alert for its failures; read, and without effect in-process.
    #[serde(default)]
    pub mute_alert: bool,
    /// Pairs that are sent in the body as `metadata`.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// Which events are told to which provider.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alert {
    /// Name of the alert.
    pub name: String,
    /// Least severity of the events that are told.
    #[serde(default)]
    pub severity: Severity,
    /// AlertProvider that the events are told to.
    pub provider_ref: Reference,
}

/// Severity of an event, ascending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For information; nothing needs to be done.
    #[default]
    Info,
    /// A check failed or a gate holds the rollout up; somebody should look.
    Warn,
    /// A rollout was stopped or rolled back.
    Error,
}

/// How a rollout moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// By weights: the candidate's share of the traffic grows in steps.
    Weights,
    /// Blue/green: all traffic goes to the candidate at once after a number of looks.
    BlueGreen,
    /// A/B: the requests that match go to the candidate.
    Ab,
}

impl Analysis {
    /// Returns how the rollout moves.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        match (self.iterations, self.matches.is_empty()) {
            (0, _) => Strategy::Weights,
            (_, true) => Strategy::BlueGreen,
            (_, false) => Strategy::Ab,
        }
    }

    /// Highest weight of the candidate, percent.
    #[must_use]
    pub fn top_weight(&self) -> u32 {
        match self.step_weights.last() {
            Some(last) => (*last).min(100),
            None => self.max_weight.filter(|max| *max > 0).unwrap_or(100),
        }
    }

    /// Returns the percent to add at a weight (percent); none where there is no further step.
    #[must_use]
    pub fn next_step(&self, weight: u32) -> Option<u32> {
        if self.step_weights.is_empty() {
            return self.step_weight.filter(|step| *step > 0);
        }
        let reached = self.step_weights.iter().position(|step| *step == weight);
        let next = match reached {
            Some(reached) => self.step_weights.get(reached + 1),
            None if weight == 0 => self.step_weights.first(),
            None => None,
        };
        next.map(|next| next.saturating_sub(weight)).or_else(|| (weight >= self.top_weight()).then_some(1))
    }

    /// Milliseconds between two looks; `shortest`, in milliseconds, is Flagger's 10 s unless a test says otherwise.
    #[must_use]
    pub fn interval_ms(&self, shortest: i64) -> i64 {
        self.interval.map_or(60_000, |interval| interval.milliseconds()).max(shortest)
    }

    /// Number of failed checks that ends the rollout, at least 1.
    #[must_use]
    pub fn failure_threshold(&self) -> u32 {
        u32::try_from(self.threshold).ok().filter(|threshold| *threshold > 0).unwrap_or(1)
    }
}

/// Field of a canary with a value that it cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct InvalidField {
    /// Path of the field, such as `spec.analysis.stepWeights`.
    path: String,
    /// Fault of the value, and what is expected.
    reason: String,
}

impl InvalidField {
    pub(super) fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { path: path.into(), reason: reason.into() }
    }
}

impl Canary {
    /// Checks what the CRD's schema and the controller would refuse, in-process too.
    ///
    /// # Errors
    /// When a field has a value that it cannot have.
    pub fn check(&self, templates: &[MetricTemplate], providers: &[AlertProvider]) -> Result<(), InvalidField> {
        let invalid = |path: &str, reason: &str| Err(InvalidField::new(path, reason));
        let analysis = &self.spec.analysis;
        if self.api_version != "flagger.app/v1beta1" {
            return invalid("apiVersion", &format!("{:?} is not flagger.app/v1beta1", self.api_version));
        }
        let given: Vec<&str> = [
            ("iterations", analysis.iterations > 0),
            ("stepWeight", analysis.step_weight.is_some()),
            ("stepWeights", !analysis.step_weights.is_empty()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect();
        if given.len() != 1 {
            let given = if given.is_empty() { "none".to_owned() } else { given.join(" and ") };
            let reason = format!("exactly one of iterations, stepWeight and stepWeights, not {given}");
            return invalid("spec.analysis", &reason);
        }
        if !analysis.matches.is_empty() && analysis.iterations == 0 {
            return invalid("spec.analysis.match", "an A/B rollout needs iterations");
        }
        Matching::of(&analysis.matches)?;
        if let Some(weight) = analysis.step_weights.iter().find(|weight| **weight > 100 || **weight == 0) {
            return invalid("spec.analysis.stepWeights", &format!("{weight} is no percentage"));
        }
        if !analysis.step_weights.is_sorted_by(|a, b| a < b) {
            return invalid("spec.analysis.stepWeights", "weights must rise");
        }
        if analysis.max_weight.is_some_and(|weight| weight > 100) || analysis.step_weight.is_some_and(|step| step > 100)
        {
            return invalid("spec.analysis", "a weight is a percentage");
        }
        for (number, metric) in analysis.metrics.iter().enumerate() {
            let at = format!("spec.analysis.metrics[{number}] ({})", metric.name);
            if metric.threshold_range.is_none() && metric.threshold.is_none() {
                return invalid(&at, "it has no thresholdRange, so it could not fail");
            }
            let built_in = matches!(metric.name.as_str(), "request-success-rate" | "request-duration");
            match &metric.template_ref {
                Some(reference) if reference.name == EVIDENCE => {}
                Some(reference) => {
                    let template = templates.iter().find(|template| template.metadata.name == reference.name);
                    let Some(template) = template else {
                        return invalid(&at, &format!("there is no MetricTemplate {:?}", reference.name));
                    };
                    let kind = &template.spec.provider.kind;
                    if kind != "prometheus" {
                        let reason = format!("provider type {kind:?} is not asked in-process; prometheus is");
                        return invalid(&at, &reason);
                    }
                }
                None if !built_in && metric.query.is_none() => {
                    return invalid(&at, "neither built in nor with a templateRef or a query");
                }
                None => {}
            }
        }
        for (number, alert) in analysis.alerts.iter().enumerate() {
            let name = &alert.provider_ref.name;
            if !providers.iter().any(|provider| provider.metadata.name == *name) {
                let path = format!("spec.analysis.alerts[{number}]");
                return invalid(&path, &format!("there is no AlertProvider {name:?}"));
            }
        }
        Ok(())
    }

    /// Returns the paths of fields that are set and have an effect only in a cluster.
    #[must_use]
    pub fn ignored(&self) -> Vec<&'static str> {
        let (spec, analysis) = (&self.spec, &self.spec.analysis);
        [
            ("spec.provider", spec.provider.as_deref().is_some_and(|provider| provider != "kubernetes")),
            ("spec.autoscalerRef", spec.autoscaler_ref.is_some()),
            ("spec.ingressRef", spec.ingress_ref.is_some()),
            ("spec.routeRef", spec.route_ref.is_some()),
            ("spec.upstreamRef", spec.upstream_ref.is_some()),
            ("spec.service", spec.service.is_some()),
            ("spec.revertOnDeletion", spec.revert_on_deletion),
            ("spec.analysis.mirrorWeight", analysis.mirror_weight.is_some()),
            ("spec.analysis.primaryReadyThreshold", analysis.primary_ready_threshold.is_some()),
            ("spec.analysis.canaryReadyThreshold", analysis.canary_ready_threshold.is_some()),
            ("spec.analysis.sessionAffinity", analysis.session_affinity.is_some()),
            ("spec.analysis.match.sourceLabels", analysis.matches.iter().any(|asked| !asked.source_labels.is_empty())),
        ]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect()
    }
}

/// Template that names our own evidence instead of a query: its value is E times alpha, at most 1 while nothing is
/// proven.
pub const EVIDENCE: &str = "evidence";
