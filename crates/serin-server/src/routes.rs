//! The API at a glance.

use crate::access::{self, Access};
use crate::dashboard::DataPlanes;
use crate::http::api_keys::ApiKeys;
use crate::http::error::ApiError;
use crate::http::guard::{self, Allowed};
use crate::http::openapi::Contract;
use crate::metrics::Metrics;
use crate::monitoring::watch::Board;
use crate::monitoring::{LiveMonitor, Monitoring, Settings};
use crate::rollout::Release;
use crate::scoring::decide::DecisionKeeping;
use crate::scoring::exploration::Exploration;
use crate::scoring::fallback::FallbackPolicy;
use crate::scoring::models::Models;
use crate::scoring::shadow::Shadow;
use crate::webhooks::{self, Webhooks};
use crate::{about, artifacts, dashboard, monitoring, registry, rollout, scoring, tracking};
#[cfg(not(feature = "docs"))]
use axum::Json;
use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::response::Redirect;
use axum::routing::{get, post};
use serin_store::{Change, DecisionIds, Store, User};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;

/// What one request may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Rows of a request.
    pub rows: usize,
}

impl Default for Limits {
    /// 8 MiB, 10,000 rows.
    fn default() -> Self {
        Self { body_bytes: 8 << 20, rows: 10_000 }
    }
}

/// State of the data plane; cheap to clone.
#[derive(Debug, Clone)]
pub struct DataPlane {
    /// The models that answer.
    pub models: Models,
    /// Where decisions are kept; nowhere without it.
    pub decisions: Option<DecisionKeeping>,
    /// Names decisions.
    pub ids: Arc<DecisionIds>,
    /// Candidates that score what was decided.
    pub shadow: Option<Arc<Shadow>>,
    /// Who gets the first model's traffic while a version is released, and the task that moves it.
    pub release: Option<Release>,
    /// Watches what models see and say.
    pub monitor: Option<Arc<LiveMonitor>>,
    /// Which alerts are let through, to learn what becomes of them.
    pub exploration: Option<Exploration>,
    /// What decides where a model cannot, or not in time.
    pub fallback: Arc<FallbackPolicy>,
    /// Time for a request, from its head to its decisions.
    pub deadline: Option<Duration>,
    /// Keys that callers must show; anybody may call without them.
    pub keys: Option<ApiKeys>,
    /// Epoch milliseconds now.
    pub clock: fn() -> i64,
    /// Limits of a request.
    pub limits: Limits,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
}

impl DataPlane {
    /// Whether every model can answer, or what is declared to answer in its place.
    pub(crate) fn ready(&self) -> bool {
        self.models.slots().iter().all(|slot| slot.can_answer(&self.fallback))
    }
}

/// Every route of `serin serve`.
pub fn data_plane(state: DataPlane) -> Router {
    Router::new()
        .merge(scoring::router(state.limits))
        .route("/v1/drift/exact", get(monitoring::exact::exact))
        .route("/v1/rollout", get(rollout::handlers::status))
        .route("/v1/rollout/{action}", post(rollout::handlers::control))
        .merge(contract())
        .layer(CatchPanicLayer::new())
        .with_state(state)
}

/// The contract, and pages to read it and to try it.
#[cfg(feature = "docs")]
fn contract() -> Router<DataPlane> {
    utoipa_swagger_ui::SwaggerUi::new("/docs").url("/openapi.json", Contract::openapi()).into()
}

/// The contract.
#[cfg(not(feature = "docs"))]
fn contract() -> Router<DataPlane> {
    let no_pages = || async { ApiError::NotFound("this serin was built without pages: read /openapi.json".to_owned()) };
    Router::new().route("/openapi.json", get(|| async { Json(Contract::openapi()) })).route("/docs", get(no_pages))
}

/// State of the control plane; cheap to clone.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// Database and artifacts.
    pub store: Store,
    /// Tells others of changes of the registry.
    pub webhooks: Webhooks,
    /// Where monitoring finds what it looks at.
    pub monitoring: Monitoring,
    /// What an operator decided about it.
    pub settings: Settings,
    /// Scoring servers whose rollouts and traffic pages show.
    pub data_planes: DataPlanes,
    pub(crate) board: Board,
    /// Epoch milliseconds now.
    pub clock: fn() -> i64,
}

impl ControlPlane {
    /// On a database, with the clock that it goes by.
    #[must_use]
    pub fn new(
        store: Store,
        webhooks: Webhooks,
        monitoring: Monitoring,
        settings: Settings,
        data_planes: DataPlanes,
        clock: fn() -> i64,
    ) -> Self {
        Self { store, webhooks, monitoring, settings, data_planes, board: Board::default(), clock }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.clock)()
    }

    pub(crate) fn change(&self, caller: &Caller, reason: &str) -> Change {
        // Who it is nobody may say of himself where it is known.
        let actor = match (caller.user(), &caller.stated[0]) {
            (Some(user), Some(program)) => format!("{user} ({program})"),
            (Some(user), None) => user.to_owned(),
            (None, Some(program)) => program.clone(),
            (None, None) => "anonymous".to_owned(),
        };
        let reason = caller.stated[1].clone().unwrap_or_else(|| reason.to_owned());
        Change { actor, reason, at_ms: self.now_ms() }
    }
}

/// Characters of what a caller says of a change.
const MAX_STATED: usize = 2000;

/// Who sent the request; nobody knows without authentication.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) user: Option<Arc<User>>,
    /// Program that asks and why, as it says itself (`serin-actor`, `serin-reason`, percent-encoded): for the ledger.
    stated: [Option<String>; 2],
}

impl Caller {
    pub(crate) fn of(user: Arc<User>) -> Self {
        Self { user: Some(user), stated: [None, None] }
    }

    /// Program or person that asks, as it says itself.
    pub(crate) fn program(&self) -> Option<String> {
        self.stated[0].clone()
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref().map(|user| user.name.as_str())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let mut caller = parts.extensions.get::<Self>().cloned().unwrap_or_default();
        caller.stated = ["serin-actor", "serin-reason"].map(|name| {
            let text = percent_encoding::percent_decode(parts.headers.get(name)?.as_bytes()).decode_utf8().ok()?;
            Some(text.chars().take(MAX_STATED).collect())
        });
        Ok(caller)
    }
}

/// Who is served.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// By host and origin.
    pub allowed: Allowed,
    /// Everybody says who they are; without it everybody may do everything.
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
        .route("/v1/evidence", post(rollout::evidence::share))
        .route("/metrics", get(monitoring::handlers::metrics))
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
