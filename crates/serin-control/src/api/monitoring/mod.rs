//! serin's own routes about what became of decisions: labels, performance, panes, drift, alerts, the guard,
//! and the jobs that look at them.

mod guard;
pub(crate) mod jobs;
pub(crate) mod labels;
mod panes;
pub(crate) mod performance;

use crate::state::ControlPlane;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

pub(crate) use panes::metrics;

/// Largest body of labels in bytes: half a million labels.
const MAX_LABELS_BODY: usize = 64 << 20;

/// Routes of monitoring, below `/v1`.
pub(crate) fn router() -> Router<ControlPlane> {
    Router::new()
        .route("/labels", post(labels::create).get(labels::history).layer(DefaultBodyLimit::max(MAX_LABELS_BODY)))
        .route("/performance", get(performance::show))
        .route("/panes", post(panes::put_panes).layer(DefaultBodyLimit::max(MAX_LABELS_BODY)))
        .route("/drift", get(panes::drift))
        .route("/guard", get(guard::show))
        .route("/alerts", get(panes::alerts))
        .route("/jobs", get(jobs::list))
        .route("/retrainings", get(panes::retrainings))
}
