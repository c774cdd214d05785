//! A rollout on virtual time: hooks that hang, fail and answer late, a registry that is away, people's orders.
#![expect(clippy::unwrap_used, reason = "test code")]

use serde_json::{Value, json};
use serin_analysis::evidence::Counts;
use serin_analysis::evidence::allocation::Events;
use serin_analysis::evidence::paired::Paired;
use serin_analysis::evidence::sharing::{OthersEvidence, SharedEvidence};
use serin_analysis::rollout::canary::Canary;
use serin_analysis::rollout::delivery::{
    Arrival, Control, Delivery, Loading, Observed, OrderRefusal, Pointing, Refusal, RolloutState, Rules, Task,
};
use serin_analysis::rollout::{Answer, Extension, Phase, Question, Unanswered};

const STEP_MS: i64 = 200;

/// A server with a registry around it. What is told to hang is never answered.
struct Server {
    delivery: Delivery,
    now_ms: i64,
    live: String,
    loaded: Option<String>,
    wanted: Option<String>,
    arrivals: Vec<Arrival>,
    counted: Counts,
    /// Answer of the hooks; `None` hangs.
    hooks: Option<Result<u16, Unanswered>>,
    /// Outcome of a load; `None` hangs.
    loading: Option<Loading>,
    registry_is_away: bool,
    /// The registry takes evidence and does not answer: a share fails after 5 s.
    registry_hangs: bool,
    late: Vec<(i64, Arrival)>,
    others: OthersEvidence,
    hanging: Vec<(u64, Question)>,
    shared: Vec<SharedEvidence>,
    pointed: Vec<Pointing>,
    noted: Vec<(String, bool)>,
    told: Vec<String>,
    replies: Vec<Result<(), OrderRefusal>>,
    kept: usize,
}

fn rules(analysis: &Value, annotations: &Value) -> Rules {
    let document = json!({
        "apiVersion": "flagger.app/v1beta1",
        "metadata": { "name": "fraud", "annotations": annotations },
        "spec": { "targetRef": { "kind": "Deployment", "name": "fraud" }, "analysis": analysis },
    });
    let canary: Canary = serde_json::from_value(document).unwrap();
    let extension = Extension::of(&canary).unwrap();
    Rules { model: "fraud".to_owned(), canary, extension, shortest_ms: 1000 }
}

fn weights() -> Value {
    json!({ "interval": "1s", "threshold": 3, "stepWeights": [20, 50] })
}

fn hooked(kind: &str) -> Value {
    let mut analysis = weights();
    analysis["webhooks"] = json!([{ "name": "gate", "type": kind, "url": "http://gate" }]);
    analysis
}

fn annotations() -> Value {
    json!({ "serin.dev/min-shadow": "0s", "serin.dev/min-shadow-requests": "0" })
}

impl Server {
    fn new(analysis: &Value) -> Self {
        Self::with(rules(analysis, &annotations()), RolloutState::begun("1", "a".to_owned(), "here".to_owned(), 0))
    }

    fn with(rules: Rules, state: RolloutState) -> Self {
        Self {
            delivery: Delivery::new(rules, state),
            now_ms: 1_000_000,
            live: "1".to_owned(),
            loaded: None,
            wanted: Some("1".to_owned()),
            arrivals: Vec::new(),
            counted: Counts::default(),
            hooks: Some(Ok(200)),
            loading: Some(Loading::Ready(Vec::new())),
            registry_is_away: false,
            registry_hangs: false,
            late: Vec::new(),
            others: OthersEvidence { leads: true, epoch: 1, ..OthersEvidence::default() },
            hanging: Vec::new(),
            shared: Vec::new(),
            pointed: Vec::new(),
            noted: Vec::new(),
            told: Vec::new(),
            replies: Vec::new(),
            kept: 0,
        }
    }

    fn tick(&mut self) {
        self.now_ms += STEP_MS;
        while let Some(at) = self.late.iter().position(|(at_ms, _)| *at_ms <= self.now_ms) {
            self.arrivals.push(self.late.remove(at).1);
        }
        let seen = Observed {
            now_ms: self.now_ms,
            live: Some(self.live.clone()),
            loaded: self.loaded.clone(),
            counted: std::mem::take(&mut self.counted),
            ..Observed::default()
        };
        let tasks = self.delivery.tick(&seen, std::mem::take(&mut self.arrivals));
        for task in tasks {
            self.run(task);
        }
    }

    fn run(&mut self, task: Task) {
        match task {
            Task::Find => {
                let found =
                    if self.registry_is_away { Err(Unanswered("away".to_owned())) } else { Ok(self.wanted.clone()) };
                self.arrivals.push(Arrival::Found(found));
            }
            Task::Load(version) => {
                if let Some(outcome) = self.loading.clone() {
                    if matches!(outcome, Loading::Ready(_)) {
                        self.loaded = Some(version.clone());
                    }
                    self.arrivals.push(Arrival::Loaded(version, outcome));
                }
            }
            Task::Unload => self.loaded = None,
            Task::Share(evidence) => {
                let others = OthersEvidence {
                    leads: self.others.leads,
                    epoch: self.others.epoch,
                    counts: self.others.counts.clone(),
                    replicas: self.others.replicas,
                    state: self.others.state.clone(),
                };
                let outcome = if self.registry_is_away { Err(Unanswered("away".to_owned())) } else { Ok(others) };
                // A claim is a lead of its own, also for the server that leads.
                if evidence.claims && !self.registry_is_away {
                    self.others.epoch += 1;
                }
                let outcome = outcome.map(|others| OthersEvidence { epoch: self.others.epoch, ..others });
                self.shared.push(*evidence);
                if self.registry_hangs {
                    self.late.push((self.now_ms + 5000, Arrival::Shared(Box::new(Err(Unanswered("late".to_owned()))))));
                    return;
                }
                self.arrivals.push(Arrival::Shared(Box::new(outcome)));
            }
            Task::Point(pointing, lease) => {
                let fits = pointing.from.as_ref().is_none_or(|from| *from == self.live);
                let outcome = if self.registry_is_away {
                    Err(Refusal::Unavailable("away".to_owned()))
                } else if lease.is_some_and(|lease| lease.epoch != self.others.epoch) {
                    Err(Refusal::NotLeading("an epoch that is over".to_owned()))
                } else if !fits && self.live != pointing.to {
                    Err(Refusal::Moved("another version is live".to_owned()))
                } else {
                    self.live.clone_from(&pointing.to);
                    self.pointed.push(pointing.clone());
                    Ok(())
                };
                self.arrivals.push(Arrival::Pointed(pointing, outcome));
            }
            Task::Note(ending) => {
                let outcome = if self.registry_is_away { Err(Unanswered("away".to_owned())) } else { Ok(()) };
                if outcome.is_ok() {
                    self.noted.push((ending.version.clone(), ending.succeeded));
                }
                self.arrivals.push(Arrival::Noted(ending, outcome));
            }
            Task::Ask(look, question) => match self.hooks.clone() {
                Some(answer) => self.arrivals.push(Arrival::Answered(look, question, Answer::Hook(answer))),
                None => self.hanging.push((look, question)),
            },
            Task::Call(..) => {}
            Task::Tell(_, event) => self.told.push(event.message),
            Task::Keep => self.kept += 1,
            Task::Reply(_, outcome) => self.replies.push(outcome),
        }
    }

    fn until(&mut self, what: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if what(self) {
                return;
            }
            self.tick();
        }
        panic!("it never came: {:?} {:?}", self.phase(), self.told);
    }

    fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    fn phase(&self) -> Phase {
        self.delivery.state().rollout.phase
    }

    fn weight(&self) -> u32 {
        self.delivery.state().rollout.route.candidate
    }

    fn order(&mut self, control: Control) {
        self.arrivals.push(Arrival::Command { id: 1, control, by: Some("ana".to_owned()) });
    }

    fn release(&mut self, version: &str) {
        self.wanted = Some(version.to_owned());
    }

    /// Requests of which both versions alert on some, so that the evidence can prove the candidate harmless.
    fn harmless(&mut self) {
        self.counted.paired = Paired { both: 2000, neither: 38_000, ..Paired::default() };
    }

    fn harm(&mut self) {
        self.counted.paired = Paired { both: 100, raised: 4000, neither: 10_000, ..Paired::default() };
    }
}

#[test]
fn a_version_goes_through_its_weights_and_is_promoted() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.harmless();
    server.until(|server| server.phase() == Phase::Succeeded);
    assert_eq!((server.live.as_str(), &server.noted[..]), ("2", &[("2".to_owned(), true)][..]));
    server.ticks(50);
    assert_eq!((server.pointed.len(), server.phase(), server.loaded.as_deref()), (1, Phase::Succeeded, None));
}

#[test]
fn harm_is_stopped_while_a_hook_hangs() {
    let mut server = Server::new(&hooked("rollout"));
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.hooks = None;
    server.until(|server| !server.hanging.is_empty());
    server.ticks(100);
    assert_eq!((server.weight(), server.hanging.len()), (20, 1), "one question at a time");
    server.harm();
    server.tick();
    assert_eq!((server.phase(), server.weight()), (Phase::Failed, 0));
    // The answer that comes late moves nothing.
    let (look, question) = server.hanging.remove(0);
    server.arrivals.push(Arrival::Answered(look, question, Answer::Hook(Ok(200))));
    server.ticks(50);
    assert_eq!((server.phase(), server.pointed.len()), (Phase::Failed, 0));
}

#[test]
fn abort_acts_at_once_while_hook_registry_and_load_hang() {
    let mut server = Server::new(&hooked("rollout"));
    server.release("2");
    server.until(|server| server.weight() == 20);
    (server.hooks, server.registry_is_away) = (None, true);
    server.until(|server| !server.hanging.is_empty());
    server.order(Control::Abort);
    server.tick();
    assert_eq!((server.phase(), server.weight(), server.replies.as_slice()), (Phase::Failed, 0, &[Ok(())][..]));
    assert!(server.told.last().unwrap().contains("aborted by hand, by ana"), "{:?}", server.told);
    // The end is noted when the registry is back.
    server.ticks(20);
    assert!(server.noted.is_empty());
    server.registry_is_away = false;
    server.until(|server| server.noted == [("2".to_owned(), false)]);

    let mut server = Server::new(&weights());
    server.loading = None;
    server.release("2");
    server.until(|server| server.phase() == Phase::Progressing);
    server.ticks(20);
    server.order(Control::Abort);
    server.tick();
    assert_eq!(server.phase(), Phase::Failed);
}

#[test]
fn b1_an_abort_while_promoting_puts_the_live_version_back() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.harmless();
    server.until(|server| server.phase() == Phase::Promoting);
    server.until(|server| server.live == "2");
    server.order(Control::Abort);
    server.tick();
    assert_eq!(server.replies, [Ok(())]);
    server.until(|server| server.live == "1");
    server.ticks(50);
    assert_eq!((server.live.as_str(), server.phase()), ("1", Phase::Failed));
    assert_eq!(server.noted, [("2".to_owned(), false)]);
    let pointed: Vec<_> = server.pointed.iter().map(|pointing| pointing.to.as_str()).collect();
    assert_eq!(pointed, ["2", "1"]);
}

#[test]
fn an_abort_before_the_registry_has_promoted_never_promotes() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.harmless();
    server.until(|server| server.weight() == 50);
    server.registry_is_away = true;
    server.until(|server| server.phase() == Phase::Promoting);
    server.order(Control::Abort);
    server.tick();
    assert_eq!(server.phase(), Phase::Failed);
    server.registry_is_away = false;
    server.ticks(100);
    assert_eq!((server.live.as_str(), server.phase()), ("1", Phase::Failed));
    assert!(server.pointed.iter().all(|pointing| pointing.to == "1"), "{:?}", server.pointed);
    assert!(server.delivery.state().pointing.is_none(), "nothing is left to be put back");
}

#[test]
fn b5_commands_that_do_nothing_say_so_and_leave_no_line() {
    let mut server = Server::new(&weights());
    server.ticks(10);
    for control in [Control::Abort, Control::Promote, Control::Pause, Control::Resume, Control::Retry] {
        server.order(control);
        server.until(|server| !server.replies.is_empty());
        assert!(server.replies.pop().unwrap().is_err(), "{control:?}");
    }
    assert!(server.delivery.state().history.is_empty());
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.order(Control::Pause);
    server.until(|server| !server.replies.is_empty());
    server.order(Control::Pause);
    server.until(|server| server.replies.len() == 2);
    assert!(server.replies[0].is_ok() && server.replies[1].is_err());
    server.ticks(50);
    assert_eq!(server.weight(), 20);
    // The pause ends with its rollout.
    server.order(Control::Abort);
    server.tick();
    server.release("3");
    server.until(|server| server.weight() == 20);
}

#[test]
fn b5_a_version_that_was_rolled_back_is_tried_again_as_a_new_attempt() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.harm();
    server.until(|server| server.phase() == Phase::Failed);
    let attempt = server.delivery.state().attempt();
    server.ticks(100);
    assert_eq!(server.phase(), Phase::Failed);
    server.order(Control::Retry);
    server.until(|server| server.weight() == 20);
    assert_ne!(server.delivery.state().attempt(), attempt);
    assert_eq!(server.delivery.state().counts.paired.requests(), 0, "evidence of the first attempt is not added");
    assert_eq!(server.replies, [Ok(())]);
}

#[test]
fn r2_a_candidate_that_cannot_be_read_for_a_moment_is_tried_again() {
    let mut server = Server::new(&weights());
    server.loading = Some(Loading::Failed("No such file".to_owned()));
    server.release("2");
    server.until(|server| server.told.iter().any(|told| told.contains("tried again")));
    server.ticks(200);
    assert_eq!(server.phase(), Phase::Progressing);
    assert_eq!(server.told.iter().filter(|told| told.contains("tried again")).count(), 1, "said once");
    server.loading = Some(Loading::Ready(Vec::new()));
    server.until(|server| server.weight() == 20);
    // One that is refused is not.
    let mut server = Server::new(&weights());
    server.loading = Some(Loading::Refused("no forest".to_owned()));
    server.release("2");
    server.until(|server| server.phase() == Phase::Failed);
}

#[test]
fn a_restart_in_the_middle_goes_on_where_it_was() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 20);
    let state: RolloutState = serde_json::from_str(&serde_json::to_string(server.delivery.state()).unwrap()).unwrap();
    let mut again = Server::with(rules(&weights(), &annotations()), state.at("here".to_owned(), "b".to_owned()));
    // Hours later: the candidate is not loaded yet, and that is no failure of it.
    again.now_ms = server.now_ms + 10_000_000;
    (again.loading, again.wanted) = (None, Some("2".to_owned()));
    again.ticks(50);
    assert_eq!((again.phase(), again.weight()), (Phase::Progressing, 20));
    assert_eq!(again.delivery.state().replica, "a");
}

#[test]
fn b16_a_copied_state_is_another_server_and_brings_no_counts() {
    let mut state = RolloutState::begun("1", "a".to_owned(), "here".to_owned(), 0);
    state.counts.paired.both = 9;
    let same = state.clone().at("here".to_owned(), "b".to_owned());
    let copied = state.at("there".to_owned(), "b".to_owned());
    assert_eq!((same.replica.as_str(), same.counts.paired.both), ("a", 9));
    assert_eq!((copied.replica.as_str(), copied.counts.paired.both), ("b", 0));
}

#[test]
fn r3_who_lost_the_lead_promotes_nothing() {
    let mut server = Server::new(&hooked("confirm-promotion"));
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.hooks = None;
    server.harmless();
    server.until(|server| !server.hanging.is_empty());
    // While the hook hangs, another server has taken the lead.
    server.others = OthersEvidence { leads: false, epoch: 0, ..OthersEvidence::default() };
    server.ticks(50);
    let (look, question) = server.hanging.remove(0);
    server.arrivals.push(Arrival::Answered(look, question, Answer::Hook(Ok(200))));
    server.ticks(50);
    assert_eq!((server.live.as_str(), server.pointed.len()), ("1", 0));
    assert!(!server.delivery.state().leads);

    // It loses the lead between its decision and the change: the registry refuses by the epoch.
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 50);
    server.harmless();
    server.others.epoch = 2;
    server.delivery.tick(&Observed::default(), Vec::new());
    server.ticks(3);
    assert!(server.pointed.iter().all(|pointing| pointing.to == "2"));
}

#[test]
fn a_follower_obeys_after_it_has_claimed_the_lead() {
    let mut server = Server::new(&weights());
    server.others.leads = false;
    server.release("2");
    server.until(|server| !server.delivery.state().leads);
    let mut state = serde_json::to_value(server.delivery.state()).unwrap();
    state["rollout"]["phase"] = json!("Progressing");
    (state["rollout"]["last_applied"], state["rollout"]["candidate_wanted"]) = (json!("2"), json!(true));
    (state["rollout"]["route"]["candidate"], state["began_ms"]) = (json!(20), json!(77));
    server.others.state = Some(state);
    server.until(|server| server.weight() == 20);
    assert!(server.pointed.is_empty() && server.told.is_empty(), "it only follows");
    server.order(Control::Pause);
    server.others = OthersEvidence { leads: true, epoch: 5, ..OthersEvidence::default() };
    server.until(|server| !server.replies.is_empty());
    assert!(server.shared.iter().any(|shared| shared.claims));
    assert!(server.delivery.state().paused && server.delivery.state().epoch == 6);
    server.until(|server| server.shared.last().unwrap().state.as_ref().is_some_and(|state| state["paused"] == true));
}

#[test]
fn counts_of_an_attempt_that_is_over_are_not_added() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.phase() == Phase::Progressing);
    let first = server.shared.last().unwrap().release.clone();
    server.release("3");
    server.until(|server| server.delivery.state().rollout.last_applied == "3");
    server.others.counts.paired = Paired { raised: 10_000, ..Paired::default() };
    server.others.replicas = 1;
    server.until(|server| server.shared.last().unwrap().release != first);
    let sequences: Vec<i64> = server.shared.iter().map(|shared| shared.sequence).collect();
    assert!(sequences.is_sorted_by(|a, b| a < b));
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.now_ms -= 3_600_000;
    server.until(|server| server.weight() == 50);
    server.harmless();
    server.until(|server| server.phase() == Phase::Succeeded);
}

#[test]
fn the_built_in_success_rate_is_of_the_requests_since_the_last_look() {
    let mut analysis = weights();
    analysis["metrics"] = json!([{ "name": "request-success-rate", "thresholdRange": { "min": 90 } }]);
    let mut server = Server::with(
        rules(
            &analysis,
            &json!({ "serin.dev/min-shadow": "0s", "serin.dev/min-shadow-requests": "0", "serin.dev/evidence": "off" }),
        ),
        RolloutState::begun("1", "a".to_owned(), "here".to_owned(), 0),
    );
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.counted.requests.insert(2000, Events { candidate: 100, stable: 0 });
    server.counted.errors.add(2000, Events { candidate: 20, stable: 0 });
    server.until(|server| server.delivery.state().rollout.failed_checks == 1);
    assert_eq!(server.weight(), 20);
    server.counted.requests.insert(2000, Events { candidate: 100, stable: 0 });
    server.until(|server| server.weight() == 50);
    assert_eq!(server.delivery.state().rollout.failed_checks, 1);
}

#[test]
fn orders_and_looks_go_on_while_the_registry_takes_evidence_and_never_answers() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.registry_hangs = true;
    server.until(|server| server.weight() == 50);
    server.order(Control::Pause);
    server.until(|server| server.replies == [Ok(())]);
    assert!(server.delivery.state().paused);
}

#[test]
fn a_hand_that_moves_the_live_version_meanwhile_is_not_overruled() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 50);
    server.registry_is_away = true;
    server.harmless();
    server.until(|server| server.phase() == Phase::Promoting);
    "7".clone_into(&mut server.live);
    server.registry_is_away = false;
    server.until(|server| server.phase() == Phase::Failed);
    server.ticks(50);
    assert_eq!((server.live.as_str(), server.pointed.len()), ("7", 0));
    assert!(server.told.last().unwrap().contains("was not promoted"), "{:?}", server.told);
}

#[test]
fn a_promotion_that_an_earlier_serin_began_is_finished() {
    let mut state = RolloutState::begun("1", "a".to_owned(), "here".to_owned(), 0);
    state.rollout.phase = Phase::Promoting;
    state.rollout.route.candidate = 50;
    state.rollout.candidate_wanted = true;
    "2".clone_into(&mut state.rollout.last_applied);
    let mut server = Server::with(rules(&weights(), &annotations()), state);
    server.release("2");
    server.until(|server| server.phase() == Phase::Succeeded);
    assert_eq!(server.live, "2");
}

#[test]
fn a_name_that_is_taken_back_ends_the_rollout_and_releases_nothing() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 20);
    server.wanted = None;
    server.until(|server| server.phase() == Phase::Failed);
    server.ticks(50);
    assert_eq!((server.phase(), server.loaded.as_deref(), server.live.as_str()), (Phase::Failed, None, "1"));
    assert!(server.told.last().unwrap().contains("taken back"), "{:?}", server.told);
}

#[test]
fn a_promotion_cannot_be_paused_and_a_start_that_waits_for_its_gate_can_be_aborted() {
    let mut server = Server::new(&weights());
    server.release("2");
    server.until(|server| server.weight() == 50);
    server.harmless();
    server.until(|server| server.phase() == Phase::Promoting);
    server.order(Control::Pause);
    server.until(|server| !server.replies.is_empty());
    assert!(server.replies[0].is_err());
    server.until(|server| server.phase() == Phase::Succeeded);

    let mut server = Server::new(&hooked("confirm-rollout"));
    server.hooks = None;
    server.release("2");
    server.until(|server| !server.hanging.is_empty());
    assert_eq!(server.phase(), Phase::Initialized);
    server.order(Control::Abort);
    server.tick();
    assert_eq!((server.phase(), &server.replies[..]), (Phase::Failed, &[Ok(())][..]));
    let (look, question) = server.hanging.remove(0);
    server.arrivals.push(Arrival::Answered(look, question, Answer::Hook(Ok(200))));
    server.ticks(50);
    assert_eq!(server.phase(), Phase::Failed, "it does not start after all");
}

#[test]
fn a_follower_that_knows_of_no_rollout_asks_before_it_refuses_an_abort() {
    let mut server = Server::new(&weights());
    server.others.leads = false;
    server.release("2");
    server.until(|server| !server.delivery.state().leads);
    server.wanted = Some("1".to_owned());
    server.ticks(20);
    let mut state = serde_json::to_value(server.delivery.state()).unwrap();
    state["rollout"]["phase"] = json!("Progressing");
    (state["rollout"]["last_applied"], state["rollout"]["candidate_wanted"]) = (json!("2"), json!(true));
    (state["rollout"]["route"]["candidate"], state["began_ms"]) = (json!(20), json!(77));
    server.others = OthersEvidence { leads: true, epoch: 5, state: Some(state), ..OthersEvidence::default() };
    server.order(Control::Abort);
    server.until(|server| !server.replies.is_empty());
    assert_eq!((server.replies.as_slice(), server.phase()), (&[Ok(())][..], Phase::Failed));
}
