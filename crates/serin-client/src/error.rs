//! Failures of a tracking server's client, by what the caller can do about them.

use serin_artifacts::ArtifactError;
use std::path::{Path, PathBuf};

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no; asking the same again gives the same.
    #[error("{what} at {server}: {code}: {message}")]
    Refused {
        /// Route, or what was being done.
        what: String,
        /// Address of the server.
        server: String,
        /// MLflow's error code, or the HTTP status.
        code: String,
        /// The server's words.
        message: String,
    },
    /// No answer, after several tries.
    #[error("cannot reach the tracking server {server}")]
    Unreachable {
        /// Address of the server.
        server: String,
        /// Cause.
        source: reqwest::Error,
    },
    /// The client cannot be made: certificates that are none.
    #[error("cannot set up the client of {server}")]
    Setup {
        /// Address of the server.
        server: String,
        /// Cause.
        source: reqwest::Error,
    },
    /// The registry has nothing of that name.
    #[error("{what} not found{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    NotFound {
        /// Model URI, or artifact.
        what: String,
        /// The server's words, where it gave any.
        reason: Option<Box<ClientError>>,
    },
    /// The caller asks for something that cannot be asked for.
    #[error("{0}")]
    InvalidInput(String),
    /// The server's answer is not what its API promises.
    #[error("the server's answer is not understood: {0}")]
    Answer(String),
    /// The artifact store failed.
    #[error("cannot copy the model from {location}")]
    Copy {
        /// Artifact URI.
        location: String,
        /// Cause.
        source: Box<ClientError>,
    },
    /// An artifact could not be read or written.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A file of this machine could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}

impl ClientError {
    /// Names the file at which the operating system failed.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// Whether the server refused with this code, whatever it was found missing for.
    #[must_use]
    pub fn is(&self, wanted: &str) -> bool {
        match self {
            Self::Refused { code, .. } => code == wanted,
            Self::NotFound { reason: Some(reason), .. } => reason.is(wanted),
            _ => false,
        }
    }
}
