//! State of the tracking server.

use crate::caller::Caller;
use crate::data_planes::DataPlanes;
use crate::jobs::{Context, Jobs, Launcher};
use crate::monitoring::{Board, Monitoring, Sources};
use crate::settings::Settings;
use crate::webhooks::Webhooks;
use serin_store::Store;
use serin_tracking::{Change, Precondition};
use std::sync::Arc;

/// State of the control plane; cheap to clone.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// Database and artifacts of the server.
    pub store: Store,
    /// Webhooks that are told of changes of the registry.
    pub webhooks: Webhooks,
    /// Places where monitoring finds its data.
    pub monitoring: Monitoring,
    /// Settings of monitoring, as the operator decided.
    pub settings: Settings,
    /// Scoring servers whose rollouts and traffic the pages show.
    pub data_planes: DataPlanes,
    pub(crate) board: Board,
    /// Clock that returns the time now, epoch milliseconds.
    pub clock: fn() -> i64,
}

impl ControlPlane {
    /// State on a database, with the clock that the server goes by.
    #[must_use]
    pub fn new(
        store: Store,
        webhooks: Webhooks,
        monitoring: Monitoring,
        settings: Settings,
        data_planes: DataPlanes,
        clock: fn() -> i64,
    ) -> Self {
        Self { store, webhooks, monitoring, settings, data_planes, board: Board::default(), clock }
    }

    /// Everything that the server does by itself; `launcher` starts retrainings.
    #[must_use]
    pub fn jobs(&self, launcher: Option<Arc<dyn Launcher>>) -> Jobs {
        Jobs::new(Context {
            store: self.store.clone(),
            monitoring: self.monitoring.clone(),
            settings: self.settings.clone(),
            board: self.board.clone(),
            clock: self.clock,
            launcher,
        })
    }

    /// Data that questions about decisions are answered from, now.
    pub(crate) fn sources(&self) -> Sources<'_> {
        Sources { store: &self.store, monitoring: &self.monitoring, settings: &self.settings, now_ms: self.now_ms() }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    pub(crate) fn change(&self, caller: &Caller, reason: &str) -> Change {
        // Who it is nobody may say of himself where it is known.
        let actor = match (caller.user(), &caller.statement.actor) {
            (Some(user), Some(program)) => format!("{user} ({program})"),
            (Some(user), None) => user.to_owned(),
            (None, Some(program)) => program.clone(),
            (None, None) => "anonymous".to_owned(),
        };
        let reason = caller.statement.reason.clone().unwrap_or_else(|| reason.to_owned());
        let only_if = Precondition { leader: caller.statement.leader.clone(), version: caller.statement.replaces };
        Change { actor, reason, at_ms: self.now_ms(), only_if }
    }
}
