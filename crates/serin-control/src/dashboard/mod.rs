//! Pages for people: what a model decides, what is released, what drifts, what was tried. Rendered here as HTML; htmx asks for
//! the parts that change, uPlot draws what moves over time, everything else is in the page.
//!
//! Data flows one way: a page asks the store, the monitor or a data plane, and changes go through the same doors as the API's.

mod assets;
mod decision_pages;
mod decision_record;
mod decision_search;
mod drift_page;
mod experiment_pages;
mod figures;
mod home;
mod model_pages;
mod performance_page;
mod plots;
mod rollout_page;
mod run_pages;
mod settings_page;
mod visit;

use crate::state::ControlPlane;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use visit::Base;

/// Nothing of another host, nothing inline; artifacts are shown in a frame that may do nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

/// Every page, below `prefix`.
pub(crate) fn router(prefix: &str) -> Router<ControlPlane> {
    let base = Base(prefix.into());
    let pages = Router::new()
        .merge(home::router())
        .merge(rollout_page::router())
        .merge(drift_page::router())
        .merge(performance_page::router())
        .merge(decision_pages::router())
        .merge(experiment_pages::router())
        .merge(run_pages::router())
        .merge(model_pages::router())
        .merge(settings_page::router());
    pages.layer(from_fn_with_state(base, dress)).merge(assets::router())
}

/// Tells pages where they stand, turns failures into pages, and says what a page may do.
async fn dress(State(base): State<Base>, mut request: Request<Body>, next: Next) -> Response {
    request.extensions_mut().insert(base.clone());
    let mut response = visit::shown(next.run(request).await, &base);
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    response
}
