//! MLflow's webhooks: a URL is told of changes of the registry, signed, never at a private address.

pub(crate) mod address;
mod delivery;
mod secret;

pub use delivery::{WebhookPolicy, Webhooks};
pub use secret::SecretKey;
