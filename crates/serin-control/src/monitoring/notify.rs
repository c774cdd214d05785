//! Telling people and programs of alerts. What cannot be told is logged; the history has it in any case.

use crate::settings::{AlertSettings, Receiver, smtp_host, transport};
use lettre::message::header::ContentType;
use lettre::{AsyncTransport, Message};
use serde_json::{Value, json};
use serin_analysis::monitor::Change;
use std::time::Duration;

const TRIES: u32 = 4;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Message to receivers: an alert that began or ended.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    model: String,
    rule: &'static str,
    subject: String,
    severity: &'static str,
    began: bool,
    at_ms: i64,
    message: String,
}

impl Notice {
    pub(crate) fn of(model: &str, change: &Change, at_ms: i64) -> Self {
        Self {
            model: model.to_owned(),
            rule: change.rule.name(),
            subject: change.subject.clone(),
            severity: severity(change),
            began: change.began,
            at_ms,
            message: change.message.clone(),
        }
    }

    fn line(&self) -> String {
        let state = if self.began { self.severity.to_uppercase() } else { "over".to_owned() };
        format!("[{state}] {}: {} {}: {}", self.model, self.rule, self.subject, self.message)
    }
}

pub(crate) fn severity(change: &Change) -> &'static str {
    if change.rule.is_critical() { "critical" } else { "warning" }
}

/// Tells every receiver, each on its own.
pub(crate) fn tell(settings: &AlertSettings, notice: &Notice) {
    for receiver in settings.to.clone() {
        let notice = notice.clone();
        tokio::spawn(async move {
            let mut wait = Duration::from_millis(500);
            for attempt in 1..=TRIES {
                match send(&receiver, &notice).await {
                    Ok(()) => return,
                    Err(error) if attempt == TRIES => {
                        tracing::error!("an alert was not delivered: {error}; it says: {}", notice.line());
                    }
                    Err(error) => tracing::debug!("an alert is not delivered yet: {error}"),
                }
                tokio::time::sleep(wait).await;
                wait *= 4;
            }
        });
    }
}

async fn send(receiver: &Receiver, notice: &Notice) -> Result<(), String> {
    match receiver {
        Receiver::Webhook { url } => post(url, &webhook(notice), None).await,
        Receiver::Slack { url } => post(url, &slack(notice), None).await,
        Receiver::Alertmanager { url } => {
            post(&format!("{}/api/v2/alerts", url.trim_end_matches('/')), &alertmanager(notice), None).await
        }
        Receiver::Email { smtp, from, to, password_env } => {
            let mail = Message::builder()
                .from(from.parse().map_err(|error| format!("alerts.to from {from:?}: {error}"))?)
                .to(to.parse().map_err(|error| format!("alerts.to to {to:?}: {error}"))?)
                .subject(format!("serin {}: {} {}", notice.model, notice.rule, notice.subject))
                .header(ContentType::TEXT_PLAIN)
                .body(format!("{}\n\nat {}\n", notice.line(), time(notice.at_ms)))
                .map_err(|error| error.to_string())?;
            let transport = transport(smtp, password_env.as_deref())?;
            transport.send(mail).await.map(drop).map_err(|error| format!("mail by {}: {error}", smtp_host(smtp)))
        }
    }
}

/// Posts JSON, with a header where one is named.
pub(crate) async fn post(url: &str, body: &Value, header: Option<(&str, &str)>) -> Result<(), String> {
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(|error| error.to_string())?;
    // An address of a chat is a secret: its host is enough to find it.
    let host = url.split('/').nth(2).unwrap_or_default().to_owned();
    let request = client.post(url).json(body);
    let request = match header {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    let answer = request.send().await.map_err(|error| format!("{host}: {}", error.without_url()))?;
    if answer.status().is_success() { Ok(()) } else { Err(format!("{host} answers {}", answer.status())) }
}

fn webhook(notice: &Notice) -> Value {
    json!({
        "model": notice.model, "rule": notice.rule, "subject": notice.subject, "severity": notice.severity,
        "state": if notice.began { "firing" } else { "resolved" }, "at": notice.at_ms, "message": notice.message,
    })
}

fn slack(notice: &Notice) -> Value {
    let colour = match (notice.began, notice.severity) {
        (false, _) => "good",
        (true, "critical") => "danger",
        _ => "warning",
    };
    json!({ "text": notice.line(), "attachments": [{ "color": colour, "text": notice.message }] })
}

fn alertmanager(notice: &Notice) -> Value {
    let at = time(notice.at_ms);
    let mut alert = json!({
        "labels": {
            "alertname": "SerinMonitor", "model": notice.model, "rule": notice.rule, "subject": notice.subject,
            "severity": notice.severity,
        },
        "annotations": { "summary": notice.message },
    });
    alert[if notice.began { "startsAt" } else { "endsAt" }] = json!(at);
    json!([alert])
}

fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}
