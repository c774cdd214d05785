//! `canary.yaml`: one Canary of Flagger with its metric templates and alert providers.

use anyhow::Context;
use serin_analysis::rollout::Extension;
use serin_analysis::rollout::canary::{AlertProvider, Canary, Document, MetricTemplate};
use std::path::Path;

/// What a canary.yaml holds.
#[derive(Debug)]
pub struct Rules {
    /// Rules of the rollout.
    pub canary: Canary,
    /// Queries that the rules name.
    pub templates: Vec<MetricTemplate>,
    /// Receivers that alerts go to.
    pub providers: Vec<AlertProvider>,
    /// What the `serin.dev` annotations say.
    pub extension: Extension,
}

/// Reads and checks a file of one Canary with its templates and providers.
///
/// # Errors
/// With the file, and where in it the fault stands.
pub fn read(file: &Path) -> anyhow::Result<Rules> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let wrong = |fault: &dyn std::fmt::Display| anyhow::anyhow!("{}: {fault}", file.display());
    let documents: Vec<Document> = serde_saphyr::from_multiple(&text).map_err(|error| wrong(&error))?;
    let (mut canaries, mut templates, mut providers) = (Vec::new(), Vec::new(), Vec::new());
    for document in documents {
        match document {
            Document::Canary(canary) => canaries.push(*canary),
            Document::MetricTemplate(template) => templates.push(template),
            Document::AlertProvider(provider) => providers.push(provider),
        }
    }
    let count = canaries.len();
    let (Some(canary), 1) = (canaries.pop(), count) else {
        return Err(wrong(&format_args!("{count} Canary objects; one is expected")));
    };
    canary.check(&templates, &providers).map_err(|error| wrong(&error))?;
    let extension = Extension::of(&canary).map_err(|error| wrong(&error))?;
    Ok(Rules { canary, templates, providers, extension })
}
