//! Sealing, by the next process that opens the folder, of what a dead one left; nothing acknowledged is deleted.
//!
//! Only the beginning of one record at the end of a file is cut: its writer died before it acknowledged it. A record that
//! is all there but damaged is told from it by its shape. A segment with any other bytes that are no record, at its
//! front, in its middle or at its end, is sealed as it is: that is the simplest way in which no byte can be lost, since
//! readers go on behind damage anyway, and no second file with the same records needs rules of its own for erasure and
//! retention.

use crate::damage::ReadReport;
use crate::durable::{folder_of, remove_partials, remove_unlocked, sync_folder};
use crate::error::LogError;
use crate::frames::{Frames, Item};
use crate::reader::Losses;
use crate::segment::{self, BESIDE, FRESH, OPEN, SEALED};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Report of a recovery: what an earlier process left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Number of segments that were sealed.
    pub segments: usize,
    /// Bytes of unfinished records that were cut, none of them acknowledged.
    pub torn_bytes: u64,
    /// Damages in the sealed segments, which keep the damaged bytes, and segments that could not be sealed.
    pub report: ReadReport,
}

/// Seals what dead processes left behind, and removes their temporary files.
pub(crate) fn recover(folder: &Path) -> Result<Recovered, LogError> {
    let mut recovered = Recovered::default();
    remove_leftovers(folder).map_err(LogError::at(folder))?;
    for (_, path) in segment::list(folder, true)? {
        if path.extension().is_none_or(|kind| kind != OPEN) {
            continue;
        }
        match recover_segment(&path, &mut recovered) {
            // Another process has just sealed it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => recovered.report.refuse(&path, &error),
            Ok(()) => {}
        }
    }
    Ok(recovered)
}

/// Removes temporary files of segments: of erasures, of what stands beside segments that are gone, and of segments that were being made.
pub(crate) fn remove_leftovers(folder: &Path) -> io::Result<()> {
    remove_partials(folder, |path| segment::created_ms(path).is_some())?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let is = |ending: &str| path.extension().is_some_and(|kind| kind == ending);
        let is_left = is(FRESH) || BESIDE.iter().any(|ending| is(ending)) && !path.with_extension(SEALED).exists();
        if is_left && segment::created_ms(&path).is_some() {
            remove_unlocked(&path)?;
        }
    }
    Ok(())
}

fn recover_segment(path: &Path, recovered: &mut Recovered) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Sealed or rewritten between the opening and the lock, the name stands for another file or for none.
    if std::fs::metadata(path)?.ino() != file.metadata()?.ino() {
        return Ok(());
    }
    let length = file.metadata()?.len();
    let (mut frames, mut losses) = (Frames::of(&file), Losses::of(path));
    let (mut is_empty, mut whole) = (true, length);
    while let Some(item) = frames.next()? {
        match item {
            Item::Gap { at, is_torn: true, .. } => whole = at,
            Item::Gap { at, bytes, .. } => losses.gap(at, bytes),
            Item::Orphan { at, frame, number } => losses.orphan(at, frame, number),
            Item::Record { .. } => is_empty = false,
        }
    }
    is_empty &= losses.is_empty();
    losses.report(&mut recovered.report);
    recovered.torn_bytes += length - whole;
    if is_empty {
        return std::fs::remove_file(path);
    }
    if whole < length {
        file.set_len(whole)?;
    }
    seal(&file, path)?;
    recovered.segments += 1;
    Ok(())
}

/// Syncs the file and gives it its last name; another one where that name is taken, as in a folder that was restored.
fn seal(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let named = |number: u32| -> PathBuf {
        match number {
            1 => path.with_extension(SEALED),
            _ => path.with_file_name(format!("{name}-{number}.{SEALED}")),
        }
    };
    let free = (1..).map(named).find(|sealed| !sealed.exists()).unwrap_or_else(|| named(1));
    std::fs::rename(path, free)?;
    sync_folder(folder_of(path))
}
