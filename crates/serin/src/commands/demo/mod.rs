//! `serin demo`: the whole loop on one machine, on virtual days. Every number that is told is computed in this run, by the same
//! servers and commands that a user runs.

mod panel;
mod shop;

use super::load::surer;
use super::{replay, simulate};
use crate::cli::{Demo, State};
use anyhow::{Context, bail};
use panel::Panel;
use serde_json::Value;
use serin_dataset::simulate::{Drift, DriftKind, FEATURES, FIRST_DAY_MS, Simulation};
use serin_dataset::{Dataset, Roles, read};
use serin_decisions::DecisionFiles;
use serin_scorer::listening;
use shop::{DAY_MS, LABEL_DAYS, MODEL, Shop, rows_of, trained};
use std::ops::Range;
use std::path::Path;

/// What reasons call the columns that matter most.
const DESCRIPTIONS: [&str; 8] = [
    "--describe",
    "TX_AMOUNT=Amount of the payment",
    "--describe",
    "TX_DURING_NIGHT=Paid at night",
    "--describe",
    "TERMINAL_ID_RISK_7DAY_WINDOW=Share of frauds at this terminal, last 7 days",
    "--describe",
    "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW=Average amount of this customer, last 30 days",
];
/// A folder that holds it was made by a demo, and may be emptied by the next one.
const MARK: &str = ".serin-demo";
/// Days until the new fraud, and days that the story may take then.
const QUIET: u32 = 34;
const REST: u32 = 70;
/// Days after a promotion that the new version is judged by.
const AFTER: u32 = 6;

pub(crate) async fn run(args: &Demo) -> anyhow::Result<()> {
    let panel = Panel::new();
    prepare(&args.state)?;
    let told = story(args, &panel).await;
    panel.end();
    let shop = told?;
    if !args.exit {
        super::say(format_args!("\nThe dashboard stays at {} until Ctrl-C.", shop.dashboard()));
        listening::shutdown_signal().await;
    }
    shop.close().await;
    if args.keep {
        super::say(format_args!(
            "State kept in {}: serin up --state {0} -- --canary {0}/canary.yaml",
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
    let payments = simulated(args, panel, customers, attack)?;

    panel.now("training version 1");
    let history = rows_of(&payments, FIRST_DAY_MS, 0..opened - LABEL_DAYS);
    let first = [&DESCRIPTIONS[..], &["--alias", "champion", "--stage", "Production"]].concat();
    let v1 = trained(&args.state, &payments, history, |_| {}, &first).await?;
    let metric = |name: &str| v1.metrics.get(name).copied().unwrap_or(f64::NAN);
    panel.chapter(format_args!(
        "Version 1: {} XGBoost rounds on {} payments in {:.1} s; on {} later ones AUC {:.3}, average precision {:.3}.",
        v1.rounds,
        v1.train_rows,
        v1.fit_seconds,
        v1.test_rows,
        metric("auc_roc"),
        metric("average_precision")
    ));

    let ports = [args.dashboard_port, args.port];
    let mut shop = Shop::open(&args.state, payments, FIRST_DAY_MS, opened, ports).await?;
    panel.line("Promoted: nothing was before it.");
    panel.line(format_args!("Look while it happens: {} (scoring: {}/docs)", shop.dashboard(), shop.scoring));
    traffic(&mut shop, panel, opened).await?;
    honest(&mut shop, panel, opened).await?;
    cents(&mut shop, panel, opened).await?;
    money(&mut shop, panel, opened, attack).await?;
    panel.line("From now on releases may differ more (canary.yaml: 4 times the alerts): who learns a new fraud must. Scoring restarts.");
    let mut shop = shop.restarted("4", "0.8").await?;
    let last_alert = new_fraud(&mut shop, panel, opened, attack).await?;
    replayed(&shop, panel, &last_alert).await?;
    next_steps(&shop, panel);
    Ok(shop)
}

fn simulated(args: &Demo, panel: &Panel, customers: usize, attack: u32) -> anyhow::Result<Dataset> {
    let file = args.state.join("payments.parquet");
    let simulation = Simulation {
        customers,
        terminals: 2 * customers,
        days: attack + REST,
        seed: args.seed,
        drifts: vec![Drift { kind: DriftKind::NewPattern, day: attack }],
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
        QUIET + REST,
        args.seed
    ));
    Ok(payments)
}

/// A week of payments, one a request.
async fn traffic(shop: &mut Shop, panel: &Panel, opened: u32) -> anyhow::Result<()> {
    let mut seen = shop.live(opened).await?;
    for _ in 1..7 {
        panel.now(format!("day {}: live traffic", shop.day));
        seen.add(shop.live(opened).await?);
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

/// How a rollout ended.
struct Ended {
    /// The version it was about in the end: a newer candidate takes the place of one that is still on trial.
    version: i64,
    phase: String,
    message: String,
    shadow: u64,
    exposed: u64,
    /// Alerts of the candidate beside those of the stable version in the shadow, and the share on which they differ.
    ratio: f64,
    disagreement: f64,
    asked: usize,
    seconds: f64,
}

impl Ended {
    fn told(&self) -> String {
        format!(
            "{} after {:.1} s, {} payments in the shadow and {} of its own ({:.2} times the alerts, {:.0} % of them one version's alone)",
            if self.phase == "Succeeded" { "promoted" } else { "STOPPED" },
            self.seconds,
            self.shadow,
            self.exposed,
            self.ratio,
            100.0 * self.disagreement
        )
    }
}

/// Lets days pass until the rollout of a version, or of a newer one, has ended.
async fn released(shop: &mut Shop, panel: &Panel, opened: u32, version: i64) -> anyhow::Result<Ended> {
    let (begin, mut asked, mut on_trial) = (panel.seconds(), 0, None);
    loop {
        let shown = shop.rollout().await?;
        let candidate = shown["candidate_version"].as_str().and_then(|text| text.parse::<i64>().ok());
        on_trial = candidate.filter(|candidate| *candidate >= version).or(on_trial);
        let phase = shown["phase"].as_str().unwrap_or_default().to_owned();
        if let Some(version) = on_trial
            && matches!(phase.as_str(), "Succeeded" | "Failed")
        {
            let history = shown["history"].as_array();
            let message = history.and_then(|all| all.last()).map_or(&Value::Null, |entry| &entry["message"]);
            return Ok(Ended {
                version,
                message: message.as_str().unwrap_or_default().to_owned(),
                shadow: shown["shadow"]["requests"].as_u64().unwrap_or(0),
                exposed: shown["exposed_requests"].as_u64().unwrap_or(0),
                ratio: shown["shadow"]["alert_ratio"].as_f64().unwrap_or(f64::NAN),
                disagreement: shown["shadow"]["disagreement"].as_f64().unwrap_or(f64::NAN),
                seconds: panel.seconds() - begin,
                phase,
                asked,
            });
        }
        let weight = shown["candidate_weight"].as_f64().unwrap_or(0.0) * 100.0;
        panel.now(format!(
            "day {}: version {version} {}, {weight:.0} % of the traffic, evidence for harm {:.2e}",
            shop.day,
            if weight > 0.0 { "on trial" } else { "in the shadow" },
            shown["evidence"]["e"].as_f64().unwrap_or(0.0)
        ));
        let seen = shop.live(opened).await?;
        asked += seen.requests();
    }
}

/// Version 2: more history, nothing wrong.
async fn honest(shop: &mut Shop, panel: &Panel, opened: u32) -> anyhow::Result<()> {
    panel.now("training version 2");
    let rows = shop.rows(0..shop.day - LABEL_DAYS);
    let v2 = trained(&shop.state, &shop.payments, rows, |_| {}, &DESCRIPTIONS).await?;
    let version = v2.version.context("version 2 was not registered")?;
    shop.point("challenger", version).await?;
    let ended = released(shop, panel, opened, version).await?;
    panel.chapter(format_args!("Version {version}, an honest retrain a week later: {}.", ended.told()));
    if ended.phase != "Succeeded" {
        bail!("the honest retrain was stopped: {}", ended.message);
    }
    Ok(())
}

/// Version 3: its amounts are in cents.
async fn cents(shop: &mut Shop, panel: &Panel, opened: u32) -> anyhow::Result<()> {
    panel.now("training version 3 on amounts in cents");
    let rows = shop.rows(0..shop.day - LABEL_DAYS);
    let in_cents = |part: &mut Dataset| {
        let width = part.width();
        let money: Vec<usize> =
            (0..width).filter(|place| part.signature.columns[*place].name.contains("AMOUNT")).collect();
        for row in part.features.chunks_exact_mut(width) {
            money.iter().for_each(|place| row[*place] *= 100.0);
        }
    };
    let v3 = trained(&shop.state, &shop.payments, rows, in_cents, &DESCRIPTIONS).await?;
    let version = v3.version.context("version 3 was not registered")?;
    shop.point("challenger", version).await?;
    let ended = released(shop, panel, opened, version).await?;
    let share = 100.0 * ended.exposed as f64 / ended.asked.max(1) as f64;
    let precision = v3.metrics.get("average_precision").copied().unwrap_or(f64::NAN);
    panel.chapter(format_args!("Version {version}, trained on amounts in cents, by mistake: {}.", ended.told()));
    panel.line(format_args!(
        "Its own test had seen nothing (average precision {precision:.3}). Payments decided by it: {} of {}, {share:.1} % of the traffic.",
        ended.exposed, ended.asked
    ));
    panel.line(format_args!("Why: {}", ended.message));
    if ended.phase != "Failed" {
        bail!("the version in cents was not stopped");
    }
    Ok(())
}

/// The days until the new fraud, and what version 2 was worth in them.
async fn money(shop: &mut Shop, panel: &Panel, opened: u32, attack: u32) -> anyhow::Result<()> {
    while shop.day < attack {
        panel.now(format!("day {}: live traffic, labels a week later", shop.day));
        shop.live(opened).await?;
    }
    let found = shop.ask(&format!("/v1/guard?name={MODEL}&as_of={}", shop.at(shop.day))).await?;
    let (cost, recall) = (&found["at_own_thresholds"]["cost"], &found["at_own_thresholds"]["recall"]);
    // From +0.0: nothing saved is not less than nothing.
    let figure = |value: &Value| value.as_f64().unwrap_or(f64::NAN) + 0.0;
    panel.chapter(format_args!(
        "Labels matured: on {} payments with {} frauds version 2 saved {:+.0} against version 1 (95 % interval {:+.0} to {:+.0}); recall {:.3}, it was {:.3}.",
        found["matured"],
        found["frauds"],
        figure(&cost["gain"]),
        figure(&cost["interval"][0]),
        figure(&cost["interval"][1]),
        figure(&recall["promoted"]),
        figure(&recall["previous"])
    ));
    Ok(())
}

/// Lets days pass until a retrained version is promoted; the version, and the day from which on it decides everything.
async fn relearnt(shop: &mut Shop, panel: &Panel, opened: u32, told: &mut usize) -> anyhow::Result<(i64, u32)> {
    loop {
        panel.now(format!("day {}: live traffic, labels a week later", shop.day));
        shop.live(opened).await?;
        let all = shop.caught_up(panel).await?;
        let mut accepted = None;
        for one in all.iter().rev().skip(*told) {
            let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            let day = (one["started_at"].as_i64().unwrap_or(0) - shop.at(0)) / DAY_MS;
            panel.chapter(format_args!("Day {day}: {}.", text("reason")));
            panel.line(format_args!("Retrained: version {} {}: {}.", one["version"], text("outcome"), text("verdict")));
            accepted = one["version"].as_i64().filter(|_| text("outcome") == "accepted").or(accepted);
        }
        *told = all.len();
        let Some(version) = accepted else { continue };
        let ended = released(shop, panel, opened, version).await?;
        panel.chapter(format_args!("Version {}: {}.", ended.version, ended.told()));
        if ended.phase == "Succeeded" {
            return Ok((ended.version, shop.day));
        }
        panel.line(format_args!("Why: {}", ended.message));
    }
}

/// A fraud that nobody has seen: missed, noticed, learnt, released; again, where the first lesson was too short. The id of the
/// surest alert of the last days.
async fn new_fraud(shop: &mut Shop, panel: &Panel, opened: u32, attack: u32) -> anyhow::Result<String> {
    panel
        .chapter(format_args!("Day {attack}: a new fraud begins: ten small payments from a drained card before dawn."));
    let (mut told, mut first) = (0, None);
    loop {
        let (version, since) = relearnt(shop, panel, opened, &mut told).await?;
        let first = *first.get_or_insert(since);
        let mut surest = None;
        for _ in 0..AFTER {
            panel.now(format!("day {}: version {version} decides", shop.day));
            surest = surer(surest, shop.live(opened).await?.surest);
        }
        // What comes to light later is told now, with the day on which it will be known.
        shop.label(opened..shop.day).await?;
        let before = recall(shop, opened..attack).await?;
        let missed = recall(shop, attack..first).await?;
        let after = recall(shop, since..shop.day).await?;
        panel.chapter(format_args!(
            "Recall: {before:.2} before the new fraud, {missed:.2} while it was missed, {after:.2} since version {version}."
        ));
        if after > f64::midpoint(before, missed) {
            return surest.map(|(_, id)| id).context("no alert was ever raised");
        }
        panel.line("It has seen too little of the new fraud: the monitor goes on.");
    }
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
    let key = uuid::Uuid::parse_str(id)?;
    let found = files.find(key.as_bytes(), |decision| {
        (std::sync::Arc::clone(decision.model), decision.features().collect::<Vec<f32>>(), decision.score)
    })?;
    let (logged, features, score) = found.with_context(|| format!("the log has no decision {id}"))?;
    let state = State { state: shop.state.clone(), tracking_uri: None };
    let model = replay::load_logged(&state, &logged).await?;
    let again = model.package.forest.score(&features);
    let same = if again.to_bits() == score.to_bits() { "the same bits" } else { "OTHER BITS" };
    panel.chapter(format_args!(
        "Replayed decision {id} of version {}: {again} (0x{:08x}), {same}.",
        logged.version,
        again.to_bits()
    ));
    let names = &model.package.descriptions;
    let reason = |(place, value): (usize, f32)| {
        let column = &model.package.signature.columns[place].name;
        format!("{} = {} ({value:+.2})", names.get(column).unwrap_or(column), features[place])
    };
    let strongest = model.strongest(&features, 3).map_err(|reason| anyhow::anyhow!("{reason}"))?;
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
