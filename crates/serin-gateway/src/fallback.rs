//! Fallbacks, which decide where the model cannot: none is loaded, its time is over, or its score is no number.

use crate::models::ModelSlot;
use axum::http::{HeaderValue, Response};
use serin_decisions::Fallback;
use serin_http::ApiError;
use serin_models::LoadedModel;
use serin_scoring::{Decision, EncodedRow, Rules};
use std::sync::Arc;

/// Header of an answer with decisions that the model did not make: `allow`, or `allow, rules`.
const HEADER: &str = "serin-fallback";

/// Step of a fallback policy; each is tried in turn.
#[derive(Debug, Clone, PartialEq)]
pub enum FallbackStep {
    /// The last model that was loaded and checked, from its copy in the state folder. Only where none is loaded: where
    /// time is over it would be as late.
    LastGood,
    /// Rules over the model's columns.
    Rules(Rules),
    /// Lets the payment pass, with score 0.
    Allow,
    /// Alerts on the payment, with score 1.
    Decline,
}

/// Steps to try, in this order; without any step such requests are refused.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FallbackPolicy(pub Vec<FallbackStep>);

impl FallbackPolicy {
    fn last_good(&self) -> bool {
        self.0.contains(&FallbackStep::LastGood)
    }

    /// Decides on a row of a model's signature without the model; none where no step decides.
    pub(crate) fn decide(&self, model: &LoadedModel, row: EncodedRow<'_>) -> Option<(Fallback, Decision)> {
        self.0.iter().find_map(|step| match step {
            FallbackStep::LastGood => None,
            FallbackStep::Rules(rules) => {
                let score = rules.score(&model.package.signature, row.values())?;
                Some((Fallback::Rules, Decision::new(score, rules.threshold)))
            }
            FallbackStep::Allow => Some((Fallback::Allow, Decision { score: 0.0, alert: false })),
            FallbackStep::Decline => Some((Fallback::Decline, Decision { score: 1.0, alert: true })),
        })
    }

    /// Warns of rules about columns that the model does not have: they would be skipped when they are needed.
    pub fn check(&self, model: &LoadedModel) {
        for step in &self.0 {
            if let FallbackStep::Rules(rules) = step
                && let Some(missing) = rules.missing_from(&model.package.signature)
            {
                tracing::error!(
                    "the fallback's rules need a column {missing:?}, which {} {} does not have: they will not be used",
                    model.name,
                    model.version
                );
            }
        }
    }
}

/// Role that the loaded model plays for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelRole {
    /// The live model of the slot, which decides.
    Live,
    /// The last good model, from its copy: it decides because none is live.
    LastGood,
    /// The last good model again, but only its columns are used; the rules or fixed decisions decide.
    ColumnsOnly,
}

/// Model that answers a request, and its role, at the time the request is read.
#[derive(Debug, Clone)]
pub(crate) struct Answering {
    pub(crate) model: Arc<LoadedModel>,
    pub(crate) role: ModelRole,
    /// True if the request names the version that is to answer: it takes no part in the split of a release.
    pub(crate) is_pinned: bool,
}

impl Answering {
    /// The model that answers for a slot now: the live one, or the last good one where the policy has a use for it.
    ///
    /// # Errors
    /// 503 where there is neither.
    pub(crate) fn of(slot: &ModelSlot, policy: &FallbackPolicy) -> Result<Self, ApiError> {
        if let Some(model) = slot.live() {
            return Ok(Self { model, role: ModelRole::Live, is_pinned: false });
        }
        let model = slot.kept().filter(|_| !policy.0.is_empty()).ok_or(ApiError::NoModel)?;
        let role = if policy.last_good() { ModelRole::LastGood } else { ModelRole::ColumnsOnly };
        Ok(Self { model, role, is_pinned: false })
    }
}

/// Whether a model, or what is declared to decide in its place, answers for a slot.
pub(crate) fn can_answer(slot: &ModelSlot, policy: &FallbackPolicy) -> bool {
    Answering::of(slot, policy).is_ok()
}

/// Says in the answer's head what decided in the model's place.
pub(crate) fn flag<B>(response: &mut Response<B>, fallbacks: &[Option<Fallback>]) {
    if fallbacks.is_empty() {
        return;
    }
    let used = Fallback::ALL.into_iter().filter(|kind| fallbacks.contains(&Some(*kind)));
    let names: Vec<&str> = used.map(Fallback::name).collect();
    if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
        response.headers_mut().insert(HEADER, value);
    }
}
