//! The last model that was loaded and checked, copied into the state folder: what answers when registry and artifact
//! store are gone at the next start.

use anyhow::Context;
use serin_decisions::rename_durably;
use serin_tracking::ResolvedModel;
use std::path::{Path, PathBuf};

/// Names the copy's version.
const NAME: &str = "last-good.json";
const MODEL: &str = "model";

/// Where the copies of one server's models are.
#[derive(Debug, Clone)]
pub(crate) struct LastGood(PathBuf);

impl LastGood {
    /// In a state folder.
    pub(crate) fn of(state: &Path) -> Self {
        Self(state.join("last-good"))
    }

    fn folder(&self, slot: &str) -> PathBuf {
        self.0.join(crate::file_name(slot))
    }

    /// Where a copy is made; a name of its own, whatever dots the slot's has.
    fn fresh(&self, slot: &str) -> PathBuf {
        let mut folder = self.folder(slot).into_os_string();
        folder.push(".new");
        folder.into()
    }

    /// Copies a model that has just been loaded; the copy before stays until this one is whole.
    pub(crate) fn save(&self, slot: &str, model: &ResolvedModel) -> anyhow::Result<()> {
        let folder = self.folder(slot);
        let fresh = self.fresh(slot);
        if fresh.exists() {
            std::fs::remove_dir_all(&fresh)?;
        }
        std::fs::create_dir_all(&fresh).with_context(|| format!("cannot write {}", fresh.display()))?;
        // Its name on disk says which kind it is: a folder, or a file whose ending counts.
        let kept = match model.path.extension() {
            Some(kind) if model.path.is_file() => Path::new(MODEL).with_extension(kind),
            _ => PathBuf::from(MODEL),
        };
        copy(&model.path, &fresh.join(&kept))
            .with_context(|| format!("cannot copy {} to {}", model.path.display(), fresh.display()))?;
        let named = serde_json::json!({ "name": model.name, "version": model.version, "path": kept });
        std::fs::write(fresh.join(NAME), named.to_string())?;
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        // Synced with all that is in it: the copy is there for the day after a power cut.
        rename_durably(&fresh, &folder)?;
        Ok(())
    }

    /// The copy, where there is one.
    pub(crate) fn find(&self, slot: &str) -> Option<ResolvedModel> {
        // Killed between the two renames, the new one is whole.
        let folder = [self.folder(slot), self.fresh(slot)];
        folder.iter().find_map(|folder| {
            let named: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join(NAME)).ok()?).ok()?;
            Some(ResolvedModel {
                name: named["name"].as_str().map(str::to_owned),
                version: named["version"].as_i64(),
                path: folder.join(named["path"].as_str()?),
            })
        })
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        return std::fs::copy(from, to).map(|_| ());
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
