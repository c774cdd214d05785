//! File that the state of a rollout is kept in.

use serin_analysis::rollout::delivery::RolloutState;
use serin_decisions::replace_durably;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// State in a file; `None` where there is no file yet.
///
/// # Errors
/// When the file cannot be read, or does not hold the state of a rollout.
pub(crate) fn read(file: &Path) -> Result<Option<RolloutState>, String> {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", file.display())),
    };
    let wrong = |error| format!("{}: {error}; move it away to start anew", file.display());
    serde_json::from_slice(&bytes).map(Some).map_err(wrong)
}

/// Thread that writes the state: a disk that hangs must not keep harm from being seen.
#[derive(Debug)]
pub(crate) struct StateWriter {
    states: Sender<RolloutState>,
    thread: JoinHandle<()>,
}

impl StateWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(crate) fn start(file: PathBuf) -> std::io::Result<Self> {
        let (states, received) = channel();
        let thread =
            std::thread::Builder::new().name("rollout-state".to_owned()).spawn(move || write_all(&file, &received))?;
        Ok(Self { states, thread })
    }

    /// Writes a state soon; one that waits still is left out.
    pub(crate) fn keep(&self, state: RolloutState) {
        // The thread ends with this writer.
        let _ = self.states.send(state);
    }

    /// Returns when everything is written.
    pub(crate) fn finish(self) {
        drop(self.states);
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes the state of the rollout has panicked");
        }
    }
}

fn write_all(file: &Path, states: &Receiver<RolloutState>) {
    while let Ok(state) = states.recv() {
        let newest = states.try_iter().last().unwrap_or(state);
        let written = serde_json::to_vec_pretty(&newest).map_err(std::io::Error::other).and_then(|bytes| {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            replace_durably(file, &bytes)
        });
        // A disk that is full must not stop the rollout.
        if let Err(error) = written {
            tracing::error!("{}: the state of the rollout cannot be kept: {error}", file.display());
        }
    }
}
