//! File that the state of a rollout is kept in.

use serin_analysis::rollout::delivery::RolloutState;
use serin_decisions::replace_durably;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Most servers that keep their states in one folder.
const SERVERS: u32 = 64;

/// File of a server's state, held for as long as this value lives.
#[derive(Debug)]
pub(crate) struct StateFile {
    pub(crate) path: PathBuf,
    /// Number of the server among those of the folder, from 1.
    pub(crate) number: u32,
    _lock: File,
}

/// Reason why a server cannot keep the state of its rollout.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the file or folder.
        path: PathBuf,
        /// Error of the file system.
        source: std::io::Error,
    },
    /// As many servers as are possible keep their states beside this file.
    #[error("{}: {SERVERS} servers keep their states in this folder already", .0.display())]
    TooMany(PathBuf),
}

impl StateFileError {
    fn at(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

impl StateFile {
    /// Takes `file`, or, where another server holds it, the next one beside it that nobody holds: two servers on one
    /// folder are two replicas.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn hold(file: &Path) -> Result<Self, StateFileError> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|error| StateFileError::at(folder, error))?;
        }
        for number in 1..=SERVERS {
            let path = if number == 1 { file.to_owned() } else { file.with_extension(format!("{number}.json")) };
            let beside = path.with_extension("lock");
            let lock = File::create(&beside).map_err(|error| StateFileError::at(&beside, error))?;
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path, number, _lock: lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(StateFileError::at(&beside, error)),
            }
        }
        Err(StateFileError::TooMany(file.to_owned()))
    }

    /// State in the file; `None` where there is none yet, or it is damaged. A damaged file is kept under another name: payments
    /// are decided without it.
    ///
    /// # Errors
    /// When the file cannot be read or moved.
    pub(crate) fn read(&self, now_ms: i64) -> Result<Option<RolloutState>, StateFileError> {
        let wrong = |error| StateFileError::at(&self.path, error);
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error)),
        };
        match serde_json::from_slice(&bytes) {
            Ok(state) => Ok(Some(state)),
            Err(error) => {
                let damaged = self.path.with_extension(format!("{now_ms}.damaged"));
                std::fs::rename(&self.path, &damaged).map_err(wrong)?;
                tracing::error!(
                    "{} is no state of a rollout ({error}); it is kept as {}, and the server begins with the live version",
                    self.path.display(),
                    damaged.display()
                );
                Ok(None)
            }
        }
    }
}

/// Thread that writes the state: a disk that hangs must not keep harm from being seen.
#[derive(Debug)]
pub(crate) struct StateWriter {
    states: Sender<RolloutState>,
    thread: JoinHandle<()>,
}

impl StateWriter {
    /// Starts the thread that writes to `file`, which it holds until [`Self::finish`].
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(crate) fn start(file: StateFile) -> std::io::Result<Self> {
        let (states, received) = channel();
        let thread = std::thread::Builder::new()
            .name("rollout-state".to_owned())
            .spawn(move || write_all(&file.path, &received))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_servers_on_one_folder_have_files_of_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rollout").join("fraud.v1.json");
        let first = StateFile::hold(&file).expect("the first");
        let second = StateFile::hold(&file).expect("the second");
        assert_eq!((first.path.clone(), first.number, second.number), (file.clone(), 1, 2));
        assert_eq!(second.path.file_name().and_then(|name| name.to_str()), Some("fraud.v1.2.json"));
        drop(first);
        assert_eq!(StateFile::hold(&file).expect("free again").path, file);
    }

    #[test]
    fn a_damaged_state_is_kept_beside_and_stops_no_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("fraud.json");
        for damage in ["", "{", "null", "[]", "{}", "\0\0\0"] {
            std::fs::write(&file, damage).expect("written");
            let held = StateFile::hold(&file).expect("held");
            assert!(held.read(7).expect("it goes on").is_none(), "{damage:?}");
            assert_eq!(std::fs::read(folder.path().join("fraud.7.damaged")).expect("kept"), damage.as_bytes());
            assert!(held.read(7).expect("there is none now").is_none());
        }
    }
}
