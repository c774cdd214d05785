//! Replacing files durably.
#![expect(clippy::unwrap_used, reason = "test code")]

use serin_decisions::{DurableFile, rename_durably, replace_durably, sync_folder};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn names(folder: &Path) -> Vec<String> {
    let found = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

// R21
#[test]
fn a_file_is_replaced_as_a_whole_and_keeps_its_permissions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    replace_durably(&path, b"one").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    replace_durably(&path, b"two").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(names(folder.path()), ["state.json"]);
}

// R21
#[test]
fn a_crash_at_any_step_leaves_the_old_content_and_its_leftover_goes_at_the_next_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    replace_durably(&path, b"old").unwrap();
    // Before the rename: an empty, a half and a whole temporary file of a process that died.
    for (i, left) in [&b""[..], b"ne", b"new"].into_iter().enumerate() {
        std::fs::write(folder.path().join(format!("state.json.{i:032x}.partial")), left).unwrap();
    }
    // Neither are those of another file, nor files that only look alike.
    std::fs::write(folder.path().join(format!("other.json.{:032x}.partial", 9)), b"").unwrap();
    std::fs::write(folder.path().join("state.json.mine.partial"), b"").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    replace_durably(&path, b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    let other = format!("other.json.{:032x}.partial", 9);
    assert_eq!(names(folder.path()), [other.as_str(), "state.json", "state.json.mine.partial"]);
}

#[test]
fn a_file_that_another_writer_has_begun_is_left_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut slow = DurableFile::replacing(&path).unwrap();
    slow.write_all(b"slow").unwrap();
    replace_durably(&path, b"fast").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"fast");
    slow.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"slow");
    drop(DurableFile::replacing(&path).unwrap());
    assert_eq!((names(folder.path()).len(), std::fs::read(&path).unwrap()), (1, b"slow".to_vec()));
}

#[test]
fn a_failed_replacement_leaves_the_old_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("is-a-folder");
    std::fs::create_dir_all(path.join("full")).unwrap();
    replace_durably(&path, b"x").unwrap_err();
    assert_eq!(names(folder.path()), ["is-a-folder"]);
    replace_durably(&folder.path().join("missing/state"), b"x").unwrap_err();
}

#[test]
fn files_and_folders_are_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("sub"));
    std::fs::create_dir_all(from.join("deep")).unwrap();
    std::fs::write(from.join("deep/file"), "x").unwrap();
    rename_durably(&from, &to).unwrap();
    rename_durably(&to.join("deep/file"), &folder.path().join("file")).unwrap();
    assert_eq!(names(folder.path()), ["file", "sub"]);
    sync_folder(&to).unwrap();
    sync_folder(&from).unwrap_err();
}
