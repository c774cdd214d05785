//! The tick of a rollout: Flagger's state machine, in Flagger's order, on whatever clock calls it.
//!
//! Everything that outlives a tick is in [`Rollout`]; what the tick needs of the world it asks [`World`] for. Where
//! Flagger 1.44 is known to be wrong we differ, and say so at the place (numbers as in `docs/rollouts.md`).

use super::canary::{Canary, HookType, Metric, Severity, Strategy, Webhook};
use crate::evidence::Judgement;
use serde::{Deserialize, Serialize};

/// Phase of a rollout, in Flagger's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The first version is live, and nothing was released yet.
    Initialized,
    /// A gate keeps the rollout from starting.
    Waiting,
    /// The candidate is loaded or looked at.
    Progressing,
    /// A gate, or too little evidence, keeps the candidate from being promoted.
    WaitingPromotion,
    /// The candidate becomes the stable version.
    Promoting,
    /// The candidate's traffic went back to the stable version, which is now the same.
    Finalising,
    /// The candidate was promoted.
    Succeeded,
    /// The candidate was rolled back.
    Failed,
}

/// How requests are split between the candidate and the stable version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Percent of the requests that the candidate answers; the stable version answers the rest.
    pub candidate: u32,
    /// True if the candidate gets a copy of every request.
    pub mirror: bool,
    /// True if only requests that match go by these weights (A/B).
    pub matched: bool,
}

/// State of a rollout: everything that outlives a tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Phase that the rollout is in.
    pub phase: Phase,
    /// Candidate's weight in percent as the status of Flagger's object shows it; `route` says what is done.
    pub canary_weight: u32,
    /// Number of failed checks in this run, never reset by good ones.
    pub failed_checks: u32,
    /// Number of looks in a blue/green or A/B run; -1 while a weighted one waits for its promotion.
    pub iterations: i32,
    /// Split of the requests between the candidate and the stable version.
    pub route: Route,
    /// Revision that was seen last: the candidate's while the rollout is under way.
    pub last_applied: String,
    /// Revision that was promoted last.
    pub last_promoted: String,
    /// True if the candidate should be loaded.
    pub candidate_wanted: bool,
    /// True once the start was announced and the pre-rollout hooks have passed.
    pub started: bool,
}

impl Rollout {
    /// Makes the state of a version that is live and was never analysed.
    #[must_use]
    pub fn initialized(revision: &str) -> Self {
        Self {
            phase: Phase::Initialized,
            canary_weight: 0,
            failed_checks: 0,
            iterations: 0,
            route: Route::default(),
            last_applied: revision.to_owned(),
            last_promoted: revision.to_owned(),
            candidate_wanted: false,
            started: false,
        }
    }

    /// Returns whether the rollout has begun and not ended.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(
            self.phase,
            Phase::Progressing | Phase::Waiting | Phase::WaitingPromotion | Phase::Promoting | Phase::Finalising
        )
    }

    fn reset(&mut self, phase: Phase) {
        self.phase = phase;
        (self.canary_weight, self.failed_checks, self.iterations) = (0, 0, 0);
        (self.route, self.started) = (Route::default(), false);
    }
}

/// Answer to whether a version can take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// The version can answer.
    Ready,
    /// The version cannot answer yet.
    NotYet,
    /// The version will never answer: its file is refused, or its time is over.
    Never,
}

/// Result of one measurement.
#[derive(Debug, Clone, PartialEq)]
pub enum Measured {
    /// The metric has this value.
    Value(f64),
    /// There is too little data for a value.
    NoData,
    /// The metric could not be asked for; holds the error.
    Failed(String),
}

/// Something that the engine tells people and webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Severity of the event.
    pub severity: Severity,
    /// Text of the event, for a person.
    pub message: String,
}

/// Questions and orders of the engine to the server that it runs in.
pub trait World {
    /// Returns the revision that should be live: version and configuration of the target.
    fn revision(&mut self) -> String;
    /// Returns whether the stable version can answer.
    fn stable(&mut self) -> Readiness;
    /// Returns whether the candidate can answer.
    fn candidate(&mut self) -> Readiness;
    /// Returns whether the candidate has scored in the shadow for as long, and as many requests, as it must before it gets
    /// traffic.
    fn shadowed(&mut self) -> bool;
    /// Calls a webhook with the phase that it is to hear. Returns the HTTP status, or why there is none.
    fn call(&mut self, hook: &Webhook, phase: Phase) -> Result<u16, String>;
    /// Takes a measurement of the candidate.
    fn measure(&mut self, metric: &Metric) -> Measured;
    /// Returns the verdict of the evidence; [`Judgement::Pass`] where none is gathered.
    fn evidence(&mut self) -> Judgement;
    /// Takes all traffic from the candidate at once: what follows, hooks among it, may take its time.
    fn withdraw(&mut self) {}
    /// Makes the candidate the stable version.
    fn promote(&mut self);
    /// Tells people of an event.
    fn tell(&mut self, event: Event);
}

/// Returns whether a webhook has said yes: any status up to 202 does (Flagger takes 200 to 202).
#[must_use]
pub fn is_yes(answer: &Result<u16, String>) -> bool {
    matches!(answer, Ok(status) if *status <= 202)
}

/// Rolls back at once, as a person orders; changes nothing where no rollout is under way.
pub fn abort(rollout: &mut Rollout, canary: &Canary, world: &mut impl World, reason: &str) {
    if rollout.is_under_way() {
        rollout.last_applied = world.revision();
        Tick { rollout, canary, world }.roll_back(reason);
    }
}

/// Promotes at once, as a person orders, whatever gates and evidence say; the candidate must be ready and looked at.
pub fn promote(rollout: &mut Rollout, canary: &Canary, world: &mut impl World) {
    if matches!(rollout.phase, Phase::Progressing | Phase::WaitingPromotion) && world.candidate() == Readiness::Ready {
        Tick { rollout, canary, world }.promote();
    }
}

struct Tick<'a, W> {
    rollout: &'a mut Rollout,
    canary: &'a Canary,
    world: &'a mut W,
}

/// Makes one look: moves the rollout by at most one step.
pub fn tick(rollout: &mut Rollout, canary: &Canary, world: &mut impl World) {
    if canary.spec.suspend {
        return;
    }
    Tick { rollout, canary, world }.run();
}

impl<W: World> Tick<'_, W> {
    fn tell(&mut self, severity: Severity, message: impl Into<String>) {
        let event = Event { severity, message: message.into() };
        for hook in self.hooks(HookType::Event) {
            // Nobody waits for what it says.
            let _ = self.world.call(&hook, self.rollout.phase);
        }
        self.world.tell(event);
    }

    fn hooks(&self, kind: HookType) -> Vec<Webhook> {
        self.canary.spec.analysis.webhooks.iter().filter(|hook| hook.kind == kind).cloned().collect()
    }

    /// Calls hooks in order until one does not say yes; returns its name and answer, none where all said yes.
    fn refused_by(&mut self, kind: HookType, phase: Phase) -> Option<String> {
        for hook in self.hooks(kind) {
            let answer = self.world.call(&hook, phase);
            if !is_yes(&answer) {
                let said = answer.map_or_else(|error| error, |status| status.to_string());
                return Some(format!("{} ({said})", hook.name));
            }
        }
        None
    }

    fn run(mut self) {
        let revision = self.world.revision();
        let under_way = self.rollout.is_under_way();
        // Deviation 6: what is promoted already starts nothing, however it comes back.
        let changed = revision != self.rollout.last_applied && revision != self.rollout.last_promoted;
        if !under_way && !changed {
            return;
        }
        match self.world.stable() {
            Readiness::Ready => {}
            Readiness::NotYet => return,
            Readiness::Never if matches!(self.rollout.phase, Phase::Promoting | Phase::Finalising) => {
                self.rollout.phase = Phase::Failed;
                return self.tell(Severity::Error, "the promoted version does not become ready; it keeps its traffic");
            }
            Readiness::Never => return self.roll_back("the stable version is not ready"),
        }
        if matches!(self.rollout.phase, Phase::Initialized | Phase::Succeeded | Phase::Failed | Phase::Waiting) {
            return self.start(&revision);
        }
        if revision != self.rollout.last_applied
            && matches!(self.rollout.phase, Phase::Progressing | Phase::WaitingPromotion)
        {
            self.rollout.reset(Phase::Progressing);
            self.rollout.last_applied = revision;
            return self.tell(Severity::Info, "a newer version: the rollout starts over");
        }
        if !matches!(self.rollout.phase, Phase::Promoting | Phase::Finalising) {
            match self.world.candidate() {
                Readiness::Ready => {}
                Readiness::NotYet => return,
                Readiness::Never => return self.roll_back("the candidate cannot be loaded"),
            }
        }
        if self.canary.spec.skip_analysis && self.rollout.phase == Phase::Progressing {
            self.world.promote();
            return self.succeed();
        }
        if matches!(self.rollout.phase, Phase::Progressing | Phase::WaitingPromotion) && self.rollback_is_wanted() {
            return;
        }
        match self.rollout.phase {
            Phase::Promoting => self.shift_back(),
            Phase::Finalising => self.succeed(),
            _ if self.rollout.failed_checks >= self.canary.spec.analysis.failure_threshold() => {
                let failed = self.rollout.failed_checks;
                self.roll_back(&format!("{failed} checks failed"));
            }
            _ => self.look(),
        }
    }

    /// Returns the reason where a rollback hook says yes.
    fn rollback_hook(&mut self) -> Option<String> {
        let phase = self.rollout.phase;
        let hook = self.hooks(HookType::Rollback).into_iter().find(|hook| is_yes(&self.world.call(hook, phase)))?;
        Some(format!("the rollback hook {} says so", hook.name))
    }

    /// Rolls back and returns true where a rollback hook says yes or harm is proven.
    fn rollback_is_wanted(&mut self) -> bool {
        if let Some(reason) = self.rollback_hook() {
            self.roll_back(&reason);
            return true;
        }
        if let Judgement::Fail(reason) = self.world.evidence() {
            self.roll_back(&reason);
            return true;
        }
        false
    }

    fn start(&mut self, revision: &str) {
        // Deviation 3: a rollback hook is heard while a gate is waited for, too.
        if self.rollout.phase == Phase::Waiting
            && let Some(reason) = self.rollback_hook()
        {
            self.rollout.last_applied = revision.to_owned();
            return self.roll_back(&reason);
        }
        let phase = self.rollout.phase;
        if let Some(by) = self.refused_by(HookType::ConfirmRollout, phase) {
            if phase != Phase::Waiting {
                self.rollout.phase = Phase::Waiting;
                self.tell(Severity::Warn, format!("waiting for {by} before the start"));
            }
            return;
        }
        self.rollout.reset(Phase::Progressing);
        // Deviation 1: noted only now, so that a start which was put off is not forgotten.
        self.rollout.last_applied = revision.to_owned();
        self.rollout.candidate_wanted = true;
        self.tell(Severity::Info, "a new version: loading the candidate");
    }

    fn roll_back(&mut self, reason: &str) {
        self.world.withdraw();
        self.rollout.reset(Phase::Failed);
        self.rollout.candidate_wanted = false;
        self.tell(Severity::Error, format!("rolled back: {reason}"));
        self.refused_by(HookType::PostRollout, Phase::Failed);
    }

    fn succeed(&mut self) {
        self.rollout.reset(Phase::Succeeded);
        self.rollout.candidate_wanted = false;
        self.rollout.last_promoted = self.rollout.last_applied.clone();
        self.tell(Severity::Info, "promoted");
        self.refused_by(HookType::PostRollout, Phase::Succeeded);
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
    fn look(&mut self) {
        let beginning = self.rollout.route == Route::default() && self.rollout.iterations == 0;
        if beginning {
            if !self.world.shadowed() {
                return;
            }
            // Deviation 4: announced once, and what has passed is not asked again while a gate is waited for. In the
            // eyes of Flagger's hooks the phase is always Progressing here.
            if !self.rollout.started {
                self.tell(Severity::Info, "the analysis starts");
                if let Some(by) = self.refused_by(HookType::PreRollout, Phase::Progressing) {
                    return self.fail_check(&format!("pre-rollout hook {by}"));
                }
                self.rollout.started = true;
            }
        } else if !self.check() {
            return;
        }
        match self.canary.spec.analysis.strategy() {
            _ if self.canary.spec.provider.as_deref() == Some("kubernetes") => self.advance_iterations(false),
            Strategy::BlueGreen => self.advance_iterations(true),
            Strategy::Ab => self.advance_ab(),
            Strategy::Weights => self.advance_weights(),
        }
    }

    /// Returns whether everything passes; the first failure ends the check.
    fn check(&mut self) -> bool {
        if let Some(by) = self.refused_by(HookType::Rollout, Phase::Progressing) {
            self.fail_check(&format!("rollout hook {by}"));
            return false;
        }
        let (mut metrics, templates): (Vec<&Metric>, Vec<&Metric>) =
            self.canary.spec.analysis.metrics.iter().partition(|metric| metric.template_ref.is_none());
        metrics.extend(templates);
        for metric in metrics {
            match self.world.measure(metric) {
                Measured::Value(value) if metric.accepts(value) => {}
                Measured::Value(value) if !value.is_nan() => {
                    self.fail_check(&format!("{} is {value}", metric.name));
                    return false;
                }
                // Deviation 5: no data is no failure; the rollout stays where it is.
                Measured::Value(_) | Measured::NoData => {
                    self.tell(Severity::Info, format!("no data for {}: staying", metric.name));
                    return false;
                }
                Measured::Failed(error) => {
                    self.fail_check(&format!("{} cannot be measured: {error}", metric.name));
                    return false;
                }
            }
        }
        true
    }

    fn advance_weights(&mut self) {
        let (analysis, weight) = (&self.canary.spec.analysis, self.rollout.route.candidate);
        let Some(step) = analysis.next_step(weight) else { return };
        let (top, mirror) = (analysis.top_weight(), analysis.mirror);
        let mirroring = self.rollout.route.mirror;
        if !mirroring && self.refused_by(HookType::ConfirmTrafficIncrease, Phase::Progressing).is_some() {
            return;
        }
        if weight >= top {
            return self.promote_when_confirmed();
        }
        if mirror && weight == 0 && !mirroring {
            // Deviation 2: one look with mirrored traffic, then the first step; Flagger on Gateway API never leaves it.
            self.rollout.route.mirror = true;
            return;
        }
        self.rollout.route = Route { candidate: (weight + step).min(100), mirror: false, matched: false };
        self.rollout.canary_weight = self.rollout.route.candidate;
        self.tell(Severity::Info, format!("{} % to the candidate", self.rollout.canary_weight));
    }

    fn advance_iterations(&mut self, switch: bool) {
        // Without weights a run needs an end; Flagger takes ten looks where none is written.
        let wanted = match self.canary.spec.analysis.iterations {
            0 => 10,
            iterations => iterations as i32,
        };
        if self.rollout.iterations < wanted {
            self.rollout.route.mirror = self.canary.spec.analysis.mirror && switch;
            self.rollout.iterations += 1;
        } else if self.rollout.iterations == wanted {
            if self.gate_is_shut() {
                return;
            }
            if switch {
                self.rollout.route = Route { candidate: 100, ..Route::default() };
            }
            self.rollout.iterations += 1;
        } else {
            self.promote();
        }
    }

    fn advance_ab(&mut self) {
        if self.rollout.iterations < self.canary.spec.analysis.iterations as i32 {
            if !self.rollout.route.matched {
                self.tell(Severity::Info, "requests that match to the candidate");
            }
            self.rollout.route = Route { candidate: 100, mirror: false, matched: true };
            self.rollout.iterations += 1;
            return;
        }
        self.promote_when_confirmed();
    }

    fn promote_when_confirmed(&mut self) {
        if !self.gate_is_shut() {
            self.promote();
        }
    }

    /// Returns whether the promotion still waits for its gate or for proof, and notes that it waits.
    fn gate_is_shut(&mut self) -> bool {
        let mut by = self.refused_by(HookType::ConfirmPromotion, Phase::Progressing);
        if by.is_none()
            && let Judgement::Hold(reason) = self.world.evidence()
        {
            by = Some(format!("proof: {reason}"));
        }
        let Some(by) = by else { return false };
        if self.rollout.phase != Phase::WaitingPromotion {
            self.rollout.phase = Phase::WaitingPromotion;
            // As Flagger's status shows it; the route stays where it is.
            self.rollout.canary_weight = 0;
            self.rollout.iterations -= 1;
            self.tell(Severity::Warn, format!("waiting for {by} before the promotion"));
        }
        true
    }

    fn promote(&mut self) {
        self.rollout.phase = Phase::Promoting;
        self.rollout.canary_weight = match self.canary.spec.analysis.strategy() {
            Strategy::Weights => self.rollout.route.candidate,
            Strategy::BlueGreen | Strategy::Ab => 0,
        };
        self.world.promote();
        self.tell(Severity::Info, "promoting");
    }
}
