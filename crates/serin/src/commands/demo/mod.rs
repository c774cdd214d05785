//! `serin demo`: the whole loop on one machine, on virtual days. Every number that is told is computed in this run, by the same
//! servers and commands that a user runs.

mod panel;
mod shop;
mod trial;

use super::load::{Seen, surer};
use super::simulate;
use crate::cli::{Demo, State};
use crate::registry::RegistryWhenAsked;
use anyhow::{Context, bail};
use panel::Panel;
use serde_json::Value;
use serin_batch::replay::explain;
use serin_batch::training::Trained;
use serin_dataset::simulate::{Drift, DriftKind, FEATURES, FIRST_DAY_MS, Simulation};
use serin_dataset::{Dataset, Roles, read};
use serin_decisions::DecisionFiles;
use serin_scorer::listening;
use serin_tracking::Stage;
use shop::{DAY_MS, DaysEnded, LABEL_DAYS, MODEL, Shop, rows_of, trained};
use std::ops::Range;
use std::path::Path;
use trial::{Ended, released};
use uuid::Uuid;

/// A folder that holds it was made by a demo, and may be emptied by the next one.
const MARK: &str = ".serin-demo";
/// Days until the new fraud.
const QUIET: u32 = 34;
/// Days after a promotion that the new version is judged by; by then the labels of its day in the shadow are complete.
const AFTER: u32 = LABEL_DAYS + 1;

pub(crate) async fn run(args: &Demo) -> anyhow::Result<()> {
    let panel = Panel::new();
    prepare(&args.state)?;
    let told = story(args, &panel).await;
    panel.end();
    let shop = told?;
    if !args.exit {
        super::say(format_args!("\nThe dashboard stays at {} until Ctrl-C.", shop.dashboard()));
        listening::Shutdown::catch()?.requested().await;
    }
    shop.close().await;
    if args.keep {
        super::say(format_args!(
            "State kept in {}: serin up --state {0} --config {0}/serin.toml -- -m models:/{MODEL}@champion --canary {0}/canary.yaml",
            args.state.display()
        ));
    } else {
        std::fs::remove_dir_all(&args.state).with_context(|| args.state.display().to_string())?;
    }
    Ok(())
}

/// An empty folder; one that is somebody's is left alone.
fn prepare(state: &Path) -> anyhow::Result<()> {
    let used = state.is_dir() && std::fs::read_dir(state)?.next().is_some();
    if used && !state.join(MARK).exists() {
        bail!("{} is not empty and no demo made it: name another folder with --state", state.display());
    }
    if used {
        std::fs::remove_dir_all(state)?;
    }
    std::fs::create_dir_all(state)?;
    Ok(std::fs::write(state.join(MARK), "made by serin demo, emptied by the next one\n")?)
}

async fn story(args: &Demo, panel: &Panel) -> anyhow::Result<Shop> {
    let opened = args.days;
    let attack = opened + QUIET;
    let customers = if args.fast { args.customers.min(1200) } else { args.customers };
    let payments = simulated(args, panel, customers, attack + args.fraud_days)?;

    panel.now("training version 1");
    let history = rows_of(&payments, FIRST_DAY_MS, 0..opened - LABEL_DAYS);
    let first = Some(("champion", Stage::Production));
    let v1 = trained(&args.state, &payments, history, |_| {}, first).await?;
    let metric = |name: &str| v1.metrics.get(name).copied().unwrap_or(f64::NAN);
    panel.chapter(format_args!(
        "Version 1: {} XGBoost rounds on {} payments in {:.1} s; on {} later ones AUC {:.3}, average precision {:.3}.",
        v1.rounds,
        v1.train_rows,
        v1.took_ms as f64 / 1000.0,
        v1.test_rows,
        metric("auc_roc"),
        metric("average_precision")
    ));

    let ports = [args.dashboard_port, args.port];
    let mut shop = Shop::open(&args.state, payments, FIRST_DAY_MS, opened, ports).await?;
    panel.line("Promoted: nothing was before it.");
    panel.line(format_args!("Look while it happens: {} (scoring: {}/docs)", shop.dashboard(), shop.scoring));
    traffic(&mut shop, panel).await?;
    honest(&mut shop, panel).await?;
    cents(&mut shop, panel).await?;
    money(&mut shop, panel, attack).await?;
    panel.line("From now on releases may differ more (canary.yaml: 4 times the alerts): who learns a new fraud must. Scoring restarts.");
    let mut shop = shop.restarted("4", "0.8").await?;
    let mut lesson = Lesson::default();
    match new_fraud(&mut shop, panel, attack, &mut lesson).await {
        Err(error) if error.is::<DaysEnded>() => unfinished(&shop, panel, attack, &lesson).await?,
        told => told?,
    }
    if let Some((_, alert)) = &lesson.surest {
        replayed(&shop, panel, alert).await?;
    }
    next_steps(&shop, panel);
    Ok(shop)
}

fn simulated(args: &Demo, panel: &Panel, customers: usize, days: u32) -> anyhow::Result<Dataset> {
    let file = args.state.join("payments.parquet");
    let simulation = Simulation {
        customers,
        terminals: 2 * customers,
        days,
        seed: args.seed,
        drifts: vec![Drift { kind: DriftKind::NewPattern, day: args.days + QUIET }],
        ..Simulation::default()
    };
    let rows = simulate::write(&simulation, &file)?;
    let roles = Roles {
        label: "TX_FRAUD".to_owned(),
        time: Some("TX_DATETIME".to_owned()),
        entity: Some("CUSTOMER_ID".to_owned()),
        amount: Some("TX_AMOUNT".to_owned()),
        features: Some(FEATURES.map(str::to_owned).to_vec()),
        ..Roles::default()
    };
    let payments = read(&file.display().to_string(), &roles, &mut |_, _, _| {})?;
    panel.chapter(format_args!(
        "Simulated {rows} payments of {customers} customers: {} days of history, and {} days to come (seed {}).",
        args.days,
        days - args.days,
        args.seed
    ));
    Ok(payments)
}

/// A week of payments, one a request.
async fn traffic(shop: &mut Shop, panel: &Panel) -> anyhow::Result<()> {
    let mut seen = Seen::default();
    for _ in 0..7 {
        panel.now(format!("day {}: live traffic", shop.day));
        seen.add(shop.live().await?);
        shop.looked(panel).await?;
    }
    let (p50, p99) = (seen.quantile_ms(0.5), seen.quantile_ms(0.99));
    panel.chapter(format_args!(
        "Live: {} payments of a week decided and logged, {} alerts ({:.2} %); {:.0} requests/s, p50 {p50:.3} ms, p99 {p99:.3} ms.",
        seen.requests(),
        seen.alerts,
        100.0 * seen.alerts as f64 / seen.requests() as f64,
        seen.requests() as f64 / seen.seconds
    ));
    panel.line("(4 connections, one payment a request, the client on the same cores)");
    Ok(())
}

/// One more day: its payments, the monitor's looks at it, and the rollout of a version that a retraining has proven better.
async fn day(shop: &mut Shop, panel: &Panel, doing: &str) -> anyhow::Result<(Seen, Option<Ended>)> {
    panel.now(format!("day {}: {doing}", shop.day));
    let seen = shop.live().await?;
    let all = shop.looked(panel).await?;
    let mut accepted = None;
    for one in all.iter().rev().skip(shop.told_retrainings) {
        let text = |name: &str| one[name].as_str().unwrap_or_default();
        let day = (one["started_at"].as_i64().unwrap_or(0) - shop.at(0)) / DAY_MS;
        panel.chapter(format_args!("Day {day}: {}.", text("reason")));
        match one["version"].as_i64() {
            Some(version) => {
                panel.line(format_args!("Retrained: version {version} {}: {}.", text("outcome"), text("verdict")));
            }
            None => panel.line(format_args!("Retrained: {}: {}.", text("outcome"), text("verdict"))),
        }
        accepted = one["version"].as_i64().filter(|_| text("outcome") == "accepted").or(accepted);
    }
    shop.told_retrainings = all.len();
    let Some(version) = accepted else { return Ok((seen, None)) };
    let ended = released(shop, panel, version).await?;
    if let Some(ended) = &ended {
        panel.chapter(format_args!("Version {}: {}.", ended.version, ended.told()));
        if !ended.promoted {
            panel.line(format_args!("Why: {}", ended.message));
        }
    }
    Ok((seen, ended))
}

/// A version trained on all that is known today, on its way to be released.
async fn challenger(shop: &mut Shop, panel: &Panel, change: impl Fn(&mut Dataset)) -> anyhow::Result<(Trained, Ended)> {
    let rows = shop.rows(0..shop.day - LABEL_DAYS);
    let trained = trained(&shop.state, &shop.payments, rows, change, None).await?;
    let version = trained.version.context("the version was not registered")?;
    shop.point("challenger", version).await?;
    let ended = released(shop, panel, version).await?;
    Ok((trained, ended.with_context(|| format!("version {version} was live before it was released"))?))
}

/// Version 2: more history, nothing wrong.
async fn honest(shop: &mut Shop, panel: &Panel) -> anyhow::Result<()> {
    panel.now("training version 2");
    let (_, ended) = challenger(shop, panel, |_| {}).await?;
    panel.chapter(format_args!("Version {}, an honest retrain a week later: {}.", ended.version, ended.told()));
    if !ended.promoted {
        panel.line(format_args!("Why: {}", ended.message));
    }
    Ok(())
}

/// Version 3: its amounts are in cents.
async fn cents(shop: &mut Shop, panel: &Panel) -> anyhow::Result<()> {
    panel.now("training version 3 on amounts in cents");
    let in_cents = |part: &mut Dataset| {
        let width = part.width();
        let money: Vec<usize> =
            (0..width).filter(|place| part.signature.columns[*place].name.contains("AMOUNT")).collect();
        for row in part.features.chunks_exact_mut(width) {
            money.iter().for_each(|place| row[*place] *= 100.0);
        }
    };
    let (v3, ended) = challenger(shop, panel, in_cents).await?;
    let share = 100.0 * ended.exposed as f64 / ended.asked.max(1) as f64;
    let precision = v3.metrics.get("average_precision").copied().unwrap_or(f64::NAN);
    panel.chapter(format_args!(
        "Version {}, trained on amounts in cents, by mistake: {}.",
        ended.version,
        ended.told()
    ));
    panel.line(format_args!(
        "Its own test had seen nothing (average precision {precision:.3}). Payments decided by it: {} of {}, {share:.1} % of the traffic.",
        ended.exposed, ended.asked
    ));
    if ended.promoted {
        panel.line("Nothing stopped it: this seed's payments hide the mistake. Its rollout has what was found.");
    } else {
        panel.line(format_args!("Why: {}", ended.message));
    }
    Ok(())
}

/// The days until the new fraud, and what the version that is live was worth in them.
async fn money(shop: &mut Shop, panel: &Panel, attack: u32) -> anyhow::Result<()> {
    while shop.day < attack {
        day(shop, panel, "live traffic, labels a week later").await?;
    }
    match shop.ask(&format!("/v1/guard?name={MODEL}&as_of={}", shop.at(shop.day))).await {
        Ok(found) => panel.chapter(worth(&found)),
        Err(error) => panel.chapter(format_args!("Labels matured: {:#}.", error.root_cause())),
    }
    Ok(())
}

/// What a promoted version was worth on matured labels, as `/v1/guard` has it: a gain or a loss only where its interval has one sign.
fn worth(found: &Value) -> String {
    let (cost, recall) = (&found["at_own_thresholds"]["cost"], &found["at_own_thresholds"]["recall"]);
    // From +0.0: nothing saved is not less than nothing.
    let figure = |value: &Value| value.as_f64().unwrap_or(f64::NAN) + 0.0;
    let [gain, low, high] = [&cost["gain"], &cost["interval"][0], &cost["interval"][1]].map(figure);
    let (promoted, previous) = (&found["version"], &found["previous"]);
    let lesson = if low > 0.0 {
        format!("version {promoted} saved {gain:+.0} against version {previous}")
    } else if high < 0.0 {
        format!("version {promoted} cost {:.0} more than version {previous}", -gain)
    } else {
        format!("no difference in cost between versions {promoted} and {previous} is proven: {gain:+.0}")
    };
    format!(
        "Labels matured: on {} payments with {} frauds {lesson} (95 % interval {low:+.0} to {high:+.0}); recall {:.3}, it was {:.3}.",
        found["matured"],
        found["frauds"],
        figure(&recall["promoted"]),
        figure(&recall["previous"])
    )
}

/// What is known of the new fraud so far.
#[derive(Default)]
struct Lesson {
    /// The first day on which a version that was trained on it decides.
    first: Option<u32>,
    /// Score and id of the surest alert of the days after the last promotion.
    surest: Option<(f64, String)>,
}

/// A fraud that nobody has seen: missed, noticed, learnt, released; again, where the first lesson was too short.
async fn new_fraud(shop: &mut Shop, panel: &Panel, attack: u32, lesson: &mut Lesson) -> anyhow::Result<()> {
    panel
        .chapter(format_args!("Day {attack}: a new fraud begins: ten small payments from a drained card before dawn."));
    // The version that has learnt, and the first day that it decides.
    let mut live: Option<(i64, u32)> = None;
    loop {
        let doing = match live {
            Some((version, _)) => format!("version {version} decides"),
            None => "live traffic, labels a week later".to_owned(),
        };
        let (seen, ended) = day(shop, panel, &doing).await?;
        lesson.surest = surer(lesson.surest.take(), seen.surest);
        if let Some(ended) = ended.filter(|ended| ended.promoted) {
            live = Some((ended.version, shop.day));
            lesson.first.get_or_insert(shop.day);
            lesson.surest = None;
        }
        let Some((version, since)) = live.filter(|(_, since)| shop.day - since >= AFTER) else { continue };
        let (before, missed) = recalls(shop, attack, lesson.first.unwrap_or(since)).await?;
        let after = recall(shop, since..shop.day).await?;
        panel.chapter(format_args!(
            "Recall: {before:.2} before the new fraud, {missed:.2} while it was missed, {after:.2} since version {version}."
        ));
        if after > f64::midpoint(before, missed) {
            return Ok(());
        }
        panel.line("It has seen too little of the new fraud: the monitor goes on.");
        live = None;
    }
}

/// What is known where the simulation ends before the lesson does.
async fn unfinished(shop: &Shop, panel: &Panel, attack: u32, lesson: &Lesson) -> anyhow::Result<()> {
    panel.chapter(format_args!(
        "The simulated days end here, on day {}, before the lesson does; a longer story: --fraud-days.",
        shop.day
    ));
    let (before, missed) = recalls(shop, attack, lesson.first.unwrap_or(shop.day)).await?;
    panel.line(format_args!("Recall so far: {before:.2} before the new fraud, {missed:.2} while it was missed."));
    if let Some(first) = lesson.first.filter(|first| *first < shop.day) {
        let after = recall(shop, first..shop.day).await?;
        panel.line(format_args!("Since day {first}, when a version that has seen some of it decides: {after:.2}."));
    }
    Ok(())
}

/// Recall before the new fraud, and from its beginning until a version that has learnt it decides. What comes to light later is told now,
/// with the day on which it will be known.
async fn recalls(shop: &Shop, attack: u32, first: u32) -> anyhow::Result<(f64, f64)> {
    shop.label(shop.opened..shop.day).await?;
    Ok((recall(shop, shop.opened..attack).await?, recall(shop, attack..first).await?))
}

/// Recall of the payments of some days, with all that is known of them.
async fn recall(shop: &Shop, days: Range<u32>) -> anyhow::Result<f64> {
    let (from, until) = (shop.at(days.start), shop.at(days.end));
    let path = format!("/v1/performance?name={MODEL}&as_of=newest&maturity_days=0&since={from}&until={until}");
    Ok(shop.ask(&path).await?["groups"][0]["metrics"]["recall"].as_f64().unwrap_or(f64::NAN))
}

/// A logged decision, scored again.
async fn replayed(shop: &Shop, panel: &Panel, id: &str) -> anyhow::Result<()> {
    let files = DecisionFiles::of(&shop.state.join(serin_scorer::serve::DECISIONS));
    let registry = RegistryWhenAsked::of(&State { state: shop.state.clone(), tracking_uri: None });
    let explained = explain(&files, &registry, Uuid::parse_str(id)?, super::now_ms()).await?;
    let (model, features, again) = (&explained.model, &explained.logged.features, explained.score);
    let same = if again.to_bits() == explained.logged.score.to_bits() { "the same bits" } else { "OTHER BITS" };
    panel.chapter(format_args!(
        "Replayed decision {id} of version {}: {again} (0x{:08x}), {same}.",
        explained.logged.model.version,
        again.to_bits()
    ));
    let names = &model.package.descriptions;
    let reason = |(place, value): (usize, f32)| {
        let column = &model.package.signature.columns[place].name;
        format!("{} = {} ({value:+.2})", names.get(column).unwrap_or(column), features[place])
    };
    let strongest = model.strongest(features, 3).map_err(|reason| anyhow::anyhow!("{reason}"))?;
    panel.line(format_args!("Because of: {}", strongest.into_iter().map(reason).collect::<Vec<_>>().join("; ")));
    Ok(())
}

fn next_steps(shop: &Shop, panel: &Panel) {
    panel.chapter("Done. These payments are simulated: real fraud is much harder.");
    panel.end();
    super::say(format_args!(
        "\nYour own payments:\n  serin train payments.csv --label is_fraud --time created_at --entity card_id --amount amount --alert-rate 0.005 --alias champion\n  \
         serin up -- --model models:/{MODEL}@champion        # with --canary canary.yaml it releases step by step: docs/rollouts.md\nYou already use MLflow: set this variable and change nothing else:\n  export MLFLOW_TRACKING_URI={}",
        shop.dashboard()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_loss_is_no_gain_and_chance_is_neither() {
        let told = |gain: f64, low: f64, high: f64| {
            let cost = json!({ "gain": gain, "interval": [low, high] });
            let recall = json!({ "promoted": 0.8, "previous": 0.7 });
            worth(&json!({
                "version": 2, "previous": 1, "matured": 100, "frauds": 9,
                "at_own_thresholds": { "cost": cost, "recall": recall },
            }))
        };
        let chance = told(-101.0, -938.0, 687.0);
        assert!(
            chance.contains(
                "no difference in cost between versions 2 and 1 is proven: -101 (95 % interval -938 to +687)"
            ),
            "{chance}"
        );
        assert!(!chance.contains("saved"), "{chance}");
        assert!(told(435.0, -2.0, 870.0).contains("no difference"));
        let gain = told(435.0, 12.0, 870.0);
        assert!(gain.contains("version 2 saved +435 against version 1 (95 % interval +12 to +870)"), "{gain}");
        let loss = told(-435.0, -870.0, -12.0);
        assert!(loss.contains("version 2 cost 435 more than version 1") && !loss.contains("saved"), "{loss}");
        assert!(told(-0.0, -0.0, 0.0).contains("is proven: +0 ("));
    }
}
