//! What an operator decides about monitoring: the sections of `serin.toml`. Every key has a default.

mod receivers;

use croner::Cron;
use serde::Deserialize;
use serin_analysis::monitor::{Budget, Hysteresis, Rule, SHARE};
use serin_analysis::performance::{GuardRules, Maturity};
use serin_store::ModelVersion;
use std::str::FromStr;

pub(crate) use receivers::{smtp_host, transport};

const DAY_MS: i64 = 86_400_000;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What is looked at, and when it is wrong.
    pub monitoring: MonitoringSettings,
    /// Who is told.
    pub alerts: AlertSettings,
    /// When a model is trained again.
    pub retraining: RetrainingSettings,
    /// What becomes of a promotion when labels come.
    pub guard: GuardSettings,
    /// An Evidently service that shows the same windows; none without it.
    pub evidently: Option<EvidentlySettings>,
}

/// `[guard]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardSettings {
    /// Whether a proven loss puts the version before back; it is an alert in any case.
    pub rollback: bool,
    /// Aliases and stages whose version answers.
    pub live: Vec<String>,
    /// Matured frauds at the first look; the next four come at twice as many each.
    pub min_frauds: u64,
    /// Probability that a version that is no worse is undone, over all looks.
    pub error: f64,
    /// Days of transactions that are compared.
    pub days: i64,
}

impl Default for GuardSettings {
    fn default() -> Self {
        let GuardRules { min_frauds, error, .. } = GuardRules::default();
        Self { rollback: true, live: vec!["champion".to_owned(), "Production".to_owned()], min_frauds, error, days: 90 }
    }
}

impl GuardSettings {
    /// Whether a version answers, by its aliases and its stage.
    pub(crate) fn is_live(&self, version: &ModelVersion) -> bool {
        self.live.iter().any(|name| version.aliases.contains(name) || version.stage.as_str() == name)
    }
}

/// `[evidently]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidentlySettings {
    /// Its address, such as `http://evidently:8000`.
    pub url: String,
    /// Id of the project there.
    pub project: String,
    /// Name of the environment variable that holds its secret.
    #[serde(default)]
    pub secret_env: Option<String>,
    /// Hours between two snapshots of a model.
    #[serde(default = "hourly")]
    pub every_hours: i64,
}

const fn hourly() -> i64 {
    1
}

/// What tells the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The machine's.
    #[default]
    Wall,
    /// The newest transaction: for traffic of the past that is played again.
    Events,
}

/// `[monitoring]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitoringSettings {
    /// `wall`, or `events` for traffic of the past that is played again.
    pub clock: Clock,
    /// Seconds between looks for something new.
    pub every_seconds: f64,
    /// Hours of the window that is compared with the reference.
    pub window_hours: i64,
    /// Expected days between two false alarms of a model.
    pub days_between_alarms: f64,
    /// Distance from which a column is drifted, at least.
    pub drift_floor: f64,
    /// Part of the model's gain whose drift is drift of the whole.
    pub drifted_share: f64,
    /// Rise of the share of missing values that is wrong, at least.
    pub missing_floor: f64,
    /// Factor by which the alert rate must change.
    pub alert_factor: f64,
    /// Decisions below which nothing is said.
    pub min_decisions: u64,
    /// Days after which labels are complete.
    pub maturity_days: f64,
    /// `excluded`, or `genuine` where only frauds are reported.
    pub unlabelled: Unlabelled,
    /// Column with the money at stake.
    pub amount: Option<String>,
    /// Cost of a review.
    pub review_cost: f64,
    /// Days of matured transactions whose figures are compared with those at training.
    pub performance_days: f64,
    /// Frauds among them below which nothing is said.
    pub min_frauds: u64,
    /// Days that panes are kept.
    pub keep_days: i64,
}

/// What a matured transaction without a label is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlabelled {
    /// Left out.
    #[default]
    Excluded,
    /// Genuine.
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

    /// When labels are complete.
    #[must_use]
    pub fn maturity(&self) -> Maturity {
        Maturity {
            delay_ms: (self.maturity_days.max(0.0) * DAY_MS as f64) as i64,
            unlabelled_is_genuine: self.unlabelled == Unlabelled::Genuine,
        }
    }
}

/// `[alerts]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertSettings {
    /// Looks in a row until an alert begins; there is one look an hour.
    pub begin: u32,
    /// Looks in a row until it ends.
    pub end: u32,
    /// Nothing is told of these: `drift`, or `drift:TX_AMOUNT`; they stay in the history.
    pub mute: Vec<String>,
    /// Who is told.
    pub to: Vec<Receiver>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        let Hysteresis { begin, end } = Hysteresis::default();
        Self { begin, end, mute: Vec::new(), to: Vec::new() }
    }
}

impl AlertSettings {
    pub(crate) fn hysteresis(&self) -> Hysteresis {
        Hysteresis { begin: self.begin, end: self.end }
    }

    pub(crate) fn is_muted(&self, rule: Rule, subject: &str) -> bool {
        let name = rule.name();
        self.mute.iter().any(|muted| muted == name || *muted == format!("{name}:{subject}"))
    }
}

/// `[[alerts.to]]`: who is told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Receiver {
    /// Plain JSON, posted.
    Webhook {
        /// Address.
        url: String,
    },
    /// Slack's incoming webhook, and what understands its shape (Mattermost, Rocket.Chat, Discord's `/slack`).
    Slack {
        /// Address.
        url: String,
    },
    /// Prometheus Alertmanager's API, version 2.
    Alertmanager {
        /// Its address, such as `http://alertmanager:9093`.
        url: String,
    },
    /// E-mail by SMTP.
    Email {
        /// `smtps://user@host`, `smtp://host:25` (in clear: only to this machine), `smtp://host:587?tls=required`.
        smtp: String,
        /// Sender.
        from: String,
        /// Who gets it.
        to: String,
        /// Name of the environment variable that holds the password.
        #[serde(default)]
        password_env: Option<String>,
    },
}

/// `[retraining]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrainingSettings {
    /// Nothing sets one off by itself otherwise.
    pub enabled: bool,
    /// Five fields of cron, UTC.
    pub schedule: Option<String>,
    /// Whether sustained drift of the model sets one off.
    pub on_drift: bool,
    /// Whether worse matured figures do.
    pub on_performance: bool,
    /// New labels that do.
    pub on_labels: Option<i64>,
    /// Days between the beginnings of two.
    pub cool_down_days: f64,
    /// Most in seven days.
    pub most_a_week: usize,
    /// What is run instead of `serin retrain` here, as to make a Kubernetes Job; `serin retrain`'s options are added.
    pub command: Vec<String>,
    /// More options of `serin retrain`.
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

impl EvidentlySettings {
    fn check(&self) -> Result<(), String> {
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return Err("evidently.url: write http://… or https://…".to_owned());
        }
        if self.project.parse::<uuid::Uuid>().is_err() {
            return Err(format!("evidently.project {:?}: it is the id of a project, a UUID", self.project));
        }
        if !(1..=24 * 28).contains(&self.every_hours) {
            return Err("evidently.every_hours is from 1 to 672".to_owned());
        }
        self.secret().map(drop)
    }

    /// What its requests show.
    pub(crate) fn secret(&self) -> Result<Option<String>, String> {
        let missing = |name: &String| format!("evidently.secret_env: the environment has no {name}");
        self.secret_env.as_ref().map(|name| std::env::var(name).map_err(|_| missing(name))).transpose()
    }
}

impl Settings {
    /// What no type says.
    ///
    /// # Errors
    /// With the key and the way out.
    pub fn check(&self) -> Result<(), String> {
        for muted in &self.alerts.mute {
            let rule = muted.split(':').next().unwrap_or_default();
            if !Rule::ALL.iter().any(|known| known.name() == rule) {
                let names = Rule::ALL.map(Rule::name).join(", ");
                return Err(format!("alerts.mute {muted:?}: the rules are {names}"));
            }
        }
        for receiver in &self.alerts.to {
            receivers::check(receiver)?;
        }
        if !(1e-6..=0.5).contains(&self.guard.error) {
            return Err("guard.error is a probability from 0.000001 to 0.5".to_owned());
        }
        if !(1..=3650).contains(&self.guard.days) || self.guard.min_frauds == 0 {
            return Err("guard.days is from 1 to 3650, and guard.min_frauds from 1 up".to_owned());
        }
        if let Some(evidently) = &self.evidently {
            evidently.check()?;
        }
        if let Some(schedule) = &self.retraining.schedule {
            cron(schedule)?;
        }
        if !(1..=24 * 28).contains(&self.monitoring.window_hours) {
            return Err("monitoring.window_hours is from 1 to 672".to_owned());
        }
        Ok(())
    }
}
/// Reads the schedule of retrainings: five fields of cron, in UTC.
pub(crate) fn cron(pattern: &str) -> Result<Cron, String> {
    Cron::from_str(pattern).map_err(|error| format!("retraining.schedule {pattern:?}: {error}"))
}
