//! A rollout of the demo: a day in the shadow, then as much traffic as it asks for, until it has ended.

use super::panel::Panel;
use super::shop::{DaysEnded, MODEL, Shop, pause};
use anyhow::bail;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Payments between two looks of a rollout that sends a candidate some of them.
const BETWEEN_LOOKS: u64 = 250;
/// Payments beyond the shadow's after which a rollout that proves neither harm nor likeness is aborted.
const MOST: u64 = 20_000;
/// A scoring server that does not look at its rollout for so long is stuck, on the slowest machine.
const STUCK: Duration = Duration::from_secs(300);

/// How a rollout ended.
pub(super) struct Ended {
    /// The version that is live now, or that was stopped.
    pub(super) version: i64,
    pub(super) promoted: bool,
    /// The last words of its history.
    pub(super) message: String,
    /// Payments that both versions scored in the shadow, and that the candidate decided.
    shadow: u64,
    pub(super) exposed: u64,
    /// Alerts of the candidate over those of the stable version in the shadow, and the share of the alerts that are one version's alone.
    ratio: f64,
    disagreement: f64,
    /// Payments that were sent while it went on.
    pub(super) asked: usize,
    seconds: f64,
}

impl Ended {
    pub(super) fn told(&self) -> String {
        format!(
            "{} after {:.1} s, {} payments in the shadow and {} of its own ({:.2} times the alerts, {:.0} % of them one version's alone)",
            if self.promoted { "promoted" } else { "STOPPED" },
            self.seconds,
            self.shadow,
            self.exposed,
            self.ratio,
            100.0 * self.disagreement
        )
    }
}

/// Where a rollout stands, as `GET /v1/rollout` answers.
struct RolloutShown(Value);

impl RolloutShown {
    fn began_ms(&self) -> i64 {
        self.0["began_at_ms"].as_i64().unwrap_or(0)
    }

    fn phase(&self) -> &str {
        self.0["phase"].as_str().unwrap_or_default()
    }

    fn has_ended(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// The version of a role, such as `stable_version`.
    fn version(&self, role: &str) -> Option<i64> {
        self.0[role].as_str()?.parse().ok()
    }

    /// The candidate scores what comes.
    fn is_loaded(&self) -> bool {
        !self.0["candidate_loaded"].is_null() && self.0["candidate_loaded"] == self.0["candidate_version"]
    }

    /// When the rollout was last looked at, epoch milliseconds.
    fn looked_ms(&self) -> Option<i64> {
        self.0["track"].as_array()?.last()?["at_ms"].as_i64()
    }

    fn weight(&self) -> f64 {
        self.0["candidate_weight"].as_f64().unwrap_or(0.0)
    }

    fn shadow(&self) -> u64 {
        self.0["shadow"]["requests"].as_u64().unwrap_or(0)
    }
}

/// Asks until the standing is as wanted.
async fn until(shop: &Shop, wanted: impl Fn(&RolloutShown) -> bool) -> anyhow::Result<RolloutShown> {
    let start = Instant::now();
    loop {
        let standing = RolloutShown(shop.rollout().await?);
        if wanted(&standing) {
            return Ok(standing);
        }
        if start.elapsed() > STUCK {
            bail!("the rollout does not go on: {}", standing.0);
        }
        pause().await;
    }
}

/// Plays what a rollout needs, until it has ended: a day of payments while the candidate is in the shadow, then that day's eve again and
/// again, as time does not pass for a rollout. None where the version is live already.
///
/// What ended is a rollout that began after the last one that was told, whether or not it was seen while it ran.
pub(super) async fn released(shop: &mut Shop, panel: &Panel, version: i64) -> anyhow::Result<Option<Ended>> {
    let (start, before_ms) = (panel.seconds(), shop.told_rollout_ms);
    panel.now(format!("day {}: version {version} is loaded", shop.day));
    let is_live = |standing: &RolloutShown| {
        standing.began_ms() <= before_ms && standing.version("stable_version").is_some_and(|live| live >= version)
    };
    let begun = until(shop, |standing| {
        let news = standing.began_ms() > before_ms && (standing.is_loaded() || standing.has_ended());
        news || is_live(standing)
    });
    if is_live(&begun.await?) {
        return Ok(None);
    }
    panel.now(format!("day {}: version {version} in the shadow", shop.day));
    let mut asked = match shop.live().await {
        Ok(seen) => {
            shop.looked(panel).await?;
            seen.requests()
        }
        // Another day would add to the story, and is not needed for the verdict.
        Err(error) if error.is::<DaysEnded>() => 0,
        Err(error) => return Err(error),
    };
    let mut sent_again = 0;
    let ended = loop {
        let shown = RolloutShown(shop.rollout().await?);
        let looked_ms = shown.looked_ms();
        if shown.has_ended() {
            break shown;
        }
        panel.now(format!(
            "day {}: version {version} {}, {:.0} % of the traffic, evidence for harm {:.2e}",
            shop.day - 1,
            if shown.weight() > 0.0 { "on trial" } else { "in the shadow" },
            100.0 * shown.weight(),
            shown.0["evidence"]["e"].as_f64().unwrap_or(0.0)
        ));
        let wanted = match shown.phase() {
            "Progressing" if shown.weight() == 0.0 => shop.shadow.saturating_sub(shown.shadow()).min(1000),
            "Progressing" | "WaitingPromotion" => BETWEEN_LOOKS,
            _ => 0,
        };
        if sent_again > shop.shadow + MOST {
            shop.control("abort").await?;
            break until(shop, RolloutShown::has_ended).await?;
        }
        if wanted > 0 {
            asked += shop.again(wanted).await?.requests();
        }
        sent_again += wanted;
        // One look has seen them all before more are sent.
        let sent = RolloutShown(shop.rollout().await?).looked_ms().max(looked_ms);
        until(shop, |standing| standing.has_ended() || standing.looked_ms() > sent).await?;
    };
    // What comes from now on is scored by the version that decides it, and by no other.
    let ended =
        until(shop, |standing| standing.began_ms() == ended.began_ms() && standing.0["candidate_loaded"].is_null())
            .await?;
    shop.told_rollout_ms = ended.began_ms();
    let promoted = ended.phase() == "Succeeded";
    let history = ended.0["history"].as_array();
    let message = history.and_then(|all| all.last()).map_or(&Value::Null, |entry| &entry["message"]);
    Ok(Some(Ended {
        version: if promoted {
            ended.version("stable_version").unwrap_or(version)
        } else {
            stopped(shop, version).await?
        },
        promoted,
        message: message.as_str().unwrap_or_default().to_owned(),
        shadow: ended.shadow(),
        exposed: ended.0["exposed_requests"].as_u64().unwrap_or(0),
        ratio: ended.0["shadow"]["alert_ratio"].as_f64().unwrap_or(f64::NAN),
        disagreement: ended.0["shadow"]["disagreement"].as_f64().unwrap_or(f64::NAN),
        seconds: panel.seconds() - start,
        asked,
    }))
}

/// The version of the newest end of a rollout in the ledger; the one that was asked for where the ledger has none.
async fn stopped(shop: &Shop, version: i64) -> anyhow::Result<i64> {
    let ledger = shop.ask(&format!("/api/v1/models/{MODEL}/history")).await?;
    let ends = ledger["history"].as_array().into_iter().flatten().filter(|entry| entry["change"] == "rollout");
    let newest: Option<i64> = ends.filter_map(|entry| entry["version"].as_str()?.parse().ok()).next();
    // A note that the registry did not take is of no version.
    Ok(newest.filter(|newest| *newest >= version).unwrap_or(version))
}
