//! Windows of live traffic: the panes of a model's hours, added up and compared with the reference of its version.

use super::error::MonitoringError;
use super::performance::package;
use super::{Monitoring, Sources};
use crate::settings::Settings;
use serin_analysis::monitor::{HOUR_MS, MonitorProfile, Pane, Report, report};
use serin_store::{Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Panes of a model for some hours, and the reference that its version's traffic is compared with.
pub(crate) struct Seen {
    pub(crate) version: String,
    pub(crate) reference: Arc<MonitorProfile>,
    /// Panes of the version that decided last, one for each hour with traffic, ordered by time.
    pub(crate) panes: Vec<Pane>,
}

/// Panes of the hours from `hours.0` and before `hours.1`, epoch milliseconds; `None` where there was no traffic.
pub(crate) async fn seen(
    store: &Store,
    monitoring: &Monitoring,
    name: &str,
    hours: (i64, i64),
) -> Result<Option<Seen>, MonitoringError> {
    let stored = store.panes(name, hours.0, hours.1).await?;
    let Some(last) = stored.last() else { return Ok(None) };
    let version = last.version.clone();
    let package = package(store, monitoring, name, &version).await?;
    let references = monitoring.references.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let reference = references.of(&package)?;
        let mut sums: BTreeMap<i64, Pane> = BTreeMap::new();
        for pane in stored.iter().filter(|pane| pane.version == version) {
            let sum = sums.entry(pane.from_ms).or_insert_with(|| Pane::new(&reference, pane.from_ms));
            let counted = serde_json::from_str(&pane.body);
            sum.merge(&counted.map_err(|error| StoreError::damaged("serin_panes", error.to_string()))?);
        }
        Ok::<_, MonitoringError>(Some(Seen { version, reference, panes: sums.into_values().collect() }))
    });
    counted.await.unwrap_or(Err(MonitoringError::Interrupted("adding up the panes")))
}

/// Beginning of the newest hour with traffic of a model, epoch milliseconds. What lies too far ahead of the clock is left out
/// until its time has come.
pub(crate) async fn newest(sources: Sources<'_>, model: &str) -> Result<Option<i64>, MonitoringError> {
    let latest_ms = sources.settings.monitoring.latest_event_ms(sources.now_ms);
    let newest = sources.store.newest_pane(model, latest_ms.saturating_add(1)).await?;
    Ok(newest.map(|(_, from_ms)| from_ms))
}

/// Panes and report of the window that ends with the newest hour of a model.
pub(crate) async fn seen_lately(sources: Sources<'_>, model: &str) -> Result<Option<(Seen, Report)>, MonitoringError> {
    let Some(newest_ms) = newest(sources, model).await? else { return Ok(None) };
    let until_ms = newest_ms + HOUR_MS;
    let hours = (until_ms - sources.settings.monitoring.window_hours * HOUR_MS, until_ms);
    let Some(seen) = seen(sources.store, sources.monitoring, model, hours).await? else { return Ok(None) };
    let found = report(&seen.reference, &seen.panes, &sources.settings.monitoring.budget());
    Ok(found.map(|report| (seen, report)))
}

/// Version and report of the hours from `hours.0` and before `hours.1`; only of the version that decided last.
pub(crate) async fn window(
    store: &Store,
    monitoring: &Monitoring,
    settings: &Settings,
    name: &str,
    hours: (i64, i64),
) -> Result<Option<(String, Report)>, MonitoringError> {
    let Some(seen) = seen(store, monitoring, name, hours).await? else { return Ok(None) };
    let found = report(&seen.reference, &seen.panes, &settings.monitoring.budget());
    Ok(found.map(|report| (seen.version, report)))
}
