//! Erasing an entity from the log.

use crate::damage::{Damage, ReadReport};
use crate::durable::DurableFile;
use crate::error::LogError;
use crate::frames::{Frames, Item};
use crate::reader::{DecisionFiles, DecisionSegment, Losses};
use crate::record::{self, Record};
use crate::recovery;
use crate::segment::{self, is_written};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Report of [`DecisionFiles::erase`]: what it did, and what it could not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "an erasure may be incomplete"]
pub struct Erased {
    /// Number of decisions removed.
    pub decisions: usize,
    /// Number of segments that a live process writes, and that were left alone.
    pub open_segments: usize,
    /// Damaged bytes in which the entity's text stands. They were kept, because other entities' bytes stand there too.
    pub suspect: Vec<Damage>,
    /// Damages in which the text was not found (a damaged text cannot be), and files that could not be read or written.
    pub unread: ReadReport,
}

impl Erased {
    /// Returns whether the log is known to hold nothing of the entity any more. Otherwise the caller says so and fails.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.open_segments == 0 && self.suspect.is_empty() && self.unread.is_clean()
    }
}

/// Findings of an erasure in one segment.
struct Search {
    /// Offset and length of the frames to remove, in order.
    frames: Vec<(u64, u64)>,
    suspect: Vec<Damage>,
    /// Damages in which the entity's text was not found.
    damages: Vec<Damage>,
}

impl DecisionFiles {
    /// Removes every decision about an entity from the segments that no process writes, also behind damage and where the
    /// model's record was lost. Other records and damaged bytes stay as they are. Erasing again changes nothing.
    ///
    /// # Errors
    /// When the folder cannot be read. What could not be done for one file is in [`Erased`], and the others are done;
    /// each file is either as it was or without the entity.
    pub fn erase(&self, entity: &str) -> Result<Erased, LogError> {
        let mut erased = Erased::default();
        // What dead processes left is sealed first, so that nobody else renames it meanwhile; their temporary files go.
        let recovered = recovery::recover(self.folder())?;
        erased.unread.unreadable = recovered.report.unreadable;
        for segment in self.segments()? {
            if is_written(segment.path()) {
                erased.open_segments += 1;
                continue;
            }
            if let Err(error) = erase_from(&segment, entity, &mut erased) {
                erased.unread.refuse(segment.path(), &error);
            }
        }
        Ok(erased)
    }
}

fn erase_from(segment: &DecisionSegment, entity: &str, erased: &mut Erased) -> io::Result<()> {
    // Removed by retention between the listing and now, it holds nothing.
    let Some((file, path)) = segment.open()? else { return Ok(()) };
    let found = search(&file, &path, entity.as_bytes())?;
    if !found.frames.is_empty() {
        segment::remove_beside(&path);
        rewrite(&file, &path, &found.frames)?;
        erased.decisions += found.frames.len();
    }
    erased.suspect.extend(found.suspect);
    found.damages.into_iter().for_each(|damage| erased.unread.add(damage));
    Ok(())
}

fn search(file: &File, path: &Path, entity: &[u8]) -> io::Result<Search> {
    let (mut frames, mut losses, mut removed) = (Frames::of(file), Losses::of(path), Vec::new());
    while let Some(item) = frames.next()? {
        match item {
            Item::Record { at, frame, record: Record::Decision(decision) } => {
                if decision.entity.as_bytes() == entity {
                    removed.push((at, frame.len() as u64));
                }
            }
            Item::Orphan { at, frame, .. } => {
                if record::entity_of(&frame[8..]) == Some(entity) {
                    removed.push((at, frame.len() as u64));
                }
            }
            // What candidates said of a decision holds nothing of the entity's.
            Item::Record { .. } => {}
            Item::Gap { at, bytes, .. } => losses.gap(at, bytes),
        }
    }
    let (mut suspect, mut damages) = (Vec::new(), Vec::new());
    for damage in losses.gaps() {
        let holds_it = holds(file, damage.at, damage.bytes, entity)?;
        if holds_it { suspect.push(damage) } else { damages.push(damage) }
    }
    Ok(Search { frames: removed, suspect, damages })
}

/// Returns whether a text stands in a range of a file; the empty text stands nowhere.
fn holds(mut file: &File, at: u64, bytes: u64, text: &[u8]) -> io::Result<bool> {
    const CHUNK: u64 = 256 << 10;
    let Some(&first) = text.first() else { return Ok(false) };
    file.seek(SeekFrom::Start(at))?;
    let mut rest = BufReader::new(file).take(bytes);
    let mut window = Vec::new();
    while rest.by_ref().take(CHUNK).read_to_end(&mut window)? > 0 {
        let is_here = |place: usize| window[place] == first && window[place..].starts_with(text);
        if (0..window.len()).any(is_here) {
            return Ok(true);
        }
        // The text may stand across the border.
        window.drain(..window.len() - window.len().min(text.len() - 1));
    }
    Ok(false)
}

/// Replaces a segment by itself without some of its frames.
fn rewrite(mut file: &File, path: &Path, removed: &[(u64, u64)]) -> io::Result<()> {
    let mut kept = DurableFile::replacing(path)?;
    let mut copied = 0;
    file.seek(SeekFrom::Start(0))?;
    for &(at, length) in removed {
        io::copy(&mut file.take(at - copied), &mut kept)?;
        copied = at + length;
        file.seek(SeekFrom::Start(copied))?;
    }
    io::copy(&mut file, &mut kept)?;
    kept.flush()?;
    kept.commit()
}
