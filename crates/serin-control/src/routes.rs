//! The tracking server's API at a glance.

use crate::access::{self, Access};
use crate::api::{about, artifacts, evidence, monitoring, registry, tracking, webhooks};
use crate::dashboard;
use crate::state::ControlPlane;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Redirect;
use axum::routing::{get, post};
use serin_http::ApiError;
use serin_http::guard::{self, Allowed};
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// Rules for which requests are served.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Hosts and origins that are allowed.
    pub allowed: Allowed,
    /// True if every caller must authenticate; otherwise everybody may do everything.
    pub authenticate: bool,
}

/// Every route of `serin server`, below `prefix` (empty, or such as `/mlflow`).
pub fn control_plane(state: ControlPlane, policy: Policy, prefix: &str) -> Router {
    let mlflow = || tracking::router().merge(registry::router()).merge(artifacts::router()).merge(webhooks::router());
    // MLflow's clients and its browser UI reach the same handlers under different prefixes.
    let api = |root: &str| {
        Router::new()
            .nest(&format!("{root}/2.0/mlflow"), mlflow())
            .nest(&format!("{root}/2.0/mlflow-artifacts"), artifacts::proxied())
            .route(&format!("{root}/3.0/mlflow/server-info"), get(about::server_info))
    };
    let routes = Router::new()
        .merge(api("/api"))
        .merge(api("/ajax-api"))
        .merge(artifacts::downloads())
        .nest("/ajax-api/2.0/mlflow", artifacts::downloads())
        .nest("/api/v1", registry::own_router())
        .nest("/v1", monitoring::router())
        .route("/v1/evidence", post(evidence::share))
        .route("/metrics", get(monitoring::metrics))
        .merge(dashboard::router(prefix))
        .route("/health", get(about::health))
        .route("/version", get(about::version))
        .fallback(|method, uri| async move { guard::unknown(&method, &uri) })
        .method_not_allowed_fallback(|| async {
            ApiError::mlflow("METHOD_NOT_ALLOWED", "this route is there for another HTTP method")
        });
    // Inside the prefix, so that the rules see the same paths whatever it is.
    let routes = if policy.authenticate {
        routes.layer(from_fn_with_state(Arc::new(Access::new(state.clone())), access::authorise))
    } else {
        routes
    };
    let routes = if prefix.is_empty() {
        routes
    } else {
        let home = prefix.to_owned();
        let outside = Router::new()
            .route("/health", get(about::health))
            .route("/version", get(about::version))
            .route(&format!("{prefix}/"), get(|| async move { Redirect::permanent(&home) }));
        outside.nest(prefix, routes).fallback(|method, uri| async move { guard::unknown(&method, &uri) })
    };
    routes
        .layer(from_fn_with_state(Arc::new(policy.allowed), guard::guard))
        .layer(CatchPanicLayer::new())
        .with_state(state)
}
