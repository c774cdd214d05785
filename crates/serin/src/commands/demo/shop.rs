//! A shop on virtual days: payments that reach the scoring server one by one, labels a week later, and the servers themselves.
//!
//! What the story tells must not depend on how fast the machine is, so nothing here waits for a time: a day is over when the monitor
//! says that it has looked at its hours ([`Shop::looked`]), and what a rollout needs beyond one day is that day's eve again
//! ([`Shop::again`]), which no figure counts.

use super::panel::Panel;
use crate::cli::{Cli, Command, State};
use crate::commands::load::{Seen, send};
use crate::commands::serving::Full;
use crate::commands::train::bars;
use crate::commands::{now_ms, server};
use crate::registry::Registry;
use anyhow::{Context, bail};
use clap::Parser;
use hyper::body::Bytes;
use serde_json::{Value, json};
use serin_analysis::threshold::Rule;
use serin_batch::training::{SplitRule, Trained, TrainingPlan, TrainingRows, train};
use serin_dataset::Dataset;
use serin_scorer::serve;
use serin_tracking::Stage;
use serin_training::Parameters;
use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) const MODEL: &str = "fraud_detection";
pub(super) const DAY_MS: i64 = 86_400_000;
/// Days after which a label comes.
pub(super) const LABEL_DAYS: u32 = 7;
const CONNECTIONS: usize = 4;
/// Descriptions of the columns that matter most, as reasons call them in front of people.
const DESCRIPTIONS: [(&str, &str); 4] = [
    ("TX_AMOUNT", "Amount of the payment"),
    ("TX_DURING_NIGHT", "Paid at night"),
    ("TERMINAL_ID_RISK_7DAY_WINDOW", "Share of frauds at this terminal, last 7 days"),
    ("CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW", "Average amount of this customer, last 30 days"),
];
const HOUR_MS: i64 = 3_600_000;
/// Pause between two questions whether something has happened.
const ASK: Duration = Duration::from_millis(20);
/// So long without any progress means that a server is stuck, on the slowest machine.
const STUCK: Duration = Duration::from_secs(600);

/// How versions are released: Flagger's file, at the pace of a demo.
const CANARY: &str = r#"apiVersion: flagger.app/v1beta1
kind: Canary
metadata:
  name: fraud-detection
  annotations:
    serin.dev/min-shadow: 300ms
    serin.dev/min-shadow-requests: "SHADOW"
    serin.dev/tolerance: "TOLERANCE"
    serin.dev/max-disagreement: "DISAGREEMENT"
spec:
  targetRef: {name: fraud-detection}
  analysis:
    interval: 200ms
    threshold: 3
    stepWeights: [5, 10, 25, 50]
    metrics: [{name: request-success-rate, thresholdRange: {min: 99}}]
"#;

/// How it is watched and retrained. The days of the gate and of the test are one week together: they are the new version's reference, and
/// weekends must be in it as often as in the traffic.
const CONFIG: &str = r#"[monitoring]
clock = "events"            # the payments' own time: days pass in seconds here
every_seconds = 0.1
amount = "TX_AMOUNT"
review_cost = 2.0
maturity_days = 7.0
min_frauds = 30

[retraining]
enabled = true
cool_down_days = 2
most_a_week = 3
options = ["--gate-days", "4", "--test-days", "3", "--train-days", "60", "--", "--cost", "2"]
"#;

/// The simulation has no payments of this day.
#[derive(Debug, thiserror::Error)]
#[error("the simulation has no day {0}")]
pub(super) struct DaysEnded(pub(super) u32);

/// Payments, and who decides on them.
pub(super) struct Shop {
    pub(super) state: PathBuf,
    pub(super) payments: Dataset,
    first_ms: i64,
    /// The first day whose payments are decided.
    pub(super) opened: u32,
    /// Payments that a candidate scores in the shadow before it answers one: more than any two days have, so that a candidate which is
    /// registered in the middle of a day still has the whole next day in the shadow.
    pub(super) shadow: u64,
    /// `began_at_ms` of the last rollout that was told.
    pub(super) told_rollout_ms: i64,
    /// Retrainings that were told.
    pub(super) told_retrainings: usize,
    /// Payments that were sent again.
    again: usize,
    tracking: server::Listening,
    pub(super) scoring: serve::Serving,
    serving: crate::cli::Serve,
    client: reqwest::Client,
    /// The next day that has not come yet.
    pub(super) day: u32,
}

/// Writes what releases may change.
fn allow(state: &Path, shadow: u64, tolerance: &str, disagreement: &str) -> std::io::Result<()> {
    let text = CANARY.replace("SHADOW", &shadow.to_string());
    let text = text.replace("TOLERANCE", tolerance).replace("DISAGREEMENT", disagreement);
    std::fs::write(state.join("canary.yaml"), text)
}

/// Most payments of a day from `opened` on.
fn busiest(payments: &Dataset, first_ms: i64, opened: u32) -> usize {
    let days = |day: &u32| payments.times.last().is_some_and(|last| *last >= first_ms + i64::from(*day) * DAY_MS);
    (opened..).take_while(days).map(|day| rows_of(payments, first_ms, day..day + 1).len()).max().unwrap_or(0)
}

/// A command line of this program, parsed.
fn parsed(line: &[&str]) -> anyhow::Result<Command> {
    let parsed = Cli::try_parse_from(std::iter::once("serin").chain(line.iter().copied()));
    Ok(parsed.map_err(|error| anyhow::anyhow!("{error}"))?.command)
}

/// Rows of some days of payments in the order of their time.
pub(super) fn rows_of(payments: &Dataset, first_ms: i64, days: Range<u32>) -> Range<usize> {
    let at = |day: u32| payments.times.partition_point(|time| *time < first_ms + i64::from(day) * DAY_MS);
    at(days.start)..at(days.end)
}

/// Trains a version on rows, as `serin train` would, and registers it; `marks` are the alias and the stage that it gets.
pub(super) async fn trained(
    state: &Path,
    payments: &Dataset,
    rows: Range<usize>,
    change: impl Fn(&mut Dataset),
    marks: Option<(&str, Stage)>,
) -> anyhow::Result<Trained> {
    let mut part = payments.take(&rows.collect::<Vec<_>>());
    change(&mut part);
    let plan = TrainingPlan {
        model: MODEL.to_owned(),
        experiment: MODEL.to_owned(),
        user: "demo".to_owned(),
        tags: Vec::new(),
        source: "simulated payments".to_owned(),
        parameters: Parameters { rounds: 60, ..Parameters::default() },
        rule: Rule::AlertRate(0.03),
        reference_rows: 50_000,
        descriptions: DESCRIPTIONS.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
        register: true,
        alias: marks.map(|(alias, _)| alias.to_owned()),
        stage: marks.map(|(_, stage)| stage),
    };
    let split = SplitRule::Later {
        train_from_ms: None,
        train_days: None,
        delay_days: LABEL_DAYS,
        test_days: 7,
        keep_known_cards: false,
    };
    let registry = Registry::open(&State { state: state.to_owned(), tracking_uri: None }).await?;
    let rows = TrainingRows::split(&part, &split)?;
    Ok(train(&registry, &plan, &rows, now_ms, &mut bars()).await?)
}

impl Shop {
    /// Opens: both servers, on the state folder.
    pub(super) async fn open(
        state: &Path,
        payments: Dataset,
        first_ms: i64,
        opened: u32,
        ports: [u16; 2],
    ) -> anyhow::Result<Self> {
        let (config, canary) = (state.join("serin.toml"), state.join("canary.yaml"));
        std::fs::write(&config, CONFIG)?;
        let shadow = 2 * busiest(&payments, first_ms, opened) as u64 + 1;
        allow(state, shadow, "1.5", "0.3")?;
        let (folder, config, canary) =
            (state.display().to_string(), config.display().to_string(), canary.display().to_string());
        let ports = ports.map(|port| port.to_string());
        let line = ["server", "--state", &folder, "--port", &ports[0], "--config", &config];
        let Command::Server(options) = parsed(&line)? else { bail!("the command is named") };
        let tracking = server::start(&options).await?;
        let live = format!("models:/{MODEL}@champion");
        let line = [
            "serve",
            "--state",
            &folder,
            "--port",
            &ports[1],
            "--model",
            &live,
            "--canary",
            &canary,
            "--fast-canary",
            "--poll",
            "0.1",
            "--monitor-every",
            "0.1",
            // The simulated days are long ago.
            "--max-event-age",
            "36500d",
        ];
        let Command::Serve(mut serving) = parsed(&line)? else { bail!("the command is named") };
        // The registry is this process's own, whatever the environment says.
        serving.state.tracking_uri = None;
        let scoring = serve::start(&serving, &Full).await?;
        serving.port = scoring.address.port();
        tracking.show(scoring.to_string());
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self {
            state: state.to_owned(),
            payments,
            first_ms,
            opened,
            shadow,
            told_rollout_ms: 0,
            told_retrainings: 0,
            again: 0,
            tracking,
            scoring,
            serving,
            client,
            day: opened,
        })
    }

    /// Starts the scoring server again, with other limits of what a release may change.
    pub(super) async fn restarted(self, tolerance: &str, disagreement: &str) -> anyhow::Result<Self> {
        allow(&self.state, self.shadow, tolerance, disagreement)?;
        self.scoring.stop().await;
        let scoring = serve::start(&self.serving, &Full).await?;
        Ok(Self { scoring, ..self })
    }

    pub(super) async fn close(self) {
        self.scoring.stop().await;
        self.tracking.stop().await;
    }

    /// Address of the dashboard and the tracking server.
    pub(super) fn dashboard(&self) -> String {
        format!("http://{}", self.tracking.address())
    }

    /// Epoch milliseconds at which a day begins.
    pub(super) fn at(&self, day: u32) -> i64 {
        self.first_ms + i64::from(day) * DAY_MS
    }

    pub(super) fn rows(&self, days: Range<u32>) -> Range<usize> {
        rows_of(&self.payments, self.first_ms, days)
    }

    async fn asked(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let response = request.send().await?;
        let status = response.status();
        let answer: Value = response.json().await.unwrap_or_default();
        if !status.is_success() {
            bail!("{status}: {answer}");
        }
        Ok(answer)
    }

    /// What the tracking server answers.
    pub(super) async fn ask(&self, path: &str) -> anyhow::Result<Value> {
        self.asked(self.client.get(format!("{}{path}", self.dashboard()))).await.with_context(|| path.to_owned())
    }

    /// The rollout, as the scoring server tells it.
    pub(super) async fn rollout(&self) -> anyhow::Result<Value> {
        self.asked(self.client.get(format!("{}/v1/rollout", self.scoring))).await
    }

    /// Tells the rollout to do something, such as `abort`.
    pub(super) async fn control(&self, action: &str) -> anyhow::Result<()> {
        let url = format!("{}/v1/rollout/{action}", self.scoring);
        self.asked(self.client.post(url).header("serin-actor", "serin%20demo")).await.map(drop)
    }

    /// Points an alias at a version: `challenger` starts a rollout.
    pub(super) async fn point(&self, alias: &str, version: i64) -> anyhow::Result<()> {
        let url = format!("{}/api/2.0/mlflow/registered-models/alias", self.dashboard());
        let body = json!({ "name": MODEL, "alias": alias, "version": version.to_string() });
        let request = self.client.post(url).header("serin-actor", "serin%20demo").json(&body);
        self.asked(request).await.map(drop)
    }

    /// Tells what became of the payments of some days.
    pub(super) async fn label(&self, days: Range<u32>) -> anyhow::Result<()> {
        let rows: Vec<usize> = self.rows(days).collect();
        for part in rows.chunks(5000) {
            let label = |row: &usize| {
                let (fraud, time) = (self.payments.labels[*row] == 1.0, self.payments.times[*row]);
                json!({
                    "transaction_id": format!("tx-{row}"), "label": u8::from(fraud), "amount": self.payments.amounts[*row],
                    "source": if fraud { "chargeback" } else { "timeout-genuine" },
                    "occurred_at": time, "known_at": time + i64::from(LABEL_DAYS) * DAY_MS,
                })
            };
            let labels: Vec<Value> = part.iter().map(label).collect();
            let request = self.client.post(format!("{}/v1/labels", self.dashboard()));
            self.asked(request.json(&json!({ "labels": labels }))).await?;
        }
        Ok(())
    }

    /// One more day: its payments, one a request. The labels that come on this day, of the payments of a week ago, are sent before: each
    /// says when it is known, and counts from then on.
    ///
    /// # Errors
    /// [`DaysEnded`] when the simulation has no such day.
    pub(super) async fn live(&mut self) -> anyhow::Result<Seen> {
        let day = self.day;
        let rows = self.rows(day..day + 1);
        if rows.is_empty() {
            return Err(DaysEnded(day).into());
        }
        if day >= self.opened + LABEL_DAYS {
            self.label(day - LABEL_DAYS..day - LABEL_DAYS + 1).await?;
        }
        let bodies = rows.map(|row| self.body(row, &format!("tx-{row}"))).collect();
        self.day += 1;
        send(self.scoring.address, bodies, CONNECTIONS).await
    }

    /// Payments of the eve of the last day once more, under ids of their own and never labelled: traffic for a rollout that asks for more.
    /// They are in no figure: performance, guard and retraining count labelled payments, and the monitor has closed that day's hours.
    pub(super) async fn again(&mut self, payments: u64) -> anyhow::Result<Seen> {
        let rows = self.rows(self.day - 2..self.day - 1);
        let numbers = self.again..self.again + payments as usize;
        let bodies = numbers.clone().map(|number| {
            let row = rows.start + number % rows.len().max(1);
            self.body(row, &format!("again-{number}"))
        });
        let bodies = bodies.collect();
        self.again = numbers.end;
        send(self.scoring.address, bodies, CONNECTIONS).await
    }

    fn body(&self, row: usize, id: &str) -> Bytes {
        let payments = &self.payments;
        let mut body = format!(
            "{{\"transactions\":[{{\"transaction_id\":\"{id}\",\"entity\":\"card-{}\",\"timestamp\":{},\"features\":{{",
            payments.entities.get(row).copied().unwrap_or(0),
            payments.times[row]
        );
        let width = payments.width();
        let mut mark = "";
        for (column, value) in payments.signature.columns.iter().zip(&payments.features[row * width..][..width]) {
            if value.is_finite() {
                // Writing to a String cannot fail.
                let _ = write!(body, "{mark}\"{}\":{value}", column.name);
                mark = ",";
            }
        }
        body.push_str("}}]}");
        body.into()
    }

    /// Waits until the monitor has looked at every hour before that of the last day's last payment, and no retraining runs that it has
    /// set off; the retrainings so far, the newest first.
    pub(super) async fn looked(&self, panel: &Panel) -> anyhow::Result<Vec<Value>> {
        let day = self.day - 1;
        let last_ms = self.payments.times[self.rows(day..day + 1)].iter().max().copied();
        let hour_ms = last_ms.with_context(|| format!("day {day} has no payment"))?.div_euclid(HOUR_MS) * HOUR_MS;
        let mut since = (Instant::now(), 0);
        loop {
            let found = self.ask(&format!("/v1/retrainings?name={MODEL}")).await?;
            let until_ms = found["looked_until"].as_i64().unwrap_or(0);
            let runs = found["running"] == true;
            let all = || found["retrainings"].as_array().cloned().unwrap_or_default();
            if until_ms >= hour_ms && !runs {
                return Ok(all());
            }
            if runs {
                since.0 = Instant::now();
                let reason = all().first().map_or_else(String::new, |one| format!(" ({})", one["reason"]));
                panel.now(format!("day {day}: retraining{reason}"));
            } else if until_ms != since.1 {
                since = (Instant::now(), until_ms);
            } else if since.0.elapsed() > STUCK {
                bail!(
                    "the monitor looks at nothing any more: it stands at {until_ms}, day {day} ends at {hour_ms} (epoch ms)"
                );
            }
            pause().await;
        }
    }
}

/// Between two questions whether something has happened.
pub(super) async fn pause() {
    tokio::time::sleep(ASK).await;
}
