//! Parts that every page has in common: who looks, at which model, and how failures are told.

use super::assets;
use crate::caller::Caller;
use crate::error::ControlError;
use crate::state::ControlPlane;
use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse, Redirect, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serin_http::Fields;
use serin_store::{Permission, Resource, Search};
use std::sync::Arc;

/// Sections of the menu with their paths; each keeps the model that is looked at.
const SECTIONS: [(&str, &str); 9] = [
    ("Overview", "/"),
    ("Rollout", "/rollouts"),
    ("Drift", "/drift"),
    ("Performance", "/performance"),
    ("Decisions", "/decisions"),
    ("Experiments", "/experiments"),
    ("Models", "/models"),
    ("Trash", "/trash"),
    ("Settings", "/settings"),
];

/// What a page says after something was done: a fixed set, so that no link can put words into the server's mouth.
const SAID: [(&str, &str); 12] = [
    ("rollout-told", "Done: the scoring servers have obeyed."),
    ("labelled", "The label is kept."),
    ("run-deleted", "The run is in the trash, where it can be restored."),
    ("run-restored", "The run is restored."),
    ("experiment-deleted", "The experiment is in the trash, where it can be restored."),
    ("experiment-restored", "The experiment is restored."),
    ("emptied", "The trash is empty: runs, experiments and their files are gone."),
    ("alias-set", "The alias is set."),
    ("alias-removed", "The alias is removed."),
    ("stage-set", "The stage is set."),
    ("started", "The rollout is asked for: it starts in the shadow at the scoring server's next look."),
    ("described", "The description is kept."),
];

/// Path under which everything is served; empty, or such as `/mlflow`.
#[derive(Debug, Clone)]
pub(crate) struct Base(pub(crate) Arc<str>);

/// Somebody who looks at a page.
pub(crate) struct Visit {
    pub(crate) state: ControlPlane,
    pub(crate) caller: Caller,
    pub(crate) fields: Fields,
    base: Base,
}

impl FromRequestParts<ControlPlane> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &ControlPlane) -> Result<Self, Failure> {
        let Ok(caller) = Caller::from_request_parts(parts, state).await;
        let base = parts.extensions.get::<Base>().cloned().unwrap_or_else(|| Base("".into()));
        let fields = Fields::from_query(parts.uri.query().unwrap_or_default());
        Ok(Self { state: state.clone(), caller, fields, base })
    }
}

impl Visit {
    /// Refuses who may not.
    pub(crate) fn must(&self, level: Permission, resource: &Resource) -> Result<(), Failure> {
        match &self.caller.user {
            Some(user) if user.may(resource) < level => Err(denied()),
            _ => Ok(()),
        }
    }

    /// Refuses who may not do such things where nothing else is said.
    pub(crate) fn must_by_default(&self, level: Permission) -> Result<(), Failure> {
        match &self.caller.user {
            Some(user) if !user.is_admin && user.permission < level => Err(denied()),
            _ => Ok(()),
        }
    }

    /// True if the visitor may do everything.
    pub(crate) fn is_admin(&self) -> bool {
        self.caller.user.as_ref().is_none_or(|user| user.is_admin)
    }

    /// A parameter; empty where there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        self.fields.text(name).unwrap_or_default()
    }

    /// The model that is looked at: the one named, else the one with the newest traffic, else the first.
    pub(crate) async fn model(&self) -> Result<(Vec<String>, String), Failure> {
        let search = Search { limit: 200, ..Search::default() };
        let mut models: Vec<String> =
            self.state.store.search_registered_models(&search).await?.items.into_iter().map(|m| m.name).collect();
        self.caller.keep_visible(&mut models, |name| Resource::RegisteredModel(name.clone()));
        let named = self.text("name");
        if !named.is_empty() {
            self.must(Permission::Read, &Resource::RegisteredModel(named.clone()))?;
            if !models.contains(&named) {
                self.state.store.registered_model(&named).await?;
            }
            return Ok((models, named));
        }
        let latest_ms = self.state.settings.monitoring.latest_event_ms(self.state.now_ms());
        let mut watched = self.state.store.watched_models(latest_ms).await?;
        watched.sort_by_key(|(_, newest_ms)| std::cmp::Reverse(*newest_ms));
        let newest = watched.into_iter().map(|(name, _)| name).find(|name| models.contains(name));
        let model = newest.or_else(|| models.first().cloned()).unwrap_or_default();
        Ok((models, model))
    }

    /// A page that is about a model.
    pub(crate) async fn page_of_model(&self, section: &'static str, title: &str) -> Result<Page, Failure> {
        let (models, model) = self.model().await?;
        Ok(Page { models, model, picks_model: true, ..self.page(section, title) })
    }

    /// A page that is about something else.
    pub(crate) fn page(&self, section: &'static str, title: &str) -> Page {
        let done = self.text("done");
        let said = SAID.iter().find(|(code, _)| *code == done).map(|(_, said)| *said);
        Page { model: self.text("name"), said, ..Page::of(&self.base, section, title) }
    }

    /// Back to a page, which says what was done.
    pub(crate) fn done(&self, path: &str, done: &str) -> Response {
        let mark = if path.contains('?') { '&' } else { '?' };
        Redirect::to(&format!("{}{path}{mark}done={done}", self.base.0)).into_response()
    }

    /// An address on this server.
    pub(crate) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base.0)
    }
}

fn denied() -> Failure {
    Failure(ControlError::mlflow("PERMISSION_DENIED", "you may not do that; ask an administrator of this server"))
}

/// Parts of the layout around a page.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) base: Arc<str>,
    pub(crate) title: String,
    pub(crate) section: &'static str,
    pub(crate) models: Vec<String>,
    pub(crate) model: String,
    pub(crate) picks_model: bool,
    pub(crate) said: Option<&'static str>,
}

impl Page {
    /// About no model, and with nothing to say.
    fn of(base: &Base, section: &'static str, title: &str) -> Self {
        Self {
            base: Arc::clone(&base.0),
            title: title.to_owned(),
            section,
            models: Vec::new(),
            model: String::new(),
            picks_model: false,
            said: None,
        }
    }

    pub(crate) fn sections(&self) -> &'static [(&'static str, &'static str)] {
        &SECTIONS
    }

    pub(crate) fn asset(&self, name: &str) -> String {
        format!("{}{}", self.base, assets::path(name))
    }

    /// A page of this server, about the same model where it is about one.
    pub(crate) fn link(&self, path: &str) -> String {
        // Below a prefix the overview has no slash at its end.
        let path = if path == "/" && !self.base.is_empty() { "" } else { path };
        let about_models = !matches!(path, "/experiments" | "/trash" | "/models" | "/settings");
        if self.model.is_empty() || !about_models {
            return format!("{}{path}", self.base);
        }
        format!("{}{path}?name={}", self.base, encoded(&self.model))
    }
}

/// Characters that are escaped in an address: all but the unreserved ones of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A text within an address.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A page that could not be shown.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) ControlError);

impl<E: Into<ControlError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// Why a page could not be shown, until the layer around the pages says it.
#[derive(Debug, Clone)]
struct Reason(String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = self.0.into_api().plain();
        let mut response = status.into_response();
        response.extensions_mut().insert(Reason(message));
        response
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage {
    page: Page,
    message: String,
    way_out: &'static str,
}

/// A response as people see it: a failure as a page.
pub(crate) fn shown(mut response: Response, base: &Base) -> Response {
    let Some(Reason(message)) = response.extensions_mut().remove::<Reason>() else { return response };
    let status = response.status();
    let (title, way_out) = match status {
        StatusCode::NOT_FOUND => ("Not found", "It may have been deleted, or the address may be mistyped."),
        StatusCode::FORBIDDEN => ("Not permitted", "Pages show only what your user may see."),
        StatusCode::BAD_REQUEST => ("That cannot be shown", "Change what you asked for and try again."),
        _ => ("Something failed", "The server's log says why. Nothing that was acknowledged is lost."),
    };
    let page = Page::of(base, "", title);
    let body = FailurePage { page, message, way_out }.render();
    body.map_or(response, |body| (status, Html(body)).into_response())
}

/// A page, or a part of one.
pub(crate) fn render(template: &impl Template) -> Result<Response, Failure> {
    let rendered = template.render().map_err(|error| {
        tracing::error!("a page cannot be rendered: {error}");
        ControlError::mlflow("INTERNAL_ERROR", "the page cannot be rendered; the server's log says why")
    });
    Ok(Html(rendered?).into_response())
}
