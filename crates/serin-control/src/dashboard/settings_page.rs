//! Page of the settings: alerts and their history, jobs, triggers, retrainings, users, what is loaded where.

use super::figures::{lasting, number, opt_when, when};
use super::visit::{Failure, Page, Visit, render};
use crate::api::about::MLFLOW;
use crate::api::monitoring::jobs::keep_visible;
use crate::state::ControlPlane;
use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serin_store::{Permission, Resource};

/// Alerts and retrainings that are shown.
const MOST: i64 = 100;

pub(crate) fn router() -> Router<ControlPlane> {
    Router::new().route("/settings", get(show))
}

struct JobRow {
    name: String,
    model: String,
    ended: String,
    succeeded: String,
    runs: String,
    failures: String,
    is_failing: bool,
    error: String,
}

struct AlertRow {
    model: String,
    rule: String,
    severity: String,
    message: String,
    fired: String,
    ended: String,
    is_on: bool,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    page: Page,
    version: &'static str,
    mlflow: &'static str,
    artifacts: String,
    decisions: String,
    servers: Vec<(String, Vec<[String; 3]>, String)>,
    alerts: Vec<AlertRow>,
    jobs: Vec<JobRow>,
    receivers: Vec<String>,
    triggers: Vec<(&'static str, String)>,
    retrainings: Vec<[String; 6]>,
    users: Option<Vec<[String; 3]>>,
    authenticates: bool,
}

async fn show(visit: Visit) -> Result<Response, Failure> {
    let (models, _) = visit.model().await?;
    let (store, settings) = (&visit.state.store, &visit.state.settings);
    let mut alerts = store.alerts("", MOST, 0).await?;
    visit.caller.keep_visible(&mut alerts, |alert| Resource::RegisteredModel(alert.model.clone()));
    let alerts = alerts.into_iter().map(|alert| AlertRow {
        is_on: alert.resolved_at_ms.is_none(),
        model: alert.model,
        rule: format!("{} {}", alert.rule, alert.subject),
        severity: alert.severity,
        message: alert.message,
        fired: when(alert.fired_at_ms),
        ended: opt_when(alert.resolved_at_ms),
    });
    let mut jobs = store.jobs().await?;
    keep_visible(&visit.caller, &mut jobs);
    let jobs = jobs.into_iter().map(|job| JobRow {
        // The last run failed where no success came after it.
        is_failing: job.failed_at_ms > job.succeeded_at_ms,
        name: job.name,
        model: job.model,
        ended: opt_when(job.ended_at_ms),
        succeeded: opt_when(job.succeeded_at_ms),
        runs: job.runs.to_string(),
        failures: job.failures.to_string(),
        error: job.error.unwrap_or_default(),
    });
    let mut retrainings = Vec::new();
    for model in &models {
        for one in store.retrainings(model, 20).await? {
            retrainings.push([
                when(one.started_at_ms),
                model.clone(),
                format!("{}: {}", one.cause, one.reason),
                one.ended_at_ms.map_or_else(|| "runs".to_owned(), |end| lasting(end - one.started_at_ms)),
                one.outcome.unwrap_or_default(),
                format!(
                    "{} {}",
                    one.version.map_or_else(String::new, |v| format!("version {v}")),
                    one.verdict.unwrap_or_default()
                ),
            ]);
        }
    }
    let users = if visit.is_admin() { Some(store.users().await?) } else { None };
    let users = users.map(|users| {
        let role = |user: &serin_store::User| if user.is_admin { "administrator" } else { user.permission.as_str() };
        users.iter().map(|user| [user.name.clone(), role(user).to_owned(), user.grants.len().to_string()]).collect()
    });
    render(&SettingsPage {
        page: visit.page("Settings", "Settings"),
        version: env!("CARGO_PKG_VERSION"),
        mlflow: MLFLOW,
        artifacts: if visit.is_admin() { store.artifacts().root().to_owned() } else { "–".to_owned() },
        decisions: match &visit.state.monitoring.decisions {
            Some(folder) if visit.is_admin() => {
                format!("{}{}", folder.display(), if folder.is_dir() { "" } else { " (not there yet)" })
            }
            _ => "–".to_owned(),
        },
        servers: servers(&visit).await,
        alerts: alerts.collect(),
        jobs: jobs.collect(),
        receivers: receivers(settings),
        triggers: triggers(settings),
        retrainings,
        users,
        authenticates: visit.caller.user.is_some(),
    })
}

async fn servers(visit: &Visit) -> Vec<(String, Vec<[String; 3]>, String)> {
    let found = visit.state.data_planes.metrics().await.into_iter();
    found
        .map(|(address, answer)| match answer {
            Ok((_, loaded)) => {
                let may =
                    |name: &str| visit.must(Permission::Read, &Resource::RegisteredModel(name.to_owned())).is_ok();
                let loaded = loaded.into_iter().filter(|model| may(&model.name));
                let loaded = loaded.map(|model| [model.name, model.version, model.sha256.chars().take(12).collect()]);
                (address, loaded.collect(), String::new())
            }
            Err(error) => (address, Vec::new(), error.to_string()),
        })
        .collect()
}

/// Receivers of alerts, without what is secret in an address.
fn receivers(settings: &crate::settings::Settings) -> Vec<String> {
    use crate::settings::Receiver;
    let host = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned()
    };
    let told = |receiver: &Receiver| match receiver {
        Receiver::Webhook { url } => format!("webhook at {}", host(url)),
        Receiver::Slack { url } => format!("Slack's shape to {}", host(url)),
        Receiver::Alertmanager { url } => format!("Alertmanager at {}", host(url)),
        Receiver::Email { to, .. } => format!("e-mail to {to}"),
    };
    settings.alerts.to.iter().map(told).collect()
}

fn triggers(settings: &crate::settings::Settings) -> Vec<(&'static str, String)> {
    let (monitoring, retraining, guard) = (&settings.monitoring, &settings.retraining, &settings.guard);
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    vec![
        ("Window of live traffic", format!("{} h", monitoring.window_hours)),
        ("False alarms of drift", format!("one in {} days, over all columns", number(monitoring.days_between_alarms))),
        ("Labels are complete after", format!("{} days", number(monitoring.maturity_days))),
        ("Column with the money", monitoring.amount.clone().unwrap_or_else(|| "none: labels' own amounts".to_owned())),
        ("Cost of a review", number(monitoring.review_cost)),
        (
            "An alert begins after",
            format!("{} looks in a row, ends after {}", settings.alerts.begin, settings.alerts.end),
        ),
        ("Muted", if settings.alerts.mute.is_empty() { "nothing".to_owned() } else { settings.alerts.mute.join(", ") }),
        ("Retrains by itself", yes(retraining.enabled)),
        ("… on schedule (UTC)", retraining.schedule.clone().unwrap_or_else(|| "none".to_owned())),
        ("… on drift, on performance", format!("{}, {}", yes(retraining.on_drift), yes(retraining.on_performance))),
        ("… on new labels", retraining.on_labels.map_or_else(|| "no".to_owned(), |labels| labels.to_string())),
        (
            "… at most",
            format!("{} in seven days, {} days apart", retraining.most_a_week, number(retraining.cool_down_days)),
        ),
        ("Undoes a promotion that labels speak against", yes(guard.rollback)),
        ("… with an error of at most", number(guard.error)),
    ]
}
