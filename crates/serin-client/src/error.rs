//! Failures of a tracking server's client, by what the caller can do about them.

use serin_artifacts::ArtifactError;
use std::path::{Path, PathBuf};

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused the request; the same request is refused again.
    #[error("{what} at {server}: {code}: {message}")]
    Refused {
        /// Route of the request, or what was being done.
        what: String,
        /// Address of the server.
        server: String,
        /// MLflow's error code, or the HTTP status.
        code: String,
        /// Message of the server for people.
        message: String,
    },
    /// The server did not answer, after several tries.
    #[error("cannot reach the tracking server {server}")]
    Unreachable {
        /// Address of the server.
        server: String,
        /// Error of the last try.
        source: reqwest::Error,
    },
    /// The client cannot be made because its certificates cannot be read.
    #[error("cannot set up the client of {server}")]
    Setup {
        /// Address of the server.
        server: String,
        /// Error of the HTTP library.
        source: reqwest::Error,
    },
    /// The registry has nothing of that name.
    #[error("{what} not found{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    NotFound {
        /// Model URI or artifact that was looked for.
        what: String,
        /// Refusal of the server, where it gave one.
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
        /// Artifact URI that the model was copied from.
        location: String,
        /// Error that ended the copy.
        source: Box<ClientError>,
    },
    /// An artifact could not be read or written.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A file of this machine could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder that the operating system failed at.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
}

impl ClientError {
    /// Names the file at which the operating system failed.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// True if the server refused with this code, also where that is the reason of a `NotFound`.
    #[must_use]
    pub fn is(&self, wanted: &str) -> bool {
        match self {
            Self::Refused { code, .. } => code == wanted,
            Self::NotFound { reason: Some(reason), .. } => reason.is(wanted),
            _ => false,
        }
    }
}
