//! What the environment says of tracking servers and of S3, in MLflow's names.

use serin_client::{ClientConfig, Credentials};

/// Settings of S3: `AWS_*` and `MLFLOW_S3_*`.
pub fn s3_settings() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.starts_with("MLFLOW_S3_"))
}

/// Settings of a tracking server's client: `MLFLOW_TRACKING_USERNAME`, `_PASSWORD`, `_TOKEN`, `_INSECURE_TLS` and
/// `_SERVER_CERT_PATH`.
#[must_use]
pub fn client_config() -> ClientConfig {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let password = || variable("MLFLOW_TRACKING_PASSWORD");
    let user = variable("MLFLOW_TRACKING_USERNAME").map(|user| Credentials::Password { user, password: password() });
    ClientConfig {
        credentials: user.or_else(|| variable("MLFLOW_TRACKING_TOKEN").map(Credentials::Token)),
        accept_invalid_certificates: variable("MLFLOW_TRACKING_INSECURE_TLS")
            .is_some_and(|value| value == "true" || value == "1"),
        certificates: variable("MLFLOW_TRACKING_SERVER_CERT_PATH").map(Into::into),
        s3: s3_settings().collect(),
    }
}
