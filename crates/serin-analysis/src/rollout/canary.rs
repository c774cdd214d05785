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
    /// How a new version is released.
    Canary(Box<Canary>),
    /// A query that a canary's metric names.
    MetricTemplate(MetricTemplate),
    /// Where a canary's alerts go.
    AlertProvider(AlertProvider),
}

/// A Canary object.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Canary {
    /// `flagger.app/v1beta1`.
    pub api_version: String,
    /// Name and namespace, as webhooks get them.
    pub metadata: Metadata,
    /// The rules.
    pub spec: CanarySpec,
    /// Written by controllers, never read from a file.
    #[serde(default)]
    pub status: Option<Anything>,
}

/// `spec` of a Canary.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CanarySpec {
    /// Mesh or ingress; `kubernetes` means blue/green without weights.
    #[serde(default)]
    pub provider: Option<String>,
    /// Address of the Prometheus for the built-in checks.
    #[serde(default)]
    pub metrics_server: Option<String>,
    /// The workload.
    pub target_ref: Reference,
    /// Cluster only.
    #[serde(default)]
    pub autoscaler_ref: Option<Anything>,
    /// Cluster only.
    #[serde(default)]
    pub ingress_ref: Option<Reference>,
    /// Cluster only.
    #[serde(default)]
    pub route_ref: Option<Reference>,
    /// Cluster only.
    #[serde(default)]
    pub upstream_ref: Option<Reference>,
    /// Cluster only.
    #[serde(default)]
    pub service: Option<Anything>,
    /// Seconds in which the candidate must become ready.
    #[serde(default)]
    pub progress_deadline_seconds: Option<u32>,
    /// Promote without looking.
    #[serde(default)]
    pub skip_analysis: bool,
    /// Cluster only.
    #[serde(default)]
    pub revert_on_deletion: bool,
    /// Do nothing for now.
    #[serde(default)]
    pub suspend: bool,
    /// Steps and checks; `canaryAnalysis` is its old name.
    #[serde(alias = "canaryAnalysis")]
    pub analysis: Analysis,
}

/// A named object.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reference {
    /// Group and version.
    #[serde(default)]
    pub api_version: Option<String>,
    /// Kind.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name.
    pub name: String,
    /// Namespace.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// Steps and checks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    /// Time between two looks; 60 s without it, never less than 10 s unless told so.
    #[serde(default)]
    pub interval: Option<GoDuration>,
    /// Failed checks before the rollback; below 1 it is 1.
    #[serde(default)]
    pub threshold: i32,
    /// Highest weight; 100 without it.
    #[serde(default)]
    pub max_weight: Option<u32>,
    /// Percent added a step.
    #[serde(default)]
    pub step_weight: Option<u32>,
    /// Percents one after the other.
    #[serde(default)]
    pub step_weights: Vec<u32>,
    /// Percent that the primary gets back a step on promotion; all at once without it.
    #[serde(default)]
    pub step_weight_promotion: u32,
    /// Looks of a blue/green or A/B rollout.
    #[serde(default)]
    pub iterations: u32,
    /// Requests of the A/B rollout.
    #[serde(default, rename = "match")]
    pub matches: Vec<Match>,
    /// Copy traffic to the candidate first.
    #[serde(default)]
    pub mirror: bool,
    /// Cluster only.
    #[serde(default)]
    pub mirror_weight: Option<u32>,
    /// Cluster only.
    #[serde(default)]
    pub primary_ready_threshold: Option<u32>,
    /// Cluster only.
    #[serde(default)]
    pub canary_ready_threshold: Option<u32>,
    /// Cluster only.
    #[serde(default)]
    pub session_affinity: Option<Anything>,
    /// Checks.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// Gates, checks and messages.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
    /// Messages to people.
    #[serde(default)]
    pub alerts: Vec<Alert>,
}

/// A check.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metric {
    /// `request-success-rate` and `request-duration` are built in, other names need a template or a query.
    pub name: String,
    /// Window of the query.
    #[serde(default)]
    pub interval: Option<GoDuration>,
    /// Old form of a range: a lower bound for the success rate, an upper one for anything else.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// What passes.
    #[serde(default)]
    pub threshold_range: Option<Range>,
    /// Old form of a template: PromQL.
    #[serde(default)]
    pub query: Option<String>,
    /// Template that has the query.
    #[serde(default)]
    pub template_ref: Option<Reference>,
    /// For the template.
    #[serde(default)]
    pub template_variables: BTreeMap<String, String>,
}

/// Bounds, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Least.
    #[serde(default)]
    pub min: Option<f64>,
    /// Most.
    #[serde(default)]
    pub max: Option<f64>,
}

impl Metric {
    /// Whether a value passes; an infinity is compared, NaN is no value.
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

/// When a webhook is called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookType {
    /// Before the start; the rollout waits for it.
    ConfirmRollout,
    /// Before traffic; a failure is a failed check.
    PreRollout,
    /// At every look; a failure is a failed check.
    #[default]
    #[serde(alias = "")]
    Rollout,
    /// Before each step; the rollout waits for it.
    ConfirmTrafficIncrease,
    /// Before the promotion; the rollout waits for it.
    ConfirmPromotion,
    /// After the end.
    PostRollout,
    /// Rolls back when it says yes.
    Rollback,
    /// Gets every event.
    Event,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Name.
    pub name: String,
    /// Where.
    pub url: String,
    /// When.
    #[serde(default, rename = "type")]
    pub kind: HookType,
    /// 10 s without it.
    #[serde(default)]
    pub timeout: Option<GoDuration>,
    /// Tries after the first.
    #[serde(default)]
    pub retries: u32,
    /// Do not check the certificate.
    #[serde(default, rename = "disableTLS")]
    pub disable_tls: bool,
    /// No alert for its failures.
    #[serde(default)]
    pub mute_alert: bool,
    /// Sent along.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// Who hears of what.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alert {
    /// Name.
    pub name: String,
    /// Least severity.
    #[serde(default)]
    pub severity: Severity,
    /// The AlertProvider.
    pub provider_ref: Reference,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    #[default]
    Info,
    /// Somebody should look.
    Warn,
    /// Something was stopped.
    Error,
}

/// How a rollout moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// By weights.
    Weights,
    /// All at once after so many looks.
    BlueGreen,
    /// Requests that match.
    Ab,
}

impl Analysis {
    /// How it moves.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        match (self.iterations, self.matches.is_empty()) {
            (0, _) => Strategy::Weights,
            (_, true) => Strategy::BlueGreen,
            (_, false) => Strategy::Ab,
        }
    }

    /// Highest weight of the candidate.
    #[must_use]
    pub fn top_weight(&self) -> u32 {
        match self.step_weights.last() {
            Some(last) => (*last).min(100),
            None => self.max_weight.filter(|max| *max > 0).unwrap_or(100),
        }
    }

    /// Percent to add at a weight; none where there is no further step.
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

    /// Seconds between two looks; `shortest` is Flagger's 10 unless a test says otherwise.
    #[must_use]
    pub fn interval_ms(&self, shortest: i64) -> i64 {
        self.interval.map_or(60_000, |interval| interval.milliseconds()).max(shortest)
    }

    /// Failed checks that end it.
    #[must_use]
    pub fn failure_threshold(&self) -> u32 {
        u32::try_from(self.threshold).ok().filter(|threshold| *threshold > 0).unwrap_or(1)
    }
}

impl Canary {
    /// What the CRD's schema and the controller would refuse, in-process too.
    ///
    /// # Errors
    /// With the path of the field.
    pub fn check(&self, templates: &[MetricTemplate], providers: &[AlertProvider]) -> Result<(), String> {
        let analysis = &self.spec.analysis;
        if self.api_version != "flagger.app/v1beta1" {
            return Err(format!("apiVersion: {:?} is not flagger.app/v1beta1", self.api_version));
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
            return Err(format!("spec.analysis: exactly one of iterations, stepWeight and stepWeights, not {given}"));
        }
        if !analysis.matches.is_empty() && analysis.iterations == 0 {
            return Err("spec.analysis.match: an A/B rollout needs iterations".to_owned());
        }
        Matching::of(&analysis.matches)?;
        if let Some(weight) = analysis.step_weights.iter().find(|weight| **weight > 100 || **weight == 0) {
            return Err(format!("spec.analysis.stepWeights: {weight} is no percentage"));
        }
        if !analysis.step_weights.is_sorted_by(|a, b| a < b) {
            return Err("spec.analysis.stepWeights: weights must rise".to_owned());
        }
        if analysis.max_weight.is_some_and(|weight| weight > 100) || analysis.step_weight.is_some_and(|step| step > 100)
        {
            return Err("spec.analysis: a weight is a percentage".to_owned());
        }
        for (number, metric) in analysis.metrics.iter().enumerate() {
            let at = format!("spec.analysis.metrics[{number}] ({})", metric.name);
            if metric.threshold_range.is_none() && metric.threshold.is_none() {
                return Err(format!("{at}: it has no thresholdRange, so it could not fail"));
            }
            let built_in = matches!(metric.name.as_str(), "request-success-rate" | "request-duration");
            match &metric.template_ref {
                Some(reference) if reference.name == EVIDENCE => {}
                Some(reference) => {
                    let template = templates.iter().find(|template| template.metadata.name == reference.name);
                    let template =
                        template.ok_or_else(|| format!("{at}: there is no MetricTemplate {:?}", reference.name))?;
                    if template.spec.provider.kind != "prometheus" {
                        return Err(format!(
                            "{at}: provider type {:?} is not asked in-process; prometheus is",
                            template.spec.provider.kind
                        ));
                    }
                }
                None if !built_in && metric.query.is_none() => {
                    return Err(format!("{at}: neither built in nor with a templateRef or a query"));
                }
                None => {}
            }
        }
        for (number, alert) in analysis.alerts.iter().enumerate() {
            let name = &alert.provider_ref.name;
            if !providers.iter().any(|provider| provider.metadata.name == *name) {
                return Err(format!("spec.analysis.alerts[{number}]: there is no AlertProvider {name:?}"));
            }
        }
        Ok(())
    }

    /// Fields that are set and mean something only in a cluster.
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
