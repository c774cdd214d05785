//! `serin rollout`: start, look at, steer and explain rollouts.

use super::say;
use crate::cli::{Rollout, RolloutAction};
use crate::registry::Registry;
use anyhow::{Context, bail};
use serde_json::Value;
use serin_analysis::rollout::Extension;
use serin_analysis::rollout::canary::Strategy;
use serin_scorer::canary_file::{self, Rules};
use serin_scorer::registry as scoring;
use serin_tracking::ModelUri;
use std::path::Path;

pub(crate) async fn run(args: &Rollout) -> anyhow::Result<()> {
    match &args.action {
        RolloutAction::Start { model, to, alias, state } => {
            let registry = Registry::open(state).await?;
            let version = ModelUri::Version(model.clone(), *to);
            // A version that is not there would be waited for in vain.
            registry.resolve(&version).await?;
            let name = ModelUri::Alias(model.clone(), alias.clone());
            if scoring::find(&registry, &name).await?.is_some_and(|found| found.version == Some(*to)) {
                bail!(
                    "{name} is version {to} already, so nothing has changed; a version that was rolled back is tried again by: serin rollout retry"
                );
            }
            let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
            registry.point(&name, *to, &user, "serin rollout start").await?;
            say(format_args!(
                "{model}@{alias} is version {to}: servers with --canary release it (serin rollout status --watch)"
            ));
            Ok(())
        }
        RolloutAction::Status { server, watch, json } => loop {
            let shown = ask(server, reqwest::Method::GET, "").await?;
            if *json {
                say(&shown);
            } else {
                say(line(&shown));
            }
            if !watch || matches!(shown["phase"].as_str(), Some("Succeeded" | "Failed" | "Initialized")) {
                if !json {
                    history(&shown);
                }
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        },
        RolloutAction::Promote(server) => control(server, "promote").await,
        RolloutAction::Abort(server) => control(server, "abort").await,
        RolloutAction::Pause(server) => control(server, "pause").await,
        RolloutAction::Resume(server) => control(server, "resume").await,
        RolloutAction::Retry(server) => control(server, "retry").await,
        RolloutAction::Explain { file, rps, alert_rate } => explain(file, *rps, *alert_rate),
    }
}

async fn control(server: &crate::cli::Scoring, action: &str) -> anyhow::Result<()> {
    ask(server, reqwest::Method::POST, &format!("/{action}")).await?;
    say(format_args!("{action}: done (serin rollout status shows where the rollout is)"));
    Ok(())
}

async fn ask(server: &crate::cli::Scoring, method: reqwest::Method, path: &str) -> anyhow::Result<Value> {
    let url = format!("{}/v1/rollout{path}", server.server.trim_end_matches('/'));
    let mut request = reqwest::Client::new().request(method, &url).timeout(std::time::Duration::from_secs(30));
    if let Some(key) = &server.api_key {
        request = request.bearer_auth(key);
    }
    let response =
        request.send().await.with_context(|| format!("no scoring server answers at {url}; name it with --server"))?;
    let status = response.status();
    let answer: Value = response.json().await.with_context(|| format!("{url} answers {status} and no JSON"))?;
    if !status.is_success() {
        bail!("{url} answers {status}: {}", answer["detail"].as_str().unwrap_or_default());
    }
    Ok(answer)
}

fn line(shown: &Value) -> String {
    let evidence = &shown["evidence"];
    let text = |value: &Value| value.as_str().map_or_else(|| "none".to_owned(), str::to_owned);
    format!(
        "{} {}{}: stable {}, candidate {}, weight {:.0} %{}, {} in the shadow, {} on the candidate, {} (E {:.2} of {:.0}; alike {:.1} of {:.0}) {}",
        text(&shown["model"]),
        text(&shown["phase"]),
        if shown["paused"] == true { " (paused)" } else { "" },
        text(&shown["stable_version"]),
        text(&shown["candidate_version"]),
        shown["candidate_weight"].as_f64().unwrap_or(0.0) * 100.0,
        if shown["by_match"] == true { " of the requests that match" } else { "" },
        shown["shadow"]["requests"],
        shown["exposed_requests"],
        text(&evidence["judgement"]),
        evidence["e"].as_f64().unwrap_or(0.0),
        evidence["rollback_from"].as_f64().unwrap_or(0.0),
        evidence["e_alike"].as_f64().unwrap_or(0.0),
        evidence["promotion_from"].as_f64().unwrap_or(0.0),
        evidence["reason"].as_str().unwrap_or_default(),
    )
}

fn history(shown: &Value) {
    for entry in shown["history"].as_array().into_iter().flatten() {
        let at = entry["at_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let at = at.map_or_else(String::new, |time| time.to_string());
        say(format_args!("  {at}  {}", entry["message"].as_str().unwrap_or_default()));
    }
}

fn explain(file: &Path, rps: f64, alert_rate: f64) -> anyhow::Result<()> {
    let Rules { canary, extension, .. } = canary_file::read(file)?;
    let analysis = &canary.spec.analysis;
    let interval = analysis.interval_ms(10_000) as f64 / 1000.0;
    let mut weights = Vec::new();
    let mut weight = 0;
    while analysis.strategy() == Strategy::Weights && weight < analysis.top_weight() {
        let Some(step) = analysis.next_step(weight) else { break };
        weight = (weight + step).min(100);
        weights.push(weight);
    }
    let limits = &extension.limits;
    say(format_args!("{}: released in steps, a look every {interval:.0} s", canary.metadata.name));
    if extension.evidence {
        let requests = match extension.min_shadow_requests {
            0 => String::new(),
            least => format!(" and {least} requests"),
        };
        say(format_args!(
            "  shadow      at least {} s{requests}: the candidate scores all traffic, nobody is exposed",
            extension.min_shadow_ms / 1000
        ));
    }
    match analysis.strategy() {
        Strategy::Weights => {
            let list: Vec<String> = weights.iter().map(|weight| format!("{weight} %")).collect();
            say(format_args!(
                "  weights     {}, then promoted: {:.0} s at least",
                list.join(", "),
                interval * (weights.len() + 3) as f64
            ));
        }
        Strategy::Ab => say(format_args!(
            "  A/B         {} looks at the requests that match, then all traffic to it",
            analysis.iterations
        )),
        Strategy::BlueGreen => {
            say(format_args!("  blue/green  {} looks, then all traffic", analysis.iterations.max(1)));
        }
    }
    say(format_args!(
        "  rolled back after {} failed checks of {} metrics, or at once when the evidence proves harm",
        analysis.failure_threshold(),
        analysis.metrics.len()
    ));
    if extension.evidence {
        say(format_args!(
            "  evidence    a harmless candidate is rolled back with probability {} at most, however often it is looked at",
            limits.alpha
        ));
        say(format_args!(
            "              promotion needs proof that alerts stay within {:.2} to {:.2} times the stable version's",
            1.0 / limits.alert_ratio,
            limits.alert_ratio
        ));
        say(format_args!(
            "  at {rps} requests a second with {:.2} % alerts, harm is seen in the shadow after about",
            alert_rate * 100.0
        ));
        for ratio in [2.0, 5.0, 10.0, 50.0] {
            let requests = requests_to_see(&extension, alert_rate, ratio);
            let shown = requests
                .map_or("more than 10 million requests: too few alerts at this traffic".to_owned(), |requests| {
                    format!("{requests} requests, {:.0} s", requests as f64 / rps)
                });
            say(format_args!("    {ratio:>4} times the alerts: {shown}"));
        }
    }
    let ignored = canary.ignored();
    if !ignored.is_empty() {
        say(format_args!("  means something in a cluster only, and is ignored here: {}", ignored.join(", ")));
    }
    Ok(())
}

/// Requests after which the expected counts prove harm.
fn requests_to_see(extension: &Extension, alert_rate: f64, ratio: f64) -> Option<u64> {
    use serin_analysis::evidence::paired::Paired;
    use serin_analysis::evidence::{Counts, judge};
    let mut requests = 10.0_f64;
    while requests < 1e7 {
        let stable = requests * alert_rate;
        let raised = (stable * (ratio - 1.0)).min(requests - stable);
        let paired = Paired {
            both: stable as u64,
            raised: raised as u64,
            lowered: 0,
            neither: (requests - stable - raised).max(0.0) as u64,
            unscored: 0,
        };
        if matches!(
            judge(&Counts { paired, ..Counts::default() }, &extension.limits).judgement,
            serin_analysis::rollout::Judgement::Fail(_)
        ) {
            return Some(requests as u64);
        }
        requests *= 1.05;
    }
    None
}
