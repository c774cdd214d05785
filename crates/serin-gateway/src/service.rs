//! One request of a connection: keys, the time limit, and who answers.

use crate::decide::RequestContext;
use crate::protocols::grpc;
use crate::protocols::predict::predicted;
use crate::state::DataPlane;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::Method;
use axum::response::IntoResponse;
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use serin_http::{Answer, Answering, ApiError};
use std::convert::Infallible;
use std::time::Duration;
use tower_service::Service;

/// Paths that answer without a key: a load balancer's questions.
const OPEN: [&str; 10] = [
    "/",
    "/healthz",
    "/readyz",
    "/ping",
    "/health",
    "/v2/health/live",
    "/v2/health/ready",
    "/grpc.health.v1.Health/Check",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
];

/// The scoring server as connections call it. Cheap to clone; each connection has a copy.
#[derive(Debug, Clone)]
pub struct DataPlaneService {
    state: DataPlane,
    router: Router,
    limit: Duration,
}

impl DataPlaneService {
    /// `limit` is for a whole request.
    pub(crate) fn new(state: DataPlane, router: Router, limit: Duration) -> Self {
        Self { state, router, limit }
    }
}

impl hyper::service::Service<hyper::Request<Incoming>> for DataPlaneService {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let (state, mut router, limit) = (self.state.clone(), self.router.clone(), self.limit);
        let context = RequestContext::of(&state, request.uri(), request.headers());
        Box::pin(async move {
            let answered = async {
                if let Some(keys) = &state.keys
                    && !OPEN.contains(&request.uri().path())
                    && !keys.admit(request.headers())
                {
                    return Ok(match grpc::is_for(request.uri().path()) {
                        true => grpc::refused(ApiError::NoKey),
                        false => ApiError::NoKey.into_response(),
                    });
                }
                // The one route that is all of the traffic goes past the router, which costs as much as scoring does.
                if request.method() == Method::POST && request.uri().path() == "/predict" {
                    let most = state.limits.body_bytes;
                    let body = whole(request.into_body(), most).await;
                    return Ok(predicted(&state, body, context));
                }
                let mut request: Request = request.map(Body::new);
                request.extensions_mut().insert(context);
                router.call(request).await
            };
            match tokio::time::timeout(limit, answered).await {
                Ok(answered) => answered,
                Err(_) => {
                    let mut late = Answer::new(Body::from(
                        "{\"detail\":\"the request was not complete in time; send it faster, or raise --request-timeout\"}",
                    ));
                    *late.status_mut() = axum::http::StatusCode::REQUEST_TIMEOUT;
                    late.headers_mut().insert("content-type", axum::http::HeaderValue::from_static("application/json"));
                    late.headers_mut().insert("connection", axum::http::HeaderValue::from_static("close"));
                    Ok(late)
                }
            }
        })
    }
}

/// The whole body, at most `most` bytes.
async fn whole(mut body: Incoming, most: usize) -> Result<Bytes, ApiError> {
    if body.size_hint().lower() > most as u64 {
        return Err(ApiError::TooLarge(most));
    }
    let mut gathered: Option<BytesMut> = None;
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::Unreadable(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if gathered.as_ref().map_or(first.len(), BytesMut::len) + data.len() > most {
            return Err(ApiError::TooLarge(most));
        }
        match &mut gathered {
            Some(gathered) => gathered.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => gathered.insert(BytesMut::from(&first[..])).extend_from_slice(&data),
        }
        if body.is_end_stream() {
            break;
        }
    }
    Ok(gathered.map_or(first, BytesMut::freeze))
}
