//! Authentication and authorisation: one layer before every route. What no rule names is for administrators.

mod rules;

use crate::caller::Caller;
use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rules::{About, Need, need};
use serin_http::Fields;
use serin_store::{Credentials, Permission, Resource, StoreError, User};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// Time, milliseconds, for which verified credentials are accepted without asking the database; a removed user is out after that.
const BELIEVED_MS: i64 = 30_000;
const MAX_BELIEVED: usize = 10_000;
/// Password hashes computed at a time: they cost 20 ms and 19 MiB each by design.
const HASHES_AT_ONCE: usize = 2;
/// Most bytes of a body that are read to find out what a request is about.
const MAX_BODY: usize = 32 << 20;

/// User that credentials named, and the time until which that is accepted, epoch milliseconds; by the SHA-256 of what
/// was sent.
type Believed = HashMap<[u8; 32], (Arc<User>, i64)>;

/// Verified credentials of a running server.
#[derive(Debug)]
pub(crate) struct Access {
    state: ControlPlane,
    believed: Mutex<Believed>,
    hashing: Semaphore,
}

impl Access {
    pub(crate) fn new(state: ControlPlane) -> Self {
        Self { state, believed: Mutex::default(), hashing: Semaphore::new(HASHES_AT_ONCE) }
    }

    async fn user(&self, headers: &HeaderMap) -> Result<Arc<User>, ControlError> {
        let refused = || {
            ControlError::mlflow(
                "UNAUTHENTICATED",
                "You are not authenticated. Please see the MLflow documentation: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
            )
        };
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(refused)?;
        let key: [u8; 32] = Sha256::digest(header.as_bytes()).into();
        let now = self.state.now_ms();
        if let Ok(believed) = self.believed.lock()
            && let Some((user, until)) = believed.get(&key)
            && *until > now
        {
            return Ok(Arc::clone(user));
        }
        let credentials = credentials(header).ok_or_else(refused)?;
        let _turn = match credentials {
            Credentials::Password(..) => Some(self.hashing.acquire().await.map_err(|_| refused())?),
            Credentials::Token(_) => None,
        };
        let user = Arc::new(self.state.store.authenticate(&credentials, now).await?.ok_or_else(refused)?);
        if let Ok(mut believed) = self.believed.lock() {
            if believed.len() >= MAX_BELIEVED {
                believed.clear();
            }
            believed.insert(key, (Arc::clone(&user), now + BELIEVED_MS));
        }
        Ok(user)
    }
}

fn credentials(header: &str) -> Option<Credentials> {
    let (scheme, value) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Token(value.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    // A token may stand for the password, for tools that know only Basic.
    if password.starts_with("serin_") {
        return Some(Credentials::Token(password.to_owned()));
    }
    Some(Credentials::Password(name.to_owned(), password.to_owned()))
}

pub(crate) async fn authorise(State(access): State<Arc<Access>>, request: Request<Body>, next: Next) -> Response {
    match checked(&access, request).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn checked(access: &Access, request: Request<Body>) -> Result<Request<Body>, ControlError> {
    let need = need(request.method(), request.uri().path());
    if matches!(need, Need::Nothing) {
        return Ok(request);
    }
    let user = access.user(request.headers()).await?;
    let mut request = request;
    if !user.is_admin {
        request = permitted(access, &user, need, request).await?;
    }
    request.extensions_mut().insert(Caller::of(user));
    Ok(request)
}

async fn permitted(
    access: &Access,
    user: &User,
    need: Need,
    request: Request<Body>,
) -> Result<Request<Body>, ControlError> {
    let denied = || ControlError::mlflow("PERMISSION_DENIED", "Permission denied");
    let at_least = |level: Permission, resource: &Resource| {
        if user.may(resource) >= level { Ok(()) } else { Err(denied()) }
    };
    let store = &access.state.store;
    match need {
        Need::Nothing | Need::User => return Ok(request),
        Need::Default(level) => {
            return if user.permission >= level { Ok(request) } else { Err(denied()) };
        }
        Need::Admin => return Err(denied()),
        Need::ArtifactList => {
            let path = Fields::from_query(request.uri().query().unwrap_or_default()).text("path")?;
            let experiment = path.split('/').next().and_then(|first| first.parse().ok()).ok_or_else(denied)?;
            at_least(Permission::Read, &Resource::Experiment(experiment))?;
            return Ok(request);
        }
        Need::ArtifactPath(level, path) => {
            let experiment = path.split('/').next().and_then(|first| first.parse().ok()).ok_or_else(denied)?;
            at_least(level, &Resource::Experiment(experiment))?;
            return Ok(request);
        }
        Need::LoggedModelPath(level, id) => {
            let experiment = store.logged_model(&id).await?.experiment_id;
            at_least(level, &Resource::Experiment(experiment))?;
            return Ok(request);
        }
        Need::ModelPath(level, name) => {
            at_least(level, &Resource::RegisteredModel(name))?;
            return Ok(request);
        }
        Need::Fields(..) => {}
    }
    let Need::Fields(level, about) = need else { return Ok(request) };
    // What it is about stands in the query or the body; the body is put back for the handler.
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| ControlError::invalid("the request is too large or broke off"))?;
    let mut copy = Request::new(Body::from(bytes.clone()));
    *copy.method_mut() = parts.method.clone();
    *copy.uri_mut() = parts.uri.clone();
    *copy.headers_mut() = parts.headers.clone();
    let fields = match about {
        About::RunInQuery => Fields::from_query(parts.uri.query().unwrap_or_default()),
        _ => <Fields as axum::extract::FromRequest<()>>::from_request(copy, &()).await?,
    };
    for resource in rules::resources(store, &fields, about).await? {
        at_least(level, &resource)?;
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// The maker of something may do everything with it.
pub(crate) async fn own(state: &ControlPlane, caller: &Caller, resource: Resource) -> Result<(), StoreError> {
    match &caller.user {
        Some(user) if !user.is_admin => state.store.grant(&user.name, &resource, Permission::Manage).await,
        _ => Ok(()),
    }
}
