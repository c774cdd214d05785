//! Logged decisions, re-scored: one of them explained, or all of them through another model.

use crate::labelled::{KnownLabel, LabelledDecisions, Labels};
use crate::models::{ModelError, ModelRegistry, load_decider};
use serin_decisions::{Assigned, DecidingModel, DecisionFiles, Fallback, LogError, LoggedDecision, Record};
use serin_models::LoadedModel;
use serin_scoring::{Decision, Translation, TranslationError};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// Number of rows that are scored at once.
const BATCH: usize = 4096;

/// Error that says why logged decisions could not be re-scored.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log has no decision of that id.
    #[error("the log has no decision {0}")]
    NotFound(Uuid),
    /// The decision was not found, and a part of the log that may hold it cannot be read.
    #[error("decision {id} is not in what can be read of the log")]
    Damaged {
        /// Id of the decision that was looked for.
        id: Uuid,
        /// First damage or unreadable file of the log.
        source: LogError,
    },
    /// No decision was made in the range of times.
    #[error("the log has no decision in that time")]
    NoDecisions,
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The model that decided is not at hand.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The rows of a model that decided lack a column of the model that is to score them.
    #[error("{} {} decided without a column {column:?}, which this model needs", decider.name, decider.version)]
    MissingColumn {
        /// Model that decided, as the log names it.
        decider: Arc<DecidingModel>,
        /// Name of the column that its rows lack.
        column: String,
    },
    /// The rows of a model that decided mean something else to the model that is to score them.
    #[error("{} {} decided, and this model cannot score its rows", decider.name, decider.version)]
    Translation {
        /// Model that decided, as the log names it.
        decider: Arc<DecidingModel>,
        /// Column that cannot be made, and why.
        source: TranslationError,
    },
    /// The model that decided is gone, and its rows have another number of columns.
    #[error(
        "{} {} decided on {} columns, this model has {width}, and the names are gone with the model",
        decider.name, decider.version, decider.width
    )]
    Width {
        /// Model that decided, as the log names it.
        decider: Arc<DecidingModel>,
        /// Number of columns of the model that is to score the rows.
        width: usize,
    },
}

/// Copy of a logged decision that outlives the reading of its segment.
#[derive(Debug, Clone, PartialEq)]
pub struct CopiedDecision {
    /// Id of the decision.
    pub id: Uuid,
    /// Time of the decision, epoch milliseconds.
    pub at_ms: i64,
    /// The caller's name of the transaction; empty without one.
    pub transaction_id: String,
    /// Card, customer or terminal of the transaction; empty without one.
    pub entity: String,
    /// Time of the transaction, epoch milliseconds; none where nobody said.
    pub event_time_ms: Option<i64>,
    /// Model that made the decision, or in whose place a fallback did.
    pub model: Arc<DecidingModel>,
    /// Features that were scored, to the bit, in the model's order.
    pub features: Vec<f32>,
    /// Score that was given, to the bit.
    pub score: f32,
    /// True if the payment was treated as an alert.
    pub alert: bool,
    /// True if the score asked for an alert, whatever exploration made of it.
    pub asked_for_alert: bool,
    /// Probability with which exploration lets such an alert through; none where exploration had no part.
    pub propensity: Option<f32>,
    /// What decided in the model's place; none where the model decided.
    pub fallback: Option<Fallback>,
    /// Share and version of the release that the decision was a part of; none without a release.
    pub assigned: Option<Assigned>,
    /// Nanoseconds from the request's head to the decision.
    pub latency_ns: u32,
}

impl From<&LoggedDecision<'_>> for CopiedDecision {
    fn from(decision: &LoggedDecision<'_>) -> Self {
        Self {
            id: Uuid::from_bytes(decision.id),
            at_ms: decision.at_ms(),
            transaction_id: decision.transaction_id.to_owned(),
            entity: decision.entity.to_owned(),
            event_time_ms: decision.event_time_ms,
            model: Arc::clone(decision.model),
            features: decision.features().collect(),
            score: decision.score,
            alert: decision.alert,
            asked_for_alert: decision.asked_for_alert(),
            propensity: decision.propensity,
            fallback: decision.fallback,
            assigned: decision.assigned,
            latency_ns: decision.latency_ns,
        }
    }
}

/// Score that a candidate gave for the same payment, beside the decision.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowScore {
    /// Candidate that gave the score.
    pub model: Arc<DecidingModel>,
    /// Score of the candidate, to the bit.
    pub score: f32,
    /// True if the candidate would have alerted.
    pub alert: bool,
}

/// A logged decision with what it was made of.
#[derive(Debug)]
pub struct ExplainedDecision {
    /// The decision as it was logged.
    pub logged: CopiedDecision,
    /// Scores of candidates for the same payment, in the log's order.
    pub shadows: Vec<ShadowScore>,
    /// The very model that decided, or in whose place a fallback did.
    pub model: LoadedModel,
    /// What each column added to the margin, in the columns' order, and last what the margin is without any; none where
    /// the model file does not hold what contributions need.
    pub contributions: Option<Vec<f32>>,
    /// Score of the features now.
    pub score: f32,
    /// True if score and action come out as they were logged; none where no model decided.
    pub same_bits: Option<bool>,
}

/// Finds a decision in the log, loads the model that made it and scores it again. `now_ms` is the time of the loading, epoch
/// milliseconds.
///
/// # Errors
/// When the log does not hold the decision or cannot be read, or the model that decided is not at hand.
pub async fn explain(
    files: &DecisionFiles,
    registry: &impl ModelRegistry,
    id: Uuid,
    now_ms: i64,
) -> Result<ExplainedDecision, ReplayError> {
    let (logged, report) = files.find(id.as_bytes(), |decision| CopiedDecision::from(decision))?;
    report.warn();
    let Some(logged) = logged else {
        report.into_result().map_err(|source| ReplayError::Damaged { id, source })?;
        return Err(ReplayError::NotFound(id));
    };
    let mut shadows = Vec::new();
    let report = files.about(id.as_bytes(), |record| {
        if let Record::Shadow(shadow) = record {
            shadows.push(ShadowScore { model: Arc::clone(shadow.model), score: shadow.score, alert: shadow.alert });
        }
        true
    })?;
    report.warn();
    let model = load_decider(registry, &logged.model, now_ms).await?;
    let contributions = model.contributions(&logged.features).ok();
    let score = model.package.forest.score(&logged.features);
    // What no model decided cannot come out the same by one.
    let same_bits = Fallback::is_of_a_model(logged.fallback).then(|| {
        let alert = Decision::new(score, logged.model.threshold).alert;
        score.to_bits() == logged.score.to_bits() && alert == logged.asked_for_alert
    });
    Ok(ExplainedDecision { logged, shadows, model, contributions, score, same_bits })
}

/// A decision as it was logged, and its label.
#[derive(Debug, Clone, Copy)]
pub struct LoggedOutcome {
    /// Score that was given, to the bit.
    pub score: f32,
    /// True if the score asked for an alert.
    pub alert: bool,
    /// Label of the transaction; none where it is not known.
    pub label: Option<KnownLabel>,
}

/// Counts of logged decisions beside those of another model on the same rows.
#[derive(Debug, Default)]
pub struct PairedCounts {
    /// Number of decisions that were scored again.
    pub decisions: usize,
    /// Number of decisions whose score is the same to the bit.
    pub same_bits: usize,
    /// Number of alerts as they were logged.
    pub logged_alerts: usize,
    /// Number of alerts of the other model.
    pub alerts: usize,
    /// Number of decisions that passed and are alerts of the other model.
    pub pass_to_alert: usize,
    /// Number of alerts that the other model lets pass.
    pub alert_to_pass: usize,
    /// Sum of the absolute differences of the scores, without those that are no number.
    pub sum_abs_difference: f64,
    /// Greatest absolute difference of the scores.
    pub max_abs_difference: f32,
    /// Number of decisions where one of the scores is no number.
    pub not_a_number: usize,
    /// Number of decisions that no model made, and that are therefore not compared.
    pub by_fallback: usize,
    /// Decisions whose transaction has a label.
    pub labelled: LabelledDecisions,
}

impl PairedCounts {
    /// Adds a decision with the score and the action of the other model.
    pub fn add(&mut self, logged: LoggedOutcome, score: f32, alert: bool) {
        self.decisions += 1;
        self.same_bits += usize::from(logged.score.to_bits() == score.to_bits());
        self.logged_alerts += usize::from(logged.alert);
        self.alerts += usize::from(alert);
        self.pass_to_alert += usize::from(alert && !logged.alert);
        self.alert_to_pass += usize::from(!alert && logged.alert);
        if let Some(label) = logged.label {
            self.labelled.add(label, [(logged.score, logged.alert), (score, alert)]);
        }
        let difference = (score - logged.score).abs();
        if difference.is_nan() {
            self.not_a_number += 1;
        } else {
            self.sum_abs_difference += f64::from(difference);
            self.max_abs_difference = self.max_abs_difference.max(difference);
        }
    }

    /// Share of the decisions that `count` is, 0 to 1; 0 without a decision.
    #[must_use]
    pub fn share(&self, count: usize) -> f64 {
        if self.decisions == 0 { 0.0 } else { count as f64 / self.decisions as f64 }
    }

    /// Mean absolute difference of the scores; 0 without a decision.
    #[must_use]
    pub fn mean_abs_difference(&self) -> f64 {
        self.sum_abs_difference / self.decisions.max(1) as f64
    }
}

/// Logged traffic that a model is to score again, with the way from each logged row to a row of that model.
#[derive(Debug)]
pub struct Rescoring<'a> {
    files: &'a DecisionFiles,
    model: &'a LoadedModel,
    /// Times of the decisions, epoch milliseconds.
    times_ms: Range<i64>,
    /// How rows become rows of `model`, by the SHA-256 of the model that decided on them.
    translations: HashMap<[u8; 32], Translation>,
}

impl<'a> Rescoring<'a> {
    /// Finds out which models decided in `times_ms` (epoch milliseconds) and how their rows become rows of `model`. The
    /// meaning of a row's columns is in the model that decided; one that is gone is taken to have had the same columns.
    /// `now_ms` is the time of the loading, epoch milliseconds.
    ///
    /// # Errors
    /// When the log cannot be read, or `model` cannot score the rows of a model that decided.
    pub async fn of(
        files: &'a DecisionFiles,
        registry: &impl ModelRegistry,
        model: &'a LoadedModel,
        times_ms: Range<i64>,
        now_ms: i64,
    ) -> Result<Self, ReplayError> {
        let mut translations = HashMap::new();
        for decider in files.models(times_ms.start, times_ms.end)?.0 {
            let sha256 = decider.sha256;
            translations.insert(sha256, translation(registry, decider, model, now_ms).await?);
        }
        Ok(Self { files, model, times_ms, translations })
    }

    /// Scores every decision again and counts it beside the logged one, the labelled ones by their label, too. What cannot
    /// be read of the log is left out and warned of.
    ///
    /// # Errors
    /// When the folder of the log cannot be read, or holds no decision in that time.
    pub fn run(&self, labels: &Labels) -> Result<PairedCounts, ReplayError> {
        let package = &self.model.package;
        let mut paired = PairedCounts::default();
        let (mut rows, mut logged, mut scores): (Vec<f32>, Vec<LoggedOutcome>, Vec<f32>) = Default::default();
        let mut score = |rows: &mut Vec<f32>, logged: &mut Vec<LoggedOutcome>| {
            scores.clear();
            scores.resize(logged.len(), 0.0);
            package.forest.margins_into(rows, &mut scores);
            package.forest.scores_from_margins(&mut scores);
            for (before, score) in logged.iter().zip(&scores) {
                paired.add(*before, *score, Decision::new(*score, package.threshold).alert);
            }
            rows.clear();
            logged.clear();
        };
        let mut row = Vec::new();
        let mut by_fallback = 0;
        let report = self.files.read(self.times_ms.start, self.times_ms.end, |decision| {
            if !Fallback::is_of_a_model(decision.fallback) {
                by_fallback += 1;
                return true;
            }
            let Some(translation) = self.translations.get(&decision.model.sha256) else { return true };
            row.clear();
            row.extend(decision.features());
            translation.append(&row, &mut rows);
            logged.push(LoggedOutcome {
                score: decision.score,
                alert: decision.asked_for_alert(),
                label: labels.of(decision.transaction_id),
            });
            if logged.len() == BATCH {
                score(&mut rows, &mut logged);
            }
            true
        })?;
        report.warn();
        score(&mut rows, &mut logged);
        paired.by_fallback = by_fallback;
        if paired.decisions + paired.by_fallback == 0 { Err(ReplayError::NoDecisions) } else { Ok(paired) }
    }
}

/// Makes the way from rows that `decider` decided on to rows of `model`.
async fn translation(
    registry: &impl ModelRegistry,
    decider: Arc<DecidingModel>,
    model: &LoadedModel,
    now_ms: i64,
) -> Result<Translation, ReplayError> {
    let wanted = &model.package.signature;
    if model.deciding.sha256 == decider.sha256 {
        return Ok(Translation::same(wanted));
    }
    let made = if let Ok(before) = load_decider(registry, &decider, now_ms).await {
        Translation::between(&before.package.signature, wanted)
    } else {
        let width = wanted.columns.len();
        if width != decider.width {
            return Err(ReplayError::Width { decider, width });
        }
        Translation::assumed(wanted)
    };
    made.map_err(|source| match source {
        TranslationError::Missing(column) => ReplayError::MissingColumn { decider, column },
        source => ReplayError::Translation { decider, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(score: f32, alert: bool) -> LoggedOutcome {
        LoggedOutcome { score, alert, label: None }
    }

    #[test]
    fn decisions_are_counted_by_what_changed() {
        let mut paired = PairedCounts::default();
        paired.add(outcome(0.5, true), 0.5, true);
        paired.add(outcome(0.25, false), 0.75, true);
        paired.add(outcome(0.75, true), 0.5, false);
        assert_eq!((paired.decisions, paired.same_bits, paired.logged_alerts, paired.alerts), (3, 1, 2, 2));
        assert_eq!((paired.pass_to_alert, paired.alert_to_pass), (1, 1));
        assert_eq!((paired.mean_abs_difference(), paired.max_abs_difference), (0.25, 0.5));
        assert_eq!(paired.share(paired.pass_to_alert), 1.0 / 3.0);
        assert_eq!(paired.labelled.decisions(), 0);
    }

    #[test]
    fn a_score_that_is_no_number_is_counted_and_in_no_difference() {
        let mut paired = PairedCounts::default();
        assert_eq!((paired.share(0), paired.mean_abs_difference()), (0.0, 0.0));
        paired.add(outcome(f32::NAN, false), 0.5, true);
        paired.add(outcome(0.5, true), f32::NAN, false);
        paired.add(outcome(f32::NAN, false), f32::NAN, false);
        assert_eq!((paired.decisions, paired.not_a_number, paired.same_bits), (3, 3, 1));
        assert_eq!((paired.sum_abs_difference, paired.max_abs_difference), (0.0, 0.0));
        assert_eq!((paired.pass_to_alert, paired.alert_to_pass), (1, 1));
    }

    #[test]
    fn a_labelled_decision_is_judged_by_its_label() {
        let mut paired = PairedCounts::default();
        let label = Some(KnownLabel { fraud: 1.0, amount: 40.0 });
        paired.add(LoggedOutcome { score: 0.2, alert: false, label }, 0.8, true);
        let [logged, now] = paired.labelled.figures();
        assert_eq!((logged.caught, logged.missed_amount), (0, 40.0));
        assert_eq!((now.caught, now.missed_amount), (1, 0.0));
    }
}
