//! The contract of the data plane, for `/docs` and for generated clients.

use utoipa::OpenApi;

/// OpenAPI document of the scoring routes.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "serin scoring", description = "Decides on transactions with the live fraud model."),
    paths(
        crate::scoring::handlers::predict,
        crate::scoring::handlers::root,
        crate::scoring::handlers::healthz,
        crate::scoring::handlers::readyz,
        crate::scoring::decisions::create,
        crate::scoring::models::list,
        crate::scoring::mlflow::invocations,
        crate::scoring::mlflow::ping,
        crate::scoring::mlflow::version,
        crate::scoring::inference::server,
        crate::scoring::inference::live,
        crate::scoring::inference::ready,
        crate::scoring::inference::model,
        crate::scoring::inference::model_version,
        crate::scoring::inference::model_ready,
        crate::scoring::inference::model_version_ready,
        crate::scoring::inference::infer,
        crate::scoring::inference::infer_version,
        crate::monitoring::exact::exact,
        crate::rollout::handlers::status,
        crate::rollout::handlers::control,
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
