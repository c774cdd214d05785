//! The contract of the data plane, for `/docs` and for generated clients.

use utoipa::OpenApi;

/// OpenAPI document of the scoring routes.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "serin scoring", description = "Decides on transactions with the live fraud model."),
    paths(
        crate::protocols::predict::predict,
        crate::operations::health::root,
        crate::operations::health::healthz,
        crate::operations::health::readyz,
        crate::protocols::decisions::create,
        crate::operations::models::list,
        crate::protocols::mlflow::invocations,
        crate::protocols::mlflow::ping,
        crate::protocols::mlflow::version,
        crate::protocols::inference::server,
        crate::protocols::inference::live,
        crate::protocols::inference::ready,
        crate::protocols::inference::model,
        crate::protocols::inference::model_version,
        crate::protocols::inference::model_ready,
        crate::protocols::inference::model_version_ready,
        crate::protocols::inference::infer,
        crate::protocols::inference::infer_version,
        crate::operations::exact::exact,
        crate::operations::rollout::status,
        crate::operations::rollout::control,
    ),
    components(schemas(
        crate::protocols::wire::PredictRequest,
        crate::protocols::wire::PredictResponse,
        crate::protocols::wire::Status,
        serin_http::ValidationErrors,
        serin_http::ErrorMessage,
    ))
)]
struct Contract;

/// The OpenAPI document of every scoring route.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Contract::openapi()
}
