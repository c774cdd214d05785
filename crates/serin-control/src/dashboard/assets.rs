//! Style, scripts and the icon, in the binary. Their address holds their version, so browsers keep them.

use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const FILES: [(&str, &str, &[u8]); 6] = [
    ("app.css", "text/css", include_bytes!("../../assets/app.css")),
    ("app.js", "text/javascript", include_bytes!("../../assets/app.js")),
    ("htmx.js", "text/javascript", include_bytes!("../../assets/htmx-2.0.11.min.js")),
    ("htmx-sse.js", "text/javascript", include_bytes!("../../assets/htmx-ext-sse-2.2.4.min.js")),
    ("uplot.js", "text/javascript", include_bytes!("../../assets/uPlot-1.6.32.min.js")),
    ("uplot.css", "text/css", include_bytes!("../../assets/uPlot-1.6.32.min.css")),
];
const ICON: &[u8] = include_bytes!("../../assets/icon.svg");

/// Changes with any of the files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let sum = FILES.iter().fold(Sha256::new(), |sum, (_, _, bytes)| sum.chain_update(bytes));
    sum.chain_update(ICON).finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
});

/// Path at which a file is served, below the prefix.
pub(crate) fn path(name: &str) -> String {
    format!("/assets/{}/{name}", *VERSION)
}

pub(crate) fn router() -> Router<ControlPlane> {
    Router::new().route("/assets/{version}/{name}", get(file)).route("/favicon.ico", get(icon))
}

async fn icon() -> Response {
    sent("image/svg+xml", ICON)
}

async fn file(Path((_, name)): Path<(String, String)>) -> Result<Response, ControlError> {
    if name == "icon.svg" {
        return Ok(icon().await);
    }
    let found = FILES.iter().find(|(known, ..)| *known == name);
    found
        .map(|(_, kind, bytes)| sent(kind, bytes))
        .ok_or_else(|| ControlError::mlflow("ENDPOINT_NOT_FOUND", format!("no asset {name}")))
}

fn sent(kind: &'static str, bytes: &'static [u8]) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")], bytes)
        .into_response()
}
