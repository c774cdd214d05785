//! The monitor's panes, into the registry's database or to the server that has it.

use crate::registry::Registry;
use serin_gateway::PaneSink;
use serin_tracking::StoredPane;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// Longer than this nobody waits: the panes come again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sink of the live monitor's panes.
#[derive(Debug)]
pub(super) struct Panes {
    pub(super) registry: Arc<dyn Registry>,
    pub(super) runtime: Handle,
    /// Whether the log says already that nobody takes them.
    pub(super) told: AtomicBool,
}

impl PaneSink for Panes {
    fn keep(&self, panes: Vec<StoredPane>) -> bool {
        let put = async { tokio::time::timeout(PATIENCE, self.registry.put_panes(panes)).await };
        let problem = match self.runtime.block_on(put) {
            Ok(Ok(())) => {
                self.told.store(false, Ordering::Relaxed);
                return true;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!("what the monitor saw cannot be handed over, and is kept in part: {problem}");
        }
        false
    }
}
