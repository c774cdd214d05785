//! Messages to receivers of alerts, and how they are sent.

use crate::settings::{InvalidSetting, Receiver, smtp_host, transport};
use lettre::message::header::ContentType;
use lettre::{AsyncTransport, Message};
use serde_json::{Value, json};
use serin_store::{Alert, AlertNotice};
use std::time::Duration;

/// Longest time for one message.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which Alertmanager takes an alert to be on after it was told so, milliseconds.
const ALERT_LASTS_MS: i64 = 300_000;

/// Reason why a message did not arrive. None of them holds an address beyond its host, as addresses of chats are secrets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The receiver could not be reached, or broke off.
    #[error("{host}: {reason}")]
    Unreachable {
        /// Host of the receiver.
        host: String,
        /// Error of the connection, without the URL.
        reason: String,
    },
    /// The receiver answered something else than success.
    #[error("{host} answers {status}")]
    Refused {
        /// Host of the receiver.
        host: String,
        /// HTTP status of the answer.
        status: u16,
    },
    /// The settings do not allow to send anything.
    #[error("{0}")]
    Settings(#[from] InvalidSetting),
}

/// One line of text about a notice.
pub(crate) fn line(notice: &AlertNotice) -> String {
    let AlertNotice { model, rule, subject, message, .. } = notice;
    let state = if notice.began { notice.severity.to_uppercase() } else { "over".to_owned() };
    format!("[{state}] {model}: {rule} {subject}: {message}")
}

/// Sends a notice to a receiver. `now_ms` is the time now, epoch milliseconds.
pub(crate) async fn send(receiver: &Receiver, notice: &AlertNotice, now_ms: i64) -> Result<(), SendError> {
    match receiver {
        Receiver::Webhook { url } => post(url, &webhook(notice), None).await,
        Receiver::Slack { url } => post(url, &slack(notice), None).await,
        Receiver::Alertmanager { url } => {
            let ends_ms = if notice.began { now_ms + ALERT_LASTS_MS } else { notice.at_ms.min(now_ms) };
            let labels = [&notice.model, &notice.rule, &notice.subject, &notice.severity];
            let alert = alertmanager(labels, &notice.message, notice.fired_at_ms.min(now_ms), ends_ms);
            post(&alertmanager_url(url), &json!([alert]), None).await
        }
        Receiver::Email { smtp, from, to, password_env } => {
            let invalid = |name: &str, error: &dyn std::fmt::Display| {
                SendError::Settings(InvalidSetting(format!("alerts.to {name} is no mail address: {error}")))
            };
            let mail = Message::builder()
                .from(from.parse().map_err(|error| invalid("from", &error))?)
                .to(to.parse().map_err(|error| invalid("to", &error))?)
                .subject(format!("serin {}: {} {}", notice.model, notice.rule, notice.subject))
                .header(ContentType::TEXT_PLAIN)
                .body(format!("{}\n\nat {}\n", line(notice), time(notice.at_ms)))
                .map_err(|error| SendError::Settings(InvalidSetting(error.to_string())))?;
            let transport = transport(smtp, password_env.as_deref())?;
            let host = smtp_host(smtp).to_owned();
            let failed =
                |error: lettre::transport::smtp::Error| SendError::Unreachable { host, reason: error.to_string() };
            transport.send(mail).await.map(drop).map_err(failed)
        }
    }
}

/// Tells an Alertmanager of alerts that are on; it forgets each one five minutes after it was told last.
pub(crate) async fn repeat(url: &str, on: &[Alert], now_ms: i64) -> Result<(), SendError> {
    let told = on.iter().map(|alert| {
        let labels = [&alert.model, &alert.rule, &alert.subject, &alert.severity];
        alertmanager(labels, &alert.message, alert.fired_at_ms.min(now_ms), now_ms + ALERT_LASTS_MS)
    });
    post(&alertmanager_url(url), &Value::Array(told.collect()), None).await
}

/// Posts JSON, with a header where one is named.
pub(crate) async fn post(url: &str, body: &Value, header: Option<(&str, &str)>) -> Result<(), SendError> {
    // An address of a chat is a secret: its host is enough to find it.
    let host = url.split('/').nth(2).unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned();
    let unreachable =
        |error: reqwest::Error| SendError::Unreachable { host: host.clone(), reason: error.without_url().to_string() };
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(unreachable)?;
    let request = client.post(url).json(body);
    let request = match header {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(SendError::Refused { host, status: status.as_u16() }) }
}

fn webhook(notice: &AlertNotice) -> Value {
    json!({
        "id": notice.id, "model": notice.model, "rule": notice.rule, "subject": notice.subject,
        "severity": notice.severity, "state": if notice.began { "firing" } else { "resolved" }, "at": notice.at_ms,
        "message": notice.message,
    })
}

fn slack(notice: &AlertNotice) -> Value {
    let colour = match (notice.began, notice.severity.as_str()) {
        (false, _) => "good",
        (true, "critical") => "danger",
        _ => "warning",
    };
    json!({ "text": line(notice), "attachments": [{ "color": colour, "text": notice.message }] })
}

fn alertmanager_url(url: &str) -> String {
    format!("{}/api/v2/alerts", url.trim_end_matches('/'))
}

/// Alert in Alertmanager's shape. `starts_ms` may not be after `ends_ms`, epoch milliseconds.
fn alertmanager([model, rule, subject, severity]: [&String; 4], message: &str, starts_ms: i64, ends_ms: i64) -> Value {
    json!({
        "labels": {
            "alertname": "SerinMonitor", "model": model, "rule": rule, "subject": subject, "severity": severity,
        },
        "annotations": { "summary": message },
        "startsAt": time(starts_ms),
        "endsAt": time(ends_ms),
    })
}

fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string())
}
