//! `GET /api/v1/models/{name}/history`: who held which alias or stage when, and why.

use super::wire;
use crate::api::tracking::paged;
use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;
use serin_http::Fields;
use serin_store::Page;

pub(crate) async fn history(
    State(state): State<ControlPlane>,
    Path(name): Path<String>,
    fields: Fields,
) -> Result<Json<Value>, ControlError> {
    let (limit, offset) = (fields.page_size(100, 1000)?, fields.page_offset()?);
    let items = state.store.model_history(&name, limit + 1, offset).await?;
    if items.is_empty() && offset == 0 {
        // A model without a row in the ledger was made before serin, or never.
        state.store.registered_model(&name).await?;
    }
    let page = Page::cut(items, limit, offset);
    Ok(Json(paged("history", &page, wire::ledger_entry)))
}
