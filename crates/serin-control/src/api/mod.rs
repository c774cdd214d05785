//! Routes for programs: MLflow's tracking, registry, artifacts and webhooks; serin's own. One folder or file an area.

pub(crate) mod about;
pub(crate) mod artifacts;
pub(crate) mod evidence;
pub(crate) mod monitoring;
pub(crate) mod registry;
pub(crate) mod tracking;
pub(crate) mod webhooks;
