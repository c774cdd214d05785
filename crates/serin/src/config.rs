//! `serin.toml`: what an operator decides about monitoring, alerts and retraining.

use anyhow::Context;
use serin_control::Settings;
use std::path::Path;

/// Reads the file that is named, or that of the state folder where there is one.
pub(crate) fn read(named: Option<&Path>, state: &Path) -> anyhow::Result<Settings> {
    let own = state.join("serin.toml");
    let file = match named {
        Some(file) => file,
        None if own.is_file() => &own,
        None => return Ok(Settings::default()),
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let settings: Settings = toml::from_str(&text).with_context(|| format!("{} is not understood", file.display()))?;
    settings.check().with_context(|| file.display().to_string())?;
    Ok(settings)
}
