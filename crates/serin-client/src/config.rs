//! Settings for reaching a tracking server.

use std::fmt;
use std::path::PathBuf;

/// Credentials that the client sends.
#[derive(Clone)]
pub enum Credentials {
    /// User name and password, sent as HTTP Basic.
    Password {
        /// User name of the account.
        user: String,
        /// Password of the account; `None` sends an empty one.
        password: Option<String>,
    },
    /// Token of the account, sent as `Authorization: Bearer`.
    Token(String),
}

impl fmt::Debug for Credentials {
    /// Writes the user name or the kind, never the password or token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user})"),
            Self::Token(_) => f.write_str("Token"),
        }
    }
}

/// Settings of a client. The program that uses this crate reads them from wherever it keeps settings.
#[derive(Clone, Default)]
pub struct ClientConfig {
    /// Sent with every request to the server, and to no other host.
    pub credentials: Option<Credentials>,
    /// Any certificate of the server is believed: for development.
    pub accept_invalid_certificates: bool,
    /// PEM file of certificates that are believed beside the system's.
    pub certificates: Option<PathBuf>,
    /// Settings of S3 by their usual names (`AWS_ACCESS_KEY_ID`, `MLFLOW_S3_ENDPOINT_URL`, …), for servers whose
    /// clients go to S3 themselves.
    pub s3: Vec<(String, String)>,
}

impl fmt::Debug for ClientConfig {
    /// Writes the settings without secrets: of S3's settings the names alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.s3.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ClientConfig")
            .field("credentials", &self.credentials)
            .field("accept_invalid_certificates", &self.accept_invalid_certificates)
            .field("certificates", &self.certificates)
            .field("s3", &names)
            .finish()
    }
}
