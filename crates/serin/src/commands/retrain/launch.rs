//! The server's way to retrain: a process of its own, or what an operator named.

use crate::cli::Server;
use serin_control::{Launcher, RetrainingFailure, RetrainingOrder};
use std::future::Future;
use std::pin::Pin;
use std::process::Stdio;

/// How a retraining is started.
#[derive(Debug)]
pub(crate) struct Process {
    /// Program and arguments, before the order's.
    command: Vec<String>,
    /// Options that stand after them.
    options: Vec<String>,
}

impl Process {
    /// Of a server's own binary and database, unless its configuration says otherwise.
    pub(crate) fn of(args: &Server, settings: &serin_control::Settings) -> Self {
        let retraining = &settings.retraining;
        let mut command = retraining.command.clone();
        if command.is_empty() {
            let own = std::env::current_exe().map_or_else(|_| "serin".to_owned(), |path| path.display().to_string());
            command = vec![own, "retrain".to_owned()];
            command.extend(["--state".to_owned(), args.backend.state.display().to_string()]);
            let backend = [
                ("--backend-store-uri", &args.backend.backend_store_uri),
                ("--artifacts-destination", &args.backend.artifacts_destination),
            ];
            for (name, value) in backend {
                if let Some(value) = value {
                    command.extend([name.to_owned(), value.clone()]);
                }
            }
            if let Some(log) = &args.decision_log {
                command.extend(["--decision-log".to_owned(), log.display().to_string()]);
            }
        }
        let monitoring = &settings.monitoring;
        let mut options = vec!["--maturity-days".to_owned(), monitoring.maturity_days.to_string()];
        options.extend(["--review-cost".to_owned(), monitoring.review_cost.to_string()]);
        let unlabelled = if monitoring.maturity().unlabelled_is_genuine { "genuine" } else { "excluded" };
        options.extend(["--unlabelled".to_owned(), unlabelled.to_owned()]);
        if let Some(amount) = &monitoring.amount {
            options.extend(["--amount".to_owned(), amount.clone()]);
        }
        options.extend(retraining.options.iter().cloned());
        Self { command, options }
    }
}

impl Launcher for Process {
    fn retrain(&self, order: RetrainingOrder) -> Pin<Box<dyn Future<Output = Result<(), RetrainingFailure>> + Send>> {
        let order = [
            ("--model", order.model),
            ("--cause", order.cause.to_owned()),
            ("--reason", order.reason),
            ("--as-of", order.as_of_ms.to_string()),
        ];
        let mut line = self.command.clone();
        line.extend(order.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        line.extend(self.options.iter().cloned());
        Box::pin(async move {
            let mut command = tokio::process::Command::new(&line[0]);
            command.args(&line[1..]).stdin(Stdio::null()).kill_on_drop(true);
            let done = command.output().await.map_err(|error| RetrainingFailure(format!("{}: {error}", line[0])))?;
            let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
            for printed in text.lines() {
                tracing::info!("retraining: {printed}");
            }
            if !done.status.success() {
                return Err(RetrainingFailure(format!("{} ended with {}", line[0], done.status)));
            }
            Ok(())
        })
    }
}
