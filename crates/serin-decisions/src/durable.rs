//! Replacing and renaming files so that a power cut leaves the old or the new one, whole.
//!
//! A rename alone is not enough: without a sync of the file the new name may stand for an empty file after a power cut,
//! and without a sync of the folder the rename itself may be undone.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Ending of the temporary files. Whatever bears it and is not locked is a leftover of a crash.
const PARTIAL: &str = "partial";
/// Tries at a temporary file: another process may take a new one for a leftover before it is locked.
const TRIES: usize = 8;

/// Replaces the content of a file, or makes the file: after a crash at any moment `path` holds all of the old bytes or
/// all of `bytes`.
///
/// The bytes go to `NAME.RANDOM.partial` in the same folder, which is synced, renamed to `path`, and the folder synced.
/// The new file has the permissions of the old one. A symbolic link at `path` is itself replaced. Leftovers of earlier
/// crashes for the same `path` are removed.
///
/// # Errors
/// When a file or the folder cannot be written or synced; `path` then holds its old content.
pub fn replace_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    for _ in 1..TRIES {
        let mut file = DurableFile::replacing(path)?;
        file.write_all(bytes)?;
        match file.commit() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    let mut file = DurableFile::replacing(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Renames a file or a folder durably: what is below `from` is synced first, then both parent folders.
///
/// # Errors
/// When something cannot be read, synced or renamed.
pub fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    sync_tree(from)?;
    std::fs::rename(from, to)?;
    let (source, target) = (folder_of(from), folder_of(to));
    sync_folder(target)?;
    if source != target { sync_folder(source) } else { Ok(()) }
}

/// Makes the names in a folder durable: files that were made, renamed or removed in it stay so after a power cut.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_tree(path: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(path)?.is_symlink() {
        return Ok(());
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            sync_tree(&entry?.path())?;
        }
    }
    file.sync_all()
}

/// A file that is written piece by piece and takes its name only as a whole, as with [`replace_durably`].
///
/// Dropped without [`DurableFile::commit`], it leaves the old content and no temporary file.
#[derive(Debug)]
pub struct DurableFile {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    is_named: bool,
}

impl DurableFile {
    /// Begins the new content of `path`, which keeps its old content until [`DurableFile::commit`].
    ///
    /// # Errors
    /// When no file can be made in the folder of `path`.
    pub fn replacing(path: &Path) -> io::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        remove_partials(folder_of(path), |partial| is_partial_of(partial, &name))?;
        name.push(format!(".{}.{PARTIAL}", uuid::Uuid::new_v4().simple()));
        let partial = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&partial)?;
        let started = Self { path: path.to_owned(), partial, file: BufWriter::new(file), is_named: false };
        // Tells others that its writer lives. A file system without locks only loses the removal of leftovers.
        drop(started.file.get_ref().try_lock());
        if let Ok(old) = std::fs::metadata(path) {
            started.file.get_ref().set_permissions(old.permissions())?;
        }
        Ok(started)
    }

    /// Syncs the bytes, gives them the name, and syncs the folder.
    ///
    /// # Errors
    /// As [`replace_durably`]; `NotFound` when another process took the temporary file for a leftover.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        std::fs::rename(&self.partial, &self.path)?;
        self.is_named = true;
        sync_folder(folder_of(&self.path))
    }
}

impl Write for DurableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for DurableFile {
    fn drop(&mut self) {
        if !self.is_named {
            drop(std::fs::remove_file(&self.partial));
        }
    }
}

/// Removes those of a folder's temporary files that are wanted gone and that no living process writes.
pub(crate) fn remove_partials(folder: &Path, wanted: impl Fn(&Path) -> bool) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == PARTIAL) && wanted(&path) {
            remove_unlocked(&path)?;
        }
    }
    Ok(())
}

/// Returns whether `partial` is called `NAME.RANDOM.partial`.
fn is_partial_of(partial: &Path, name: &OsStr) -> bool {
    let without_random = partial.file_stem().map(Path::new).and_then(Path::file_stem);
    let random = partial.file_stem().map(Path::new).and_then(Path::extension).map(OsStr::len);
    without_random == Some(name) && random == Some(uuid::fmt::Simple::LENGTH)
}

/// Removes a file unless a living process holds its lock; one that is gone already is as good as removed.
pub(crate) fn remove_unlocked(path: &Path) -> io::Result<()> {
    let removed = match File::open(path) {
        Ok(file) if file.try_lock().is_err() => Ok(()),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns the folder in which a path stands; the working folder for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
