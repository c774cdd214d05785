//! The models that are loaded, by name, and how one takes another's place.

use super::fallback::{Answering, FallbackPolicy};
use super::live_model::{LiveModel, LoadError};
use crate::routes::DataPlane;
use arc_swap::ArcSwapOption;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serin_store::ResolvedModel;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use utoipa::ToSchema;

/// Holds the live model of one name. Readers never wait.
#[derive(Debug)]
pub struct ModelSlot {
    name: String,
    uri: String,
    live: ArcSwapOption<LiveModel>,
    kept: ArcSwapOption<LiveModel>,
    refused: ArcSwapOption<Refused>,
    loads: AtomicU64,
    refusals: AtomicU64,
    resting: AtomicBool,
}

/// Why a newer model does not answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Refused {
    /// Its version, or empty.
    version: String,
    /// What is wrong with it.
    reason: String,
    /// Epoch milliseconds.
    at_ms: i64,
}

impl ModelSlot {
    /// An empty one: `name` in URLs, `uri` where its model comes from.
    #[must_use]
    pub fn new(name: String, uri: String) -> Self {
        Self {
            name,
            uri,
            live: ArcSwapOption::empty(),
            kept: ArcSwapOption::empty(),
            refused: ArcSwapOption::empty(),
            loads: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            resting: AtomicBool::new(false),
        }
    }

    /// As requests name it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its model comes from.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Models loaded and models refused so far.
    pub(crate) fn loads(&self) -> (u64, u64) {
        (self.loads.load(Ordering::Relaxed), self.refusals.load(Ordering::Relaxed))
    }

    /// The model that answers now.
    #[must_use]
    pub fn live(&self) -> Option<Arc<LiveModel>> {
        self.live.load_full()
    }

    /// The last good model, kept for when none is live.
    pub(super) fn kept(&self) -> Option<Arc<LiveModel>> {
        self.kept.load_full()
    }

    /// Loads the last good model from its copy; it answers only as the fallback says.
    ///
    /// # Errors
    /// As [`LiveModel::load`].
    pub fn keep(&self, resolved: &ResolvedModel, now_ms: i64) -> Result<Arc<LiveModel>, LoadError> {
        let model = Arc::new(LiveModel::load(resolved, now_ms)?);
        self.kept.store(Some(Arc::clone(&model)));
        Ok(model)
    }

    /// Lets its model go: nobody asks it until the next one is loaded.
    pub fn rest(&self) {
        self.resting.store(true, Ordering::Relaxed);
        self.live.store(None);
        self.refused.store(None);
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Relaxed)
    }

    pub(crate) fn can_answer(&self, fallback: &FallbackPolicy) -> bool {
        Answering::of(self, fallback).is_ok()
    }

    /// Loads and checks `resolved` and makes it live; on failure the old model stays.
    ///
    /// # Errors
    /// As [`LiveModel::load`].
    pub fn switch_to(&self, resolved: &ResolvedModel, now_ms: i64) -> Result<Arc<LiveModel>, LoadError> {
        let model = LiveModel::load(resolved, now_ms).inspect_err(|error| {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            let version = resolved.version.map_or_else(String::new, |version| version.to_string());
            self.refused.store(Some(Arc::new(Refused { version, reason: error.to_string(), at_ms: now_ms })));
        })?;
        let model = Arc::new(model);
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.refused.store(None);
        self.live.store(Some(Arc::clone(&model)));
        self.resting.store(false, Ordering::Relaxed);
        Ok(model)
    }
}

/// Every model of a server; the first answers where none is named.
#[derive(Debug, Clone)]
pub struct Models(Arc<[Arc<ModelSlot>]>);

impl Models {
    /// # Errors
    /// When there is none, or two have the same name.
    pub fn new(slots: Vec<Arc<ModelSlot>>) -> Result<Self, String> {
        if slots.is_empty() {
            return Err("a server needs a model".to_owned());
        }
        for (i, slot) in slots.iter().enumerate() {
            if slots[..i].iter().any(|other| other.name == slot.name) {
                return Err(format!("two models have the name {:?}: requests could not tell them apart", slot.name));
            }
        }
        Ok(Self(slots.into()))
    }

    /// The first.
    #[must_use]
    pub fn default_slot(&self) -> &Arc<ModelSlot> {
        &self.0[0]
    }

    /// By name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<ModelSlot>> {
        self.0.iter().find(|slot| slot.name == name)
    }

    pub(crate) fn slots(&self) -> &[Arc<ModelSlot>] {
        &self.0
    }

    fn names(&self) -> String {
        self.0.iter().map(|slot| slot.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What to say of a name that is none.
    pub(super) fn unknown(&self, name: &str) -> String {
        format!("there is no model {name:?} here; there is: {}", self.names())
    }
}

/// What is loaded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoadedModels {
    models: Vec<LoadedModel>,
    /// Candidates that score what was decided.
    shadow: Vec<LoadedModel>,
}

/// One model of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoadedModel {
    /// As requests name it.
    name: String,
    /// Where its model comes from.
    uri: String,
    /// Version that answers; empty without one.
    version: String,
    /// Of the model file.
    sha256: Option<String>,
    /// Scores from it up are alerts.
    threshold: Option<f32>,
    /// Columns in the order of a row.
    columns: Vec<String>,
    /// Since when it answers, epoch milliseconds.
    loaded_at_ms: Option<i64>,
    /// Why a newer one does not answer.
    refused: Option<Refused>,
}

/// What is loaded, since when, and why a newer one is not.
#[utoipa::path(get, path = "/v1/models", responses((status = 200, body = LoadedModels)))]
pub(crate) async fn list(State(state): State<DataPlane>) -> Json<LoadedModels> {
    let model = |slot: &Arc<ModelSlot>| {
        let live = slot.live();
        let package = live.as_ref().map(|live| &live.package);
        LoadedModel {
            name: slot.name.clone(),
            uri: slot.uri.clone(),
            version: live.as_ref().map_or_else(String::new, |live| live.version.clone()),
            sha256: package.map(|package| package.model_sha256.clone()),
            threshold: package.map(|package| package.threshold),
            columns: package.map_or_else(Vec::new, |package| {
                package.signature.columns.iter().map(|column| column.name.clone()).collect()
            }),
            loaded_at_ms: live.as_ref().map(|live| live.loaded_at_ms),
            refused: slot.refused.load().as_deref().cloned(),
        }
    };
    let shadow = state.shadow.iter().flat_map(|shadow| shadow.candidates()).map(|(slot, _)| model(slot)).collect();
    Json(LoadedModels { models: state.models.0.iter().map(model).collect(), shadow })
}
