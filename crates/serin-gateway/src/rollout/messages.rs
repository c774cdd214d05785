//! Alerts in the shapes that chats take.

use serde_json::{Value, json};
use serin_analysis::rollout::Event;
use serin_analysis::rollout::canary::{AlertKind, AlertSpec, Severity};

/// The body for a provider's incoming webhook.
pub(crate) fn message(kind: AlertKind, spec: &AlertSpec, model: &str, version: &str, event: &Event) -> Value {
    let title = format!("{model}, version {version}");
    let colour = match event.severity {
        Severity::Info => "good",
        Severity::Warn => "warning",
        Severity::Error => "danger",
    };
    match kind {
        AlertKind::Slack | AlertKind::Discord | AlertKind::Rocket => json!({
            "channel": spec.channel.as_deref().unwrap_or("general"),
            "username": spec.username.as_deref().unwrap_or("serin"),
            "attachments": [{ "color": colour, "author_name": title, "text": event.message, "mrkdwn_in": ["text"] }],
        }),
        AlertKind::Msteams => json!({
            "@type": "MessageCard", "@context": "http://schema.org/extensions", "summary": title,
            "themeColor": if event.severity == Severity::Error { "FF0000" } else { "0076D7" },
            "sections": [{ "activityTitle": event.message, "activitySubtitle": title }],
        }),
        AlertKind::Generic => {
            json!({ "severity": event.severity, "model": model, "version": version, "message": event.message })
        }
        AlertKind::Alertmanager => json!([{
            "labels": { "alertname": "SerinRollout", "severity": event.severity, "model": model, "version": version },
            "annotations": { "summary": event.message },
        }]),
        AlertKind::Gchat => json!({ "text": format!("*{title}*: {}", event.message) }),
    }
}
