//! The contract of the data plane, for `/docs` and for generated clients.

use utoipa::OpenApi;

/// OpenAPI document of the scoring routes.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "serin scoring", description = "Scores transactions with the live fraud model."),
    paths(
        crate::scoring::handlers::predict,
        crate::scoring::handlers::root,
        crate::scoring::handlers::healthz,
        crate::scoring::handlers::readyz,
    ),
    components(schemas(
        crate::scoring::wire::PredictRequest,
        crate::scoring::wire::PredictResponse,
        crate::scoring::wire::Status,
        crate::http::error::ValidationErrors,
        crate::http::error::ErrorMessage,
    ))
)]
pub(crate) struct Contract;
