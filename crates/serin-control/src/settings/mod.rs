//! Settings of monitoring that an operator decides: the sections of `serin.toml`. Every key has a default.

mod receivers;

use croner::Cron;
use serde::Deserialize;
use serin_analysis::monitor::{Budget, HOUR_MS, Hysteresis, Rule, SHARE};
use serin_analysis::performance::{GuardRules, Maturity};
use serin_store::ModelVersion;
use std::str::FromStr;

pub(crate) use receivers::{smtp_host, transport};

const DAY_MS: i64 = 86_400_000;
/// Latest time that is no mistake, epoch milliseconds: the year 2100. Microseconds that are sent as milliseconds lie far beyond.
const LATEST_TIME_MS: i64 = 4_102_444_800_000;

/// All settings of `serin.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Windows to look at, and limits from which figures are wrong.
    pub monitoring: MonitoringSettings,
    /// Receivers of alerts, and when an alert begins and ends.
    pub alerts: AlertSettings,
    /// Rules for when a model is trained again.
    pub retraining: RetrainingSettings,
    /// Rules for what becomes of a promotion when labels come.
    pub guard: GuardSettings,
    /// Evidently service that shows the same windows; `None` sends it nothing.
    pub evidently: Option<EvidentlySettings>,
}

/// Section `[guard]`: rules for promotions that labels prove wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardSettings {
    /// True if a proven loss puts the version before back; it is an alert in any case.
    pub rollback: bool,
    /// Aliases and stages whose version is live.
    pub live: Vec<String>,
    /// Number of matured frauds at the first look; the next four looks come at twice as many each.
    pub min_frauds: u64,
    /// Probability that a version that is no worse is undone, over all looks, 0 to 1.
    pub error: f64,
    /// Number of days of transactions that are compared.
    pub days: i64,
}

impl Default for GuardSettings {
    fn default() -> Self {
        let GuardRules { min_frauds, error, .. } = GuardRules::default();
        Self { rollback: true, live: vec!["champion".to_owned(), "Production".to_owned()], min_frauds, error, days: 90 }
    }
}

impl GuardSettings {
    /// True if a version is live, by its aliases and its stage.
    pub(crate) fn is_live(&self, version: &ModelVersion) -> bool {
        self.live.iter().any(|name| version.aliases.contains(name) || version.stage.as_str() == name)
    }
}

/// Section `[evidently]`: the service that snapshots are sent to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidentlySettings {
    /// Address of the service, such as `http://evidently:8000`.
    pub url: String,
    /// Id of the project in the service, a UUID.
    pub project: String,
    /// Name of the environment variable that holds the service's secret.
    #[serde(default)]
    pub secret_env: Option<String>,
    /// Hours between two snapshots of a model, 1 to 672.
    #[serde(default = "hourly")]
    pub every_hours: i64,
}

const fn hourly() -> i64 {
    1
}

/// Clock that monitoring goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// Clock of the machine.
    #[default]
    Wall,
    /// Time of the newest transaction: for traffic of the past that is played again.
    Events,
}

/// Section `[monitoring]`: what is looked at, and limits from which it is wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitoringSettings {
    /// Clock: `wall`, or `events` for traffic of the past that is played again.
    pub clock: Clock,
    /// Seconds between two looks for something new.
    pub every_seconds: f64,
    /// Length of the window that is compared with the reference, hours.
    pub window_hours: i64,
    /// Expected days between two false alarms of a model.
    pub days_between_alarms: f64,
    /// Least distance from which a column counts as drifted.
    pub drift_floor: f64,
    /// Part of the model's gain whose drift counts as drift of the whole, 0 to 1.
    pub drifted_share: f64,
    /// Least rise of the share of missing values that is wrong, 0 to 1.
    pub missing_floor: f64,
    /// Least factor by which the alert rate changes for an alert.
    pub alert_factor: f64,
    /// Least number of decisions for a judgement.
    pub min_decisions: u64,
    /// Days after which labels are complete.
    pub maturity_days: f64,
    /// Treatment of transactions without a label: `excluded`, or `genuine` where only frauds are reported.
    pub unlabelled: Unlabelled,
    /// Column with the money at stake, if the model has one.
    pub amount: Option<String>,
    /// Cost of reviewing one alert, in the unit of the amounts.
    pub review_cost: f64,
    /// Days of matured transactions whose figures are compared with those at training.
    pub performance_days: f64,
    /// Least number of frauds among them for a judgement.
    pub min_frauds: u64,
    /// Days for which panes are kept.
    pub keep_days: i64,
}

/// Treatment of a matured transaction without a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlabelled {
    /// It is left out of the figures.
    #[default]
    Excluded,
    /// It counts as genuine.
    Genuine,
}

impl Default for MonitoringSettings {
    fn default() -> Self {
        let budget = Budget::default();
        Self {
            clock: Clock::Wall,
            every_seconds: 30.0,
            window_hours: 24,
            days_between_alarms: budget.days_between_alarms,
            drift_floor: budget.drift_floor,
            drifted_share: SHARE,
            missing_floor: budget.missing_floor,
            alert_factor: budget.alert_factor,
            min_decisions: budget.min_rows,
            maturity_days: 7.0,
            unlabelled: Unlabelled::Excluded,
            amount: None,
            review_cost: 0.0,
            performance_days: 7.0,
            min_frauds: 50,
            keep_days: 60,
        }
    }
}

impl MonitoringSettings {
    pub(crate) fn budget(&self) -> Budget {
        Budget {
            days_between_alarms: self.days_between_alarms.max(1.0),
            drift_floor: self.drift_floor,
            missing_floor: self.missing_floor,
            alert_factor: self.alert_factor.max(1.0),
            min_rows: self.min_decisions.max(1),
        }
    }

    /// Latest time of an event that is taken for present, epoch milliseconds: an hour ahead of the clock, as clocks differ.
    /// Where traffic of the past or of a simulation is played again events are the clock, as far as they can be times at all.
    pub(crate) fn latest_event_ms(&self, now_ms: i64) -> i64 {
        let ahead_ms = now_ms.saturating_add(HOUR_MS);
        match self.clock {
            Clock::Wall => ahead_ms,
            Clock::Events => ahead_ms.max(LATEST_TIME_MS),
        }
    }

    /// Rule for when labels are complete.
    #[must_use]
    pub fn maturity(&self) -> Maturity {
        Maturity {
            delay_ms: (self.maturity_days.max(0.0) * DAY_MS as f64) as i64,
            unlabelled_is_genuine: self.unlabelled == Unlabelled::Genuine,
        }
    }
}

/// Section `[alerts]`: when alerts begin and end, and who is told.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertSettings {
    /// Looks in a row that find a rule broken before an alert begins; there is one look an hour.
    pub begin: u32,
    /// Looks in a row that find it kept before the alert ends.
    pub end: u32,
    /// Alerts that nobody is told of: `drift`, or `drift:TX_AMOUNT`; they stay in the history.
    pub mute: Vec<String>,
    /// Seconds between two messages to Alertmanager of everything that is on.
    pub repeat_seconds: f64,
    /// Hours after which a notice that a receiver has not taken is given up.
    pub give_up_hours: f64,
    /// Receivers that are told when an alert begins or ends.
    pub to: Vec<Receiver>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        let Hysteresis { begin, end } = Hysteresis::default();
        Self { begin, end, mute: Vec::new(), repeat_seconds: 60.0, give_up_hours: 24.0, to: Vec::new() }
    }
}

impl AlertSettings {
    pub(crate) fn hysteresis(&self) -> Hysteresis {
        Hysteresis { begin: self.begin, end: self.end }
    }

    /// Time between two messages to Alertmanager of everything that is on, milliseconds.
    pub(crate) fn repeat_ms(&self) -> i64 {
        (self.repeat_seconds.clamp(0.1, 240.0) * 1000.0) as i64
    }

    /// Time after which a notice that was not taken is given up, milliseconds.
    pub(crate) fn give_up_ms(&self) -> i64 {
        (self.give_up_hours.clamp(0.1, 720.0) * HOUR_MS as f64) as i64
    }

    /// True if nobody is told of alerts of a rule, by its name, or of this subject of it.
    pub(crate) fn is_muted(&self, name: &str, subject: &str) -> bool {
        self.mute.iter().any(|muted| muted == name || *muted == format!("{name}:{subject}"))
    }
}

/// Section `[[alerts.to]]`: one receiver of alerts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Receiver {
    /// Address that plain JSON is posted to.
    Webhook {
        /// URL that the JSON is posted to.
        url: String,
    },
    /// Slack's incoming webhook, and what understands its shape (Mattermost, Rocket.Chat, Discord's `/slack`).
    Slack {
        /// URL of the incoming webhook.
        url: String,
    },
    /// Prometheus Alertmanager's API, version 2.
    Alertmanager {
        /// Address of the Alertmanager, such as `http://alertmanager:9093`.
        url: String,
    },
    /// Mailbox that is written to by SMTP.
    Email {
        /// Mail server: `smtps://user@host`, `smtp://host:25` (in clear: only to this machine),
        /// `smtp://host:587?tls=required`.
        smtp: String,
        /// Address of the sender.
        from: String,
        /// Address of the recipient.
        to: String,
        /// Name of the environment variable that holds the password.
        #[serde(default)]
        password_env: Option<String>,
    },
}

/// Section `[retraining]`: when a model is trained again.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrainingSettings {
    /// True if retrainings begin by themselves.
    pub enabled: bool,
    /// Schedule in five fields of cron, UTC; `None` sets no retraining off by time.
    pub schedule: Option<String>,
    /// True if sustained drift of the model sets a retraining off.
    pub on_drift: bool,
    /// True if worse matured figures set a retraining off.
    pub on_performance: bool,
    /// Number of new labels that set a retraining off; `None` sets none off by labels.
    pub on_labels: Option<i64>,
    /// Days between the beginnings of two retrainings, at least.
    pub cool_down_days: f64,
    /// Most retrainings of a model in seven days.
    pub most_a_week: usize,
    /// Command that is run instead of `serin retrain` here, as to make a Kubernetes Job; `serin retrain`'s options
    /// are added.
    pub command: Vec<String>,
    /// More options for `serin retrain`.
    pub options: Vec<String>,
}

impl Default for RetrainingSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            schedule: None,
            on_drift: true,
            on_performance: true,
            on_labels: None,
            cool_down_days: 3.0,
            most_a_week: 2,
            command: Vec::new(),
            options: Vec::new(),
        }
    }
}

/// Setting with a value that it cannot have; the text names its key and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSetting(pub(crate) String);

impl InvalidSetting {
    pub(crate) fn new(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl EvidentlySettings {
    fn check(&self) -> Result<(), InvalidSetting> {
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return Err(InvalidSetting::new("evidently.url: write http://… or https://…"));
        }
        if self.project.parse::<uuid::Uuid>().is_err() {
            return Err(InvalidSetting(format!(
                "evidently.project {:?}: it is the id of a project, a UUID",
                self.project
            )));
        }
        if !(1..=24 * 28).contains(&self.every_hours) {
            return Err(InvalidSetting::new("evidently.every_hours is from 1 to 672"));
        }
        self.secret().map(drop)
    }

    /// Secret that requests to the service carry; an error if the environment lacks the named variable.
    pub(crate) fn secret(&self) -> Result<Option<String>, InvalidSetting> {
        let missing = |name: &String| InvalidSetting(format!("evidently.secret_env: the environment has no {name}"));
        self.secret_env.as_ref().map(|name| std::env::var(name).map_err(|_| missing(name))).transpose()
    }
}

impl Settings {
    /// Whether monitoring goes by the time of the newest transaction, as for traffic of the past that is played again.
    #[must_use]
    pub fn goes_by_events(&self) -> bool {
        self.monitoring.clock == Clock::Events
    }

    /// Checks what the types of the settings do not.
    ///
    /// # Errors
    /// With the key and the way out.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        for muted in &self.alerts.mute {
            let rule = muted.split(':').next().unwrap_or_default();
            if !Rule::ALL.iter().any(|known| known.name() == rule) {
                let names = Rule::ALL.map(Rule::name).join(", ");
                return Err(InvalidSetting(format!("alerts.mute {muted:?}: the rules are {names}")));
            }
        }
        for receiver in &self.alerts.to {
            receivers::check(receiver)?;
        }
        if !(0.1..=240.0).contains(&self.alerts.repeat_seconds) {
            return Err(InvalidSetting::new(
                "alerts.repeat_seconds is from 0.1 to 240: Alertmanager forgets after 300",
            ));
        }
        if !(0.1..=720.0).contains(&self.alerts.give_up_hours) {
            return Err(InvalidSetting::new("alerts.give_up_hours is from 0.1 to 720"));
        }
        if !(1e-6..=0.5).contains(&self.guard.error) {
            return Err(InvalidSetting::new("guard.error is a probability from 0.000001 to 0.5"));
        }
        if !(1..=3650).contains(&self.guard.days) || self.guard.min_frauds == 0 {
            return Err(InvalidSetting::new("guard.days is from 1 to 3650, and guard.min_frauds from 1 up"));
        }
        if let Some(evidently) = &self.evidently {
            evidently.check()?;
        }
        if let Some(schedule) = &self.retraining.schedule {
            cron(schedule)?;
        }
        if !(1..=24 * 28).contains(&self.monitoring.window_hours) {
            return Err(InvalidSetting::new("monitoring.window_hours is from 1 to 672"));
        }
        Ok(())
    }
}
/// Reads the schedule of retrainings: five fields of cron, in UTC.
pub(crate) fn cron(pattern: &str) -> Result<Cron, InvalidSetting> {
    Cron::from_str(pattern).map_err(|error| InvalidSetting(format!("retraining.schedule {pattern:?}: {error}")))
}
