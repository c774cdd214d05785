//! Artifact folders: written whole or not at all, read by name.

use crate::{Store, StoreError};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

impl Store {
    /// Writes `files` as folder `folder` of a run's artifacts and returns its path. The folder appears only
    /// when every file is on disk.
    ///
    /// # Errors
    /// When a name is not a plain file name, the folder exists, or the disk fails.
    pub async fn put_folder(
        &self,
        run_id: &str,
        folder: &str,
        files: Vec<(String, Vec<u8>)>,
    ) -> Result<PathBuf, StoreError> {
        for name in files.iter().map(|(name, _)| name.as_str()).chain([folder]) {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
                return Err(StoreError::Invalid(format!("artifact name {name:?} is not a plain file name")));
            }
        }
        let root = PathBuf::from(self.artifact_uri(run_id).await?);
        let target = root.join(folder);
        let partial = root.join(format!(".{folder}.partial"));
        let path = target.clone();
        let written = tokio::task::spawn_blocking(move || write(&partial, &target, &files)).await;
        let failed = |source| StoreError::Artifact { path: path.clone(), source };
        written.map_err(|e| failed(std::io::Error::other(e)))?.map_err(failed)?;
        Ok(path)
    }
}

fn write(partial: &Path, target: &Path, files: &[(String, Vec<u8>)]) -> std::io::Result<()> {
    if target.exists() {
        return Err(std::io::ErrorKind::AlreadyExists.into());
    }
    if partial.exists() {
        std::fs::remove_dir_all(partial)?;
    }
    std::fs::create_dir_all(partial)?;
    for (name, bytes) in files {
        let mut file = File::create(partial.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    File::open(partial)?.sync_all()?;
    std::fs::rename(partial, target)?;
    // The name itself is only safe once the folder that holds it is.
    target.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
