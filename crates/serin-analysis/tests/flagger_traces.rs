//! The recorded behaviour of Flagger 1.44 (23 scenarios, one state a tick) against our engine.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code; the tables are what one looks at")]

use serde_json::Value;
use serin_analysis::rollout::canary::{Canary, HookType, Metric};
use serin_analysis::rollout::{Answer, Effect, Facts, Judgement, Measured, Phase, Question, Readiness, Rollout, tick};
use std::collections::HashMap;

/// Where we differ on purpose: scenario, the first tick that differs, why.
const DEVIATIONS: [(&str, i64, &str); 3] = [
    ("f2-traffic-gate-first", i64::MAX, "4: pre-rollout hooks that have passed are not called again (calls only)"),
    ("t-mirror-weights", 1, "2: weights follow after one mirrored look"),
    ("v-cm-revert", 6, "6: what is promoted already starts nothing"),
];

struct Scripted {
    script: HashMap<String, Vec<String>>,
    revision: String,
    calls: Vec<String>,
    events: Vec<String>,
    promotions: usize,
    stable: Readiness,
    candidate: Readiness,
    judgement: Judgement,
}

impl Scripted {
    /// The next answer; the last one stays.
    fn next(&mut self, key: &str, otherwise: &str) -> String {
        match self.script.get_mut(key) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
            None => otherwise.to_owned(),
        }
    }
}

impl Scripted {
    fn answer(&mut self, question: &Question) -> Answer {
        match question {
            Question::Hook(hook, _) => Answer::Hook(Ok(self.call(&hook.name))),
            Question::Measurement(metric) => Answer::Measurement(self.measure(metric)),
        }
    }

    fn call(&mut self, hook: &str) -> u16 {
        let status = self.next(&format!("h:{hook}"), "200");
        self.calls.push(format!("{hook}={status}"));
        status.parse().unwrap()
    }

    fn measure(&mut self, metric: &Metric) -> Measured {
        let name = match metric.name.as_str() {
            "request-success-rate" => "success",
            "request-duration" => "latency",
            other => other,
        };
        let value = self.next(&format!("m:{name}"), if name == "success" { "99.9" } else { "9" });
        self.calls.push(format!("{name}={value}"));
        match value.as_str() {
            "err" => Measured::Failed("HTTP 500".to_owned()),
            "none" => Measured::NoData,
            number => Measured::Value(number.parse().unwrap()),
        }
    }

    /// One look: every question is answered by the script, as often as it takes.
    fn look(&mut self, rollout: &mut Rollout, canary: &Canary) {
        let mut facts = Facts {
            revision: self.revision.clone(),
            stable: self.stable,
            candidate: self.candidate,
            shadowed: true,
            evidence: self.judgement.clone(),
            answers: Vec::new(),
        };
        let moved = loop {
            match tick(rollout, canary, &facts) {
                Ok(moved) => break moved,
                Err(question) => {
                    let answer = self.answer(&question);
                    assert!(facts.answers.iter().all(|(asked, _)| *asked != question), "asked twice");
                    facts.answers.push((question, answer));
                }
            }
        };
        *rollout = moved.rollout;
        for effect in moved.effects {
            match effect {
                Effect::Promote => self.promotions += 1,
                Effect::Tell(event) => self.events.push(event.message),
                Effect::Call(hooks, _) => {
                    for hook in &hooks {
                        self.call(&hook.name);
                    }
                }
            }
        }
    }
}

fn canary(analysis: &Value, spec: &Value) -> Canary {
    let mut document = serde_json::json!({
        "apiVersion": "flagger.app/v1beta1",
        "metadata": { "name": "podinfo", "namespace": "test" },
        "spec": { "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo" }, "analysis": analysis },
    });
    for (name, value) in spec.as_object().unwrap() {
        document["spec"][name] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

fn scripted(script: &Value) -> Scripted {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let answers = |values: &Value| values.as_array().unwrap().iter().map(text).collect();
    let script = script.as_object().unwrap();
    Scripted {
        script: script.iter().map(|(key, values)| (key.clone(), answers(values))).collect(),
        revision: "v2".to_owned(),
        calls: Vec::new(),
        events: Vec::new(),
        promotions: 0,
        stable: Readiness::Ready,
        candidate: Readiness::Ready,
        judgement: Judgement::Pass,
    }
}

/// State as the recording has it.
fn shown(rollout: &Rollout, kubernetes: bool) -> Value {
    let route = serde_json::json!([100 - rollout.route.candidate, rollout.route.candidate]);
    serde_json::json!({
        "phase": rollout.phase, "canaryWeight": rollout.canary_weight, "failedChecks": rollout.failed_checks,
        "iterations": rollout.iterations, "route": if kubernetes { Value::Null } else { route },
    })
}

#[test]
fn every_recorded_tick_is_ours_too() {
    let recorded: Value = serde_json::from_str(include_str!("fixtures/flagger-golden-traces.json")).unwrap();
    let (mut ticks, mut scenarios) = (0, 0);
    for (name, scenario) in recorded["scenarios"].as_object().unwrap() {
        let canary = canary(&scenario["analysis"], &scenario["spec"]);
        let mut world = scripted(&scenario["script"]);
        let mut rollout = Rollout::initialized("v1");
        let kubernetes = scenario["spec"]["provider"] == "kubernetes";
        let deviates = DEVIATIONS.iter().find(|deviation| deviation.0 == name);
        let actions: Vec<&str> = scenario["actions"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let expected = scenario["ticks"].as_array().unwrap();
        let last = expected.iter().map(|tick| tick["tick"].as_i64().unwrap()).max().unwrap();
        for number in 0..=last {
            // Seconds into the run, ticks of ten seconds.
            match (name.as_str(), number) {
                ("u-revert" | "v-cm-revert", 6) => "v1".clone_into(&mut world.revision),
                ("x-cm-then-restart", 1) | ("w-cm-restart", 0) => "v3".clone_into(&mut world.revision),
                _ => {}
            }
            assert!(actions.len() <= 2, "{name}: {actions:?}");
            world.calls.clear();
            world.look(&mut rollout, &canary);
            if deviates.is_some_and(|(_, from, _)| number >= *from) {
                continue;
            }
            let Some(tick) = expected.iter().find(|tick| tick["tick"] == number) else { continue };
            if !tick["state"].is_null() {
                assert_eq!(shown(&rollout, kubernetes), tick["state"], "{name}, tick {number}");
                ticks += 1;
            }
            if deviates.is_none() {
                let calls: Vec<&str> =
                    tick["calls"].as_array().unwrap().iter().map(|call| call.as_str().unwrap()).collect();
                assert_eq!(world.calls, calls, "{name}, tick {number}");
            }
        }
        scenarios += 1;
    }
    println!("{scenarios} scenarios, {ticks} recorded states");
    assert_eq!(scenarios, 23);
}

fn weights() -> Value {
    serde_json::json!({ "interval": "10s", "threshold": 2, "stepWeights": [20, 50],
        "metrics": [{ "name": "request-success-rate", "thresholdRange": { "min": 99 } }] })
}

fn run(canary: &Canary, world: &mut Scripted, rollout: &mut Rollout, ticks: usize) -> Vec<(Phase, u32)> {
    (0..ticks)
        .map(|_| {
            world.look(rollout, canary);
            (rollout.phase, rollout.route.candidate)
        })
        .collect()
}

#[test]
fn deviation_1_a_start_that_was_put_off_is_not_forgotten() {
    let canary = canary(&weights(), &serde_json::json!({}));
    let mut world = scripted(&serde_json::json!({}));
    let mut rollout = Rollout { phase: Phase::Failed, ..Rollout::initialized("v1") };
    world.stable = Readiness::NotYet;
    world.look(&mut rollout, &canary);
    assert_eq!(rollout.phase, Phase::Failed);
    world.stable = Readiness::Ready;
    world.look(&mut rollout, &canary);
    assert_eq!(rollout.phase, Phase::Progressing);
}

#[test]
fn deviation_2_weights_follow_a_mirrored_look() {
    let mut analysis = weights();
    analysis["mirror"] = true.into();
    let (canary, mut world) = (canary(&analysis, &serde_json::json!({})), scripted(&serde_json::json!({})));
    let mut rollout = Rollout::initialized("v1");
    run(&canary, &mut world, &mut rollout, 2);
    assert!(rollout.route.mirror && rollout.route.candidate == 0);
    assert_eq!(run(&canary, &mut world, &mut rollout, 2), [(Phase::Progressing, 20), (Phase::Progressing, 50)]);
    assert!(!rollout.route.mirror);
}

#[test]
fn deviation_3_a_rollback_hook_is_heard_while_a_gate_is_waited_for() {
    let mut analysis = weights();
    analysis["webhooks"] = serde_json::json!([
        { "name": "gate", "type": "confirm-rollout", "url": "http://x" }, { "name": "stop", "type": "rollback", "url": "http://x" },
    ]);
    let canary = canary(&analysis, &serde_json::json!({}));
    let mut world = scripted(&serde_json::json!({ "h:gate": [403], "h:stop": [403, 200] }));
    let mut rollout = Rollout::initialized("v1");
    let phases: Vec<Phase> = run(&canary, &mut world, &mut rollout, 4).into_iter().map(|(phase, _)| phase).collect();
    assert_eq!(phases, [Phase::Waiting, Phase::Waiting, Phase::Failed, Phase::Failed]);
    assert_eq!(rollout.last_applied, "v2", "it is not tried again");
}

#[test]
fn deviation_5_no_data_keeps_a_rollout_where_it_is() {
    let canary = canary(&weights(), &serde_json::json!({}));
    let mut world = scripted(&serde_json::json!({ "m:success": ["none", "NaN", "none", "none", "99.9"] }));
    let mut rollout = Rollout::initialized("v1");
    let seen = run(&canary, &mut world, &mut rollout, 7);
    assert!(seen[2..6].iter().all(|state| *state == (Phase::Progressing, 20)), "{seen:?}");
    assert_eq!((seen[6], rollout.failed_checks), ((Phase::Progressing, 50), 0));
}

#[test]
fn proof_of_harm_rolls_back_at_once_and_want_of_proof_waits() {
    let canary = canary(&weights(), &serde_json::json!({}));
    let mut world = scripted(&serde_json::json!({}));
    let mut rollout = Rollout::initialized("v1");
    world.judgement = Judgement::Hold("too few requests".to_owned());
    let seen = run(&canary, &mut world, &mut rollout, 6);
    assert_eq!(seen[3..], [(Phase::WaitingPromotion, 50); 3]);
    assert_eq!(world.events.iter().filter(|event| event.contains("too few requests")).count(), 1, "said once");
    world.judgement = Judgement::Fail("errors: E 1200".to_owned());
    assert_eq!(run(&canary, &mut world, &mut rollout, 1), [(Phase::Failed, 0)]);
    assert!(world.events.iter().any(|event| event.contains("errors: E 1200")) && world.promotions == 0);
    // The next version starts, and is promoted once.
    (world.revision, world.judgement) = ("v3".to_owned(), Judgement::Pass);
    run(&canary, &mut world, &mut rollout, 10);
    assert_eq!((rollout.phase, world.promotions, rollout.last_promoted.as_str()), (Phase::Succeeded, 1, "v3"));
}

#[test]
fn a_candidate_that_never_loads_gets_no_traffic() {
    let canary = canary(&weights(), &serde_json::json!({}));
    let mut world = scripted(&serde_json::json!({}));
    world.candidate = Readiness::NotYet;
    let mut rollout = Rollout::initialized("v1");
    assert_eq!(run(&canary, &mut world, &mut rollout, 5), [(Phase::Progressing, 0); 5]);
    world.candidate = Readiness::Never;
    assert_eq!(run(&canary, &mut world, &mut rollout, 2), [(Phase::Failed, 0); 2]);
}

#[test]
fn a_state_survives_being_written_after_every_tick() {
    let recorded: Value = serde_json::from_str(include_str!("fixtures/flagger-golden-traces.json")).unwrap();
    for (name, scenario) in recorded["scenarios"].as_object().unwrap() {
        let canary = canary(&scenario["analysis"], &scenario["spec"]);
        let (mut whole, mut cut) = (scripted(&scenario["script"]), scripted(&scenario["script"]));
        let (mut a, mut b) = (Rollout::initialized("v1"), Rollout::initialized("v1"));
        for number in 0..12 {
            whole.look(&mut a, &canary);
            b = serde_json::from_str(&serde_json::to_string(&b).unwrap()).unwrap();
            cut.look(&mut b, &canary);
            assert_eq!(a, b, "{name}, tick {number}");
        }
        assert_eq!(whole.promotions, cut.promotions);
        assert!(canary.spec.analysis.webhooks.iter().all(|hook| hook.kind != HookType::Event));
    }
}

#[test]
fn a_version_that_failed_is_tried_again_when_its_name_was_taken_back_and_given_anew() {
    let canary = canary(&weights(), &serde_json::json!({}));
    let mut world = scripted(&serde_json::json!({}));
    let mut rollout = Rollout::initialized("v1");
    world.judgement = Judgement::Fail("errors".to_owned());
    run(&canary, &mut world, &mut rollout, 3);
    assert_eq!(rollout.phase, Phase::Failed);
    world.judgement = Judgement::Pass;
    assert_eq!(run(&canary, &mut world, &mut rollout, 3), [(Phase::Failed, 0); 3], "the same name starts nothing");
    "v1".clone_into(&mut world.revision);
    run(&canary, &mut world, &mut rollout, 1);
    "v2".clone_into(&mut world.revision);
    run(&canary, &mut world, &mut rollout, 10);
    assert_eq!((rollout.phase, rollout.last_promoted.as_str()), (Phase::Succeeded, "v2"));
}

#[test]
fn a_look_without_its_answer_changes_nothing() {
    let mut analysis = weights();
    analysis["webhooks"] = serde_json::json!([{ "name": "gate", "type": "confirm-rollout", "url": "http://x" }]);
    let canary = canary(&analysis, &serde_json::json!({}));
    let rollout = Rollout::initialized("v1");
    let facts = Facts {
        revision: "v2".to_owned(),
        stable: Readiness::Ready,
        candidate: Readiness::NotYet,
        shadowed: false,
        evidence: Judgement::Pass,
        answers: Vec::new(),
    };
    let question = tick(&rollout, &canary, &facts).unwrap_err();
    assert!(matches!(&question, Question::Hook(hook, Phase::Initialized) if hook.name == "gate"));
    let answered = Facts { answers: vec![(question, Answer::Hook(Ok(200)))], ..facts };
    assert_eq!(tick(&rollout, &canary, &answered).unwrap().rollout.phase, Phase::Progressing);
}
