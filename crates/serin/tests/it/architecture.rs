//! The arrows between crates are those of ARCHITECTURE.md.

use std::collections::BTreeSet;
use std::process::Command;

const ARROWS: [&str; 18] = [
    "serin -> serin-analysis",
    "serin -> serin-dataset",
    "serin -> serin-scoring",
    "serin -> serin-server",
    "serin -> serin-store",
    "serin -> serin-training",
    "serin-dataset -> serin-scoring",
    "serin-server -> serin-analysis",
    "serin-server -> serin-scoring",
    "serin-server -> serin-store",
    "serin-training -> serin-analysis",
    "serin-training -> serin-dataset",
    "serin-training -> serin-scoring",
    // Owners of the libraries that must not spread.
    "serin -> reqwest",
    "serin-server -> reqwest",
    "serin-store -> object_store",
    "serin-store -> sqlx",
    "serin-training -> xgboost_lib-sys",
];

#[test]
fn crates_import_only_what_the_picture_shows() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let mut found = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let target = dependency["name"].as_str().unwrap();
            let watched = target.starts_with("serin")
                || matches!(target, "sqlx" | "xgboost_lib-sys" | "object_store" | "reqwest");
            if watched && dependency["kind"].is_null() {
                found.insert(format!("{name} -> {target}"));
            }
        }
    }
    let expected: BTreeSet<String> = ARROWS.iter().map(|arrow| (*arrow).to_owned()).collect();
    assert_eq!(found, expected, "an arrow changed: change the picture in ARCHITECTURE.md first");
    let picture = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md")).unwrap();
    for arrow in ARROWS.iter().filter(|arrow| arrow.contains("-> serin")) {
        assert!(picture.contains(arrow), "ARCHITECTURE.md does not list {arrow}");
    }
}
