//! Hostile request bodies on every scoring route: an answer of the 2xx or 4xx kind, never a panic.
//!
//! The first byte chooses the route, the rest is the body.
#![no_main]

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use libfuzzer_sys::fuzz_target;
use serin_gateway::{DataPlane, Metrics, ModelSlot, Models, routes};
use serin_http::Limits;
use serin_tracking::ResolvedModel;
use std::sync::{Arc, LazyLock};
use tower_service::Service;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/serin-scoring/tests/fixtures/model.ubj");
const ROUTES: [(&str, &str); 7] = [
    ("/predict", "application/json"),
    ("/invocations", "application/json"),
    ("/invocations", "text/csv"),
    ("/v2/models/m/infer", "application/json"),
    ("/v1/decisions", "application/json"),
    ("/inference.GRPCInferenceService/ModelInfer", "application/grpc"),
    ("/inference.GRPCInferenceService/ModelMetadata", "application/grpc"),
];

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
static SERVER: LazyLock<Router> = LazyLock::new(|| {
    let slot = ModelSlot::new("m".to_owned(), MODEL.to_owned());
    slot.switch_to(&ResolvedModel { name: None, version: None, path: MODEL.into() }, 0).expect("a model");
    let state = DataPlane {
        models: Models::new(vec![Arc::new(slot)]).expect("one model"),
        decisions: None,
        ids: Arc::default(),
        shadow: None,
        release: None,
        monitor: None,
        exploration: None,
        fallback: Arc::default(),
        deadline: None,
        keys: None,
        clock: || 0,
        limits: Limits { body_bytes: 1 << 16, rows: 100 },
        metrics: Arc::new(Metrics::default()),
    };
    routes(state, Router::new())
});

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, body)) = bytes.split_first() else { return };
    let (path, kind) = ROUTES[usize::from(*choice) % ROUTES.len()];
    let request = Request::post(path).header("content-type", kind).body(Body::from(body.to_vec())).expect("a request");
    let mut server = SERVER.clone();
    let response = RUNTIME.block_on(server.call(request)).expect("infallible");
    let status = response.status();
    // A caught panic is answered with 500.
    assert!(status.is_success() || status.is_client_error(), "{status} for {path}");
    if kind == "application/grpc" {
        let refused = response.headers().get("grpc-status").is_some_and(|code| code == "13");
        assert!(!refused, "an inner error for {path}");
    }
});
