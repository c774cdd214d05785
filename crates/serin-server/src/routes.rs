//! The API at a glance.

use crate::http::openapi::Contract;
use crate::scoring;
use crate::scoring::live_model::ModelSlot;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

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
    /// The live model.
    pub model: Arc<ModelSlot>,
    /// Limits of a request.
    pub limits: Limits,
    /// Renders `/metrics`.
    pub prometheus: PrometheusHandle,
}

/// Every route of `serin serve`.
pub fn data_plane(state: DataPlane) -> Router {
    Router::new()
        .merge(scoring::router(state.limits))
        .merge(SwaggerUi::new("/docs").url("/openapi.json", Contract::openapi()))
        .layer(CatchPanicLayer::new())
        .with_state(state)
}
