//! Caller of a request: the user, and what the request says of itself.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serin_http::Statement;
use serin_store::{Permission, Resource, User};
use std::convert::Infallible;
use std::sync::Arc;

/// Sender of a request; unknown without authentication.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// User who sent the request, where the server authenticates users.
    pub(crate) user: Option<Arc<User>>,
    /// Actor and reason that the request states, for the ledger.
    pub(crate) statement: Statement,
}

impl Caller {
    /// A caller whose user is known.
    pub(crate) fn of(user: Arc<User>) -> Self {
        Self { user: Some(user), statement: Statement::default() }
    }

    /// The user's name, where it is known.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref().map(|user| user.name.as_str())
    }

    /// Takes out of a search what the caller may not see.
    pub(crate) fn keep_visible<T>(&self, items: &mut Vec<T>, resource: impl Fn(&T) -> Resource) {
        if let Some(user) = &self.user {
            items.retain(|item| user.may(&resource(item)) >= Permission::Read);
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let user = parts.extensions.get::<Self>().and_then(|caller| caller.user.clone());
        Ok(Self { user, statement: Statement::from_request_parts(parts, state).await? })
    }
}
