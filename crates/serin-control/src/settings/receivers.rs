//! Receivers of alerts: their ids, and checks of their settings.

use super::{InvalidSetting, Receiver};
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, Tokio1Executor};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Longest wait for a mail server.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Receiver {
    /// Id of the receiver in the database and in the log: its kind and 16 hex digits of a hash of its address, which may be a
    /// secret.
    pub(crate) fn id(&self) -> String {
        let (kind, address) = match self {
            Self::Webhook { url } => ("webhook", url.clone()),
            Self::Slack { url } => ("slack", url.clone()),
            Self::Alertmanager { url } => ("alertmanager", url.clone()),
            Self::Email { smtp, from, to, .. } => ("email", format!("{smtp}\n{from}\n{to}")),
        };
        let hash = Sha256::digest(address.as_bytes());
        let digits: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{kind}-{digits}")
    }
}

/// Checks the URL, or the mail addresses and server, of a receiver; the error names the key.
pub(crate) fn check(receiver: &Receiver) -> Result<(), InvalidSetting> {
    match receiver {
        Receiver::Webhook { url } | Receiver::Slack { url } | Receiver::Alertmanager { url } => {
            let plain = url.starts_with("http://") || url.starts_with("https://");
            if plain { Ok(()) } else { Err(InvalidSetting::new("alerts.to url: write http://… or https://…")) }
        }
        Receiver::Email { smtp, from, to, .. } => {
            for (name, address) in [("from", from), ("to", to)] {
                address
                    .parse::<lettre::message::Mailbox>()
                    .map_err(|error| InvalidSetting(format!("alerts.to {name} {address:?}: {error}")))?;
            }
            transport(smtp, None).map(drop)
        }
    }
}

pub(crate) fn transport(
    smtp: &str,
    password_env: Option<&str>,
) -> Result<AsyncSmtpTransport<Tokio1Executor>, InvalidSetting> {
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(smtp)
        .map_err(|error| InvalidSetting(format!("alerts.to smtp {:?}: {error}", smtp_host(smtp))))?
        .timeout(Some(TIMEOUT));
    if let Some(variable) = password_env {
        let password = std::env::var(variable)
            .map_err(|_| InvalidSetting(format!("alerts.to password_env: the environment has no {variable}")))?;
        let user = smtp.split("://").nth(1).and_then(|rest| rest.split_once('@')).map_or("", |(user, _)| user);
        builder = builder.credentials(Credentials::new(user.replace("%40", "@"), password));
    }
    Ok(builder.build())
}

/// Part of a URL behind the `@`; what stands before it may be a secret.
pub(crate) fn smtp_host(url: &str) -> &str {
    url.rsplit('@').next().unwrap_or_default()
}
