//! The models that are loaded, by name, and how one takes another's place.

use arc_swap::ArcSwapOption;
use serde::Serialize;
use serin_models::{LoadError, LoadedModel};
use serin_tracking::ResolvedModel;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use utoipa::ToSchema;

/// Most characters of an unknown name that a message repeats.
const LONGEST_NAME: usize = 200;

/// Holds the live model of one name. Readers never wait.
#[derive(Debug)]
pub struct ModelSlot {
    name: String,
    uri: String,
    live: ArcSwapOption<LoadedModel>,
    kept: ArcSwapOption<LoadedModel>,
    refused: ArcSwapOption<Refused>,
    loads: AtomicU64,
    refusals: AtomicU64,
    resting: AtomicBool,
}

/// Why a newer model does not answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Refused {
    /// Version that was refused, or empty.
    version: String,
    /// What is wrong with it.
    reason: String,
    /// Time of the refusal, epoch milliseconds.
    at_ms: i64,
}

impl ModelSlot {
    /// An empty slot: `name` in URLs, `uri` where its model comes from.
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

    /// Name of the model, as requests give it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Error of a newer model that could not be loaded, until another one is.
    pub(crate) fn refused(&self) -> Option<Arc<Refused>> {
        self.refused.load_full()
    }

    /// URI that the slot's model is loaded from.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Numbers of models loaded and of models refused since the start, in this order.
    pub(crate) fn loads(&self) -> (u64, u64) {
        (self.loads.load(Ordering::Relaxed), self.refusals.load(Ordering::Relaxed))
    }

    /// The model that answers now.
    #[must_use]
    pub fn live(&self) -> Option<Arc<LoadedModel>> {
        self.live.load_full()
    }

    /// The last good model, kept for when none is live.
    pub(crate) fn kept(&self) -> Option<Arc<LoadedModel>> {
        self.kept.load_full()
    }

    /// Loads the last good model from its copy; it answers only as the fallback says.
    ///
    /// # Errors
    /// As [`LoadedModel::load`].
    pub fn keep(&self, resolved: &ResolvedModel, now_ms: i64) -> Result<Arc<LoadedModel>, LoadError> {
        let model = Arc::new(LoadedModel::load(resolved, now_ms)?);
        self.kept.store(Some(Arc::clone(&model)));
        Ok(model)
    }

    /// Unloads the live model; the slot has none until the next one is loaded.
    pub fn rest(&self) {
        self.resting.store(true, Ordering::Relaxed);
        self.live.store(None);
        self.refused.store(None);
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Relaxed)
    }

    /// Loads and checks `resolved` and makes it live; on failure the old model stays.
    ///
    /// # Errors
    /// As [`LoadedModel::load`].
    pub fn switch_to(&self, resolved: &ResolvedModel, now_ms: i64) -> Result<Arc<LoadedModel>, LoadError> {
        let model = LoadedModel::load(resolved, now_ms).inspect_err(|error| {
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

/// Reason why models cannot be served together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModels {
    /// There is no model.
    #[error("a server needs a model")]
    Empty,
    /// Two models have this name.
    #[error("two models have the name {0:?}: requests could not tell them apart")]
    SameName(String),
}

impl Models {
    /// Models that requests can name; the first is the one that answers where a request names none.
    ///
    /// # Errors
    /// When there is none, or two have the same name.
    pub fn new(slots: Vec<Arc<ModelSlot>>) -> Result<Self, InvalidModels> {
        if slots.is_empty() {
            return Err(InvalidModels::Empty);
        }
        for (i, slot) in slots.iter().enumerate() {
            if slots[..i].iter().any(|other| other.name == slot.name) {
                return Err(InvalidModels::SameName(slot.name.clone()));
            }
        }
        Ok(Self(slots.into()))
    }

    /// The first model of the server, which answers where none is named.
    #[must_use]
    pub fn default_slot(&self) -> &Arc<ModelSlot> {
        &self.0[0]
    }

    /// The model with this name, if the server has one.
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

    /// Message for a request that names a model the server does not have.
    pub(crate) fn unknown(&self, name: &str) -> String {
        let name: String = name.chars().take(LONGEST_NAME).collect();
        format!("there is no model {name:?} here; there is: {}", self.names())
    }
}
