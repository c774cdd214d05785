//! MLflow's webhooks: a URL is told of changes of the registry, signed, never at a private address.

mod address;
mod delivery;
mod handlers;
mod secret;

use crate::routes::ControlPlane;
use axum::Router;
use axum::routing::{get, post};

pub use delivery::{WebhookPolicy, Webhooks};
pub use secret::SecretKey;

/// Routes below `/api/2.0/mlflow`.
pub(crate) fn router() -> Router<ControlPlane> {
    let one = get(handlers::get).patch(handlers::update).delete(handlers::delete);
    Router::new()
        .route("/webhooks", post(handlers::create).get(handlers::list))
        .route("/webhooks/{id}", one)
        .route("/webhooks/{id}/test", post(handlers::test))
}
