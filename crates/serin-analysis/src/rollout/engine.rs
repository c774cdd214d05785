//! The tick of a rollout: Flagger's state machine, in Flagger's order, on whatever clock calls it.
//!
//! A look is a pure function of the state and of [`Facts`]. Where it needs an answer that the facts do not hold, of a
//! webhook or a metrics server, it returns the [`Question`] and changes nothing; the caller gets the answer in its own
//! time, adds it to the facts, and makes the look again. Orders to the world are returned as [`Effect`]s. Where Flagger
//! 1.44 is known to be wrong we differ, and say so at the place (numbers as in `docs/rollouts.md`).

use super::canary::{Canary, HookType, Metric, Severity, Strategy, Webhook};
use super::facts::{Answer, Effect, Event, Facts, Measured, Moved, Question, Readiness, Unanswered};
use super::phase::{Phase, Rollout, Route};
use crate::evidence::Judgement;

/// Returns whether a webhook has said yes: any status up to 202 does (Flagger takes 200 to 202).
#[must_use]
pub fn is_yes(answer: &Result<u16, Unanswered>) -> bool {
    matches!(answer, Ok(status) if *status <= 202)
}

/// Makes one look: moves the rollout by at most one step.
///
/// # Errors
/// Returns the question that must be answered before the look can be made.
pub fn tick(rollout: &Rollout, canary: &Canary, facts: &Facts) -> Result<Moved, Question> {
    let mut tick = Tick { rollout: rollout.clone(), canary, facts, effects: Vec::new() };
    if !canary.spec.suspend {
        tick.run().map_err(|question| *question)?;
    }
    Ok(Moved { rollout: tick.rollout, effects: tick.effects })
}

/// Rolls back at once for a reason: a person orders it, or harm is proven. `revision` is the version that the registry
/// names, which is not tried again. Changes nothing where no rollout is under way or about to start.
#[must_use]
pub fn stop(rollout: &Rollout, canary: &Canary, revision: &str, reason: &str) -> Moved {
    let mut rollout = rollout.clone();
    let starts = revision != rollout.last_applied && revision != rollout.last_promoted;
    if !rollout.is_under_way() && !starts {
        return Moved { rollout, effects: Vec::new() };
    }
    revision.clone_into(&mut rollout.last_applied);
    let facts = Facts::silent(revision);
    let mut tick = Tick { rollout, canary, facts: &facts, effects: Vec::new() };
    tick.roll_back(reason);
    Moved { rollout: tick.rollout, effects: tick.effects }
}

/// Promotes at once, as a person orders, whatever gates and evidence say. Changes nothing unless a candidate is
/// analysed, or waits for its promotion.
#[must_use]
pub fn promote(rollout: &Rollout, canary: &Canary) -> Moved {
    let facts = Facts::silent(&rollout.last_applied);
    let mut tick = Tick { rollout: rollout.clone(), canary, facts: &facts, effects: Vec::new() };
    if matches!(rollout.phase, Phase::Progressing | Phase::WaitingPromotion) {
        tick.promote();
    }
    Moved { rollout: tick.rollout, effects: tick.effects }
}

/// Result of a part of a look; the error is the question that is open.
type Part<T> = Result<T, Box<Question>>;

struct Tick<'a> {
    rollout: Rollout,
    canary: &'a Canary,
    facts: &'a Facts,
    effects: Vec<Effect>,
}

impl Tick<'_> {
    fn answer(&self, question: Question) -> Part<&Answer> {
        let known = self.facts.answers.iter().find(|(asked, _)| *asked == question);
        known.map(|(_, answer)| answer).ok_or_else(|| Box::new(question))
    }

    fn call(&self, hook: Webhook, phase: Phase) -> Part<Result<u16, Unanswered>> {
        match self.answer(Question::Hook(Box::new(hook), phase))? {
            Answer::Hook(answer) => Ok(answer.clone()),
            Answer::Measurement(_) => Ok(Err(Unanswered("a measurement was given for a webhook".to_owned()))),
        }
    }

    fn measure(&self, metric: &Metric) -> Part<Measured> {
        match self.answer(Question::Measurement(Box::new(metric.clone())))? {
            Answer::Measurement(measured) => Ok(measured.clone()),
            Answer::Hook(_) => Ok(Measured::Failed("a webhook's answer was given for a measurement".to_owned())),
        }
    }

    fn tell(&mut self, severity: Severity, message: impl Into<String>) {
        self.order(HookType::Event, self.rollout.phase);
        self.effects.push(Effect::Tell(Event { severity, message: message.into() }));
    }

    /// Orders the hooks of a kind to be called, where there are any.
    fn order(&mut self, kind: HookType, phase: Phase) {
        let hooks = self.hooks(kind);
        if !hooks.is_empty() {
            self.effects.push(Effect::Call(hooks, phase));
        }
    }

    fn hooks(&self, kind: HookType) -> Vec<Webhook> {
        self.canary.spec.analysis.webhooks.iter().filter(|hook| hook.kind == kind).cloned().collect()
    }

    /// Calls hooks in order until one does not say yes; returns its name and answer, none where all said yes.
    fn refused_by(&self, kind: HookType, phase: Phase) -> Part<Option<String>> {
        for hook in self.hooks(kind) {
            let name = hook.name.clone();
            let answer = self.call(hook, phase)?;
            if !is_yes(&answer) {
                let said = answer.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Ok(Some(format!("{name} ({said})")));
            }
        }
        Ok(None)
    }

    fn run(&mut self) -> Part<()> {
        let facts = self.facts;
        let under_way = self.rollout.is_under_way();
        if !under_way && facts.revision == self.rollout.last_promoted {
            // The name was taken back from a version that failed: given to it again, it is a new attempt.
            facts.revision.clone_into(&mut self.rollout.last_applied);
            return Ok(());
        }
        // Deviation 6: what is promoted already starts nothing, however it comes back.
        let changed = facts.revision != self.rollout.last_applied && facts.revision != self.rollout.last_promoted;
        if !under_way && !changed {
            return Ok(());
        }
        match facts.stable {
            Readiness::Ready => {}
            Readiness::NotYet => return Ok(()),
            Readiness::Never if matches!(self.rollout.phase, Phase::Promoting | Phase::Finalising) => {
                self.rollout.phase = Phase::Failed;
                self.tell(Severity::Error, "the promoted version does not become ready; it keeps its traffic");
                return Ok(());
            }
            Readiness::Never => {
                self.roll_back("the stable version is not ready");
                return Ok(());
            }
        }
        if matches!(self.rollout.phase, Phase::Initialized | Phase::Succeeded | Phase::Failed | Phase::Waiting) {
            return self.start();
        }
        let analysed = matches!(self.rollout.phase, Phase::Progressing | Phase::WaitingPromotion);
        if analysed && facts.revision != self.rollout.last_applied && facts.revision == self.rollout.last_promoted {
            // Deviation 6, in the middle: what is live already is not released again.
            self.roll_back("its name was taken back");
            return Ok(());
        }
        if analysed && facts.revision != self.rollout.last_applied {
            self.rollout.reset(Phase::Progressing);
            facts.revision.clone_into(&mut self.rollout.last_applied);
            self.tell(Severity::Info, "a newer version: the rollout starts over");
            return Ok(());
        }
        if !matches!(self.rollout.phase, Phase::Promoting | Phase::Finalising) {
            match facts.candidate {
                Readiness::Ready => {}
                Readiness::NotYet => return Ok(()),
                Readiness::Never => {
                    self.roll_back("the candidate cannot be loaded");
                    return Ok(());
                }
            }
        }
        if self.canary.spec.skip_analysis && self.rollout.phase == Phase::Progressing {
            self.effects.push(Effect::Promote);
            self.succeed();
            return Ok(());
        }
        if matches!(self.rollout.phase, Phase::Progressing | Phase::WaitingPromotion) && self.rollback_is_wanted()? {
            return Ok(());
        }
        match self.rollout.phase {
            Phase::Promoting => self.shift_back(),
            Phase::Finalising => self.succeed(),
            _ if self.rollout.failed_checks >= self.canary.spec.analysis.failure_threshold() => {
                let failed = self.rollout.failed_checks;
                self.roll_back(&format!("{failed} checks failed"));
            }
            _ => self.look()?,
        }
        Ok(())
    }

    /// Returns the reason where a rollback hook says yes.
    fn rollback_hook(&self) -> Part<Option<String>> {
        for hook in self.hooks(HookType::Rollback) {
            let name = hook.name.clone();
            if is_yes(&self.call(hook, self.rollout.phase)?) {
                return Ok(Some(format!("the rollback hook {name} says so")));
            }
        }
        Ok(None)
    }

    /// Rolls back and returns true where a rollback hook says yes or harm is proven.
    fn rollback_is_wanted(&mut self) -> Part<bool> {
        if let Judgement::Fail(reason) = &self.facts.evidence {
            self.roll_back(reason);
            return Ok(true);
        }
        if let Some(reason) = self.rollback_hook()? {
            self.roll_back(&reason);
            return Ok(true);
        }
        Ok(false)
    }

    fn start(&mut self) -> Part<()> {
        let revision = &self.facts.revision;
        // Deviation 3: a rollback hook is heard while a gate is waited for, too.
        if self.rollout.phase == Phase::Waiting
            && let Some(reason) = self.rollback_hook()?
        {
            revision.clone_into(&mut self.rollout.last_applied);
            self.roll_back(&reason);
            return Ok(());
        }
        let phase = self.rollout.phase;
        if let Some(by) = self.refused_by(HookType::ConfirmRollout, phase)? {
            if phase != Phase::Waiting {
                self.rollout.phase = Phase::Waiting;
                self.tell(Severity::Warn, format!("waiting for {by} before the start"));
            }
            return Ok(());
        }
        self.rollout.reset(Phase::Progressing);
        // Deviation 1: noted only now, so that a start which was put off is not forgotten.
        revision.clone_into(&mut self.rollout.last_applied);
        self.rollout.candidate_wanted = true;
        self.tell(Severity::Info, "a new version: loading the candidate");
        Ok(())
    }

    fn roll_back(&mut self, reason: &str) {
        self.rollout.reset(Phase::Failed);
        self.rollout.candidate_wanted = false;
        self.tell(Severity::Error, format!("rolled back: {reason}"));
        self.order(HookType::PostRollout, Phase::Failed);
    }

    fn succeed(&mut self) {
        self.rollout.reset(Phase::Succeeded);
        self.rollout.candidate_wanted = false;
        self.rollout.last_promoted = self.rollout.last_applied.clone();
        self.tell(Severity::Info, "promoted");
        self.order(HookType::PostRollout, Phase::Succeeded);
    }

    /// Gives the stable version, now the new one, its traffic back.
    fn shift_back(&mut self) {
        let step = self.canary.spec.analysis.step_weight_promotion;
        let left = self.rollout.route.candidate.saturating_sub(step);
        if step == 0 || left == 0 || self.canary.spec.provider.as_deref() == Some("kubernetes") {
            self.rollout.reset(Phase::Finalising);
        } else {
            self.rollout.route.candidate = left;
            self.rollout.canary_weight = left;
        }
    }

    fn fail_check(&mut self, reason: &str) {
        self.rollout.failed_checks += 1;
        let message = format!("failed check {}: {reason}", self.rollout.failed_checks);
        self.tell(Severity::Warn, message);
    }

    /// Makes the checks of a look, then moves the candidate's traffic.
    fn look(&mut self) -> Part<()> {
        let beginning = self.rollout.route == Route::default() && self.rollout.iterations == 0;
        if beginning {
            if !self.facts.shadowed {
                return Ok(());
            }
            // Deviation 4: announced once, and what has passed is not asked again while a gate is waited for. In the
            // eyes of Flagger's hooks the phase is always Progressing here.
            if !self.rollout.started {
                self.tell(Severity::Info, "the analysis starts");
                if let Some(by) = self.refused_by(HookType::PreRollout, Phase::Progressing)? {
                    self.fail_check(&format!("pre-rollout hook {by}"));
                    return Ok(());
                }
                self.rollout.started = true;
            }
        } else if !self.check()? {
            return Ok(());
        }
        match self.canary.spec.analysis.strategy() {
            _ if self.canary.spec.provider.as_deref() == Some("kubernetes") => self.advance_iterations(false),
            Strategy::BlueGreen => self.advance_iterations(true),
            Strategy::Ab => self.advance_ab(),
            Strategy::Weights => self.advance_weights(),
        }
    }

    /// Returns whether everything passes; the first failure ends the check.
    fn check(&mut self) -> Part<bool> {
        if let Some(by) = self.refused_by(HookType::Rollout, Phase::Progressing)? {
            self.fail_check(&format!("rollout hook {by}"));
            return Ok(false);
        }
        let (mut metrics, templates): (Vec<&Metric>, Vec<&Metric>) =
            self.canary.spec.analysis.metrics.iter().partition(|metric| metric.template_ref.is_none());
        metrics.extend(templates);
        for metric in metrics {
            match self.measure(metric)? {
                Measured::Value(value) if metric.accepts(value) => {}
                Measured::Value(value) if !value.is_nan() => {
                    self.fail_check(&format!("{} is {value}", metric.name));
                    return Ok(false);
                }
                // Deviation 5: no data is no failure; the rollout stays where it is.
                Measured::Value(_) | Measured::NoData => {
                    self.tell(Severity::Info, format!("no data for {}: staying", metric.name));
                    return Ok(false);
                }
                Measured::Failed(error) => {
                    self.fail_check(&format!("{} cannot be measured: {error}", metric.name));
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn advance_weights(&mut self) -> Part<()> {
        let (analysis, weight) = (&self.canary.spec.analysis, self.rollout.route.candidate);
        let Some(step) = analysis.next_step(weight) else { return Ok(()) };
        let (top, mirror) = (analysis.top_weight(), analysis.mirror);
        let mirroring = self.rollout.route.mirror;
        if !mirroring && self.refused_by(HookType::ConfirmTrafficIncrease, Phase::Progressing)?.is_some() {
            return Ok(());
        }
        if weight >= top {
            return self.promote_when_confirmed();
        }
        if mirror && weight == 0 && !mirroring {
            // Deviation 2: one look with mirrored traffic, then the first step; Flagger on Gateway API never leaves it.
            self.rollout.route.mirror = true;
            return Ok(());
        }
        self.rollout.route = Route { candidate: (weight + step).min(100), mirror: false, matched: false };
        self.rollout.canary_weight = self.rollout.route.candidate;
        self.tell(Severity::Info, format!("{} % to the candidate", self.rollout.canary_weight));
        Ok(())
    }

    fn advance_iterations(&mut self, switch: bool) -> Part<()> {
        // Without weights a run needs an end; Flagger takes ten looks where none is written.
        let wanted = match self.canary.spec.analysis.iterations {
            0 => 10,
            iterations => iterations as i32,
        };
        if self.rollout.iterations < wanted {
            self.rollout.route.mirror = self.canary.spec.analysis.mirror && switch;
            self.rollout.iterations += 1;
        } else if self.rollout.iterations == wanted {
            if self.gate_is_shut()? {
                return Ok(());
            }
            if switch {
                self.rollout.route = Route { candidate: 100, ..Route::default() };
            }
            self.rollout.iterations += 1;
        } else {
            self.promote();
        }
        Ok(())
    }

    fn advance_ab(&mut self) -> Part<()> {
        if self.rollout.iterations < self.canary.spec.analysis.iterations as i32 {
            if !self.rollout.route.matched {
                self.tell(Severity::Info, "requests that match to the candidate");
            }
            self.rollout.route = Route { candidate: 100, mirror: false, matched: true };
            self.rollout.iterations += 1;
            return Ok(());
        }
        self.promote_when_confirmed()
    }

    fn promote_when_confirmed(&mut self) -> Part<()> {
        if !self.gate_is_shut()? {
            self.promote();
        }
        Ok(())
    }

    /// Returns whether the promotion still waits for its gate or for proof, and notes that it waits.
    fn gate_is_shut(&mut self) -> Part<bool> {
        let mut by = self.refused_by(HookType::ConfirmPromotion, Phase::Progressing)?;
        if by.is_none()
            && let Judgement::Hold(reason) = &self.facts.evidence
        {
            by = Some(format!("proof: {reason}"));
        }
        let Some(by) = by else { return Ok(false) };
        if self.rollout.phase != Phase::WaitingPromotion {
            self.rollout.phase = Phase::WaitingPromotion;
            // As Flagger's status shows it; the route stays where it is.
            self.rollout.canary_weight = 0;
            self.rollout.iterations -= 1;
            self.tell(Severity::Warn, format!("waiting for {by} before the promotion"));
        }
        Ok(true)
    }

    fn promote(&mut self) {
        self.rollout.phase = Phase::Promoting;
        self.rollout.canary_weight = match self.canary.spec.analysis.strategy() {
            Strategy::Weights => self.rollout.route.candidate,
            Strategy::BlueGreen | Strategy::Ab => 0,
        };
        self.effects.push(Effect::Promote);
        self.tell(Severity::Info, "promoting");
    }
}
