//! The house is as ARCHITECTURE.md draws it: arrows between crates, no circle between modules, pure crates, no build of parts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who imports whom, `importer: imported …`.
const ARROWS: [(&str, &str); 12] = [
    ("serin-artifacts", ""),
    (
        "serin-batch",
        "serin-analysis serin-artifacts serin-dataset serin-decisions serin-models serin-scoring serin-tracking serin-training",
    ),
    ("serin-client", "serin-analysis serin-artifacts serin-tracking"),
    (
        "serin-control",
        "serin-analysis serin-artifacts serin-decisions serin-http serin-models serin-scoring serin-store serin-tracking",
    ),
    ("serin-dataset", "serin-scoring"),
    ("serin-gateway", "serin-analysis serin-decisions serin-http serin-models serin-scoring serin-tracking"),
    ("serin-http", "serin-tracking"),
    ("serin-models", "serin-analysis serin-decisions serin-scoring serin-tracking"),
    (
        "serin-scorer",
        "serin-analysis serin-client serin-decisions serin-gateway serin-http serin-models serin-scoring serin-tracking",
    ),
    ("serin-store", "serin-artifacts serin-tracking"),
    ("serin-training", "serin-analysis serin-dataset serin-scoring"),
    (
        "serin",
        "serin-analysis serin-artifacts serin-batch serin-client serin-control serin-dataset serin-decisions serin-gateway \
         serin-http serin-models serin-scorer serin-scoring serin-store serin-tracking serin-training",
    ),
];

/// Libraries that must not spread, and the crates that own them.
const OWNED: [(&str, &str); 5] = [
    ("askama", "serin-control"),
    ("object_store", "serin-artifacts"),
    ("reqwest", "serin serin-client serin-control serin-gateway"),
    ("sqlx", "serin-store"),
    ("xgboost_lib-sys", "serin-training"),
];

/// No I/O, no async, no clock, no environment.
const PURE: [&str; 3] = ["serin-analysis", "serin-scoring", "serin-tracking"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn metadata(deep: bool) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked"]).args((!deep).then_some("--no-deps"));
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Dependencies of each crate of the workspace, without those for tests alone.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let named = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let of = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"].is_null()).map(named).collect()
    };
    metadata(false)["packages"].as_array().unwrap().iter().map(|package| (named(package), of(package))).collect()
}

/// Every source file below a folder, with its text.
pub(crate) fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found.sort();
    found
}

fn crates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

/// The text without comments and without what only tests see.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    body.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

#[test]
fn crates_import_only_what_the_picture_shows() {
    let found = dependencies();
    let picture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (importer, imported) in ARROWS {
        let ours: BTreeSet<String> = found[importer].iter().filter(|name| name.starts_with("serin")).cloned().collect();
        assert_eq!(ours, words(imported), "{importer}: an arrow changed: change the picture in ARCHITECTURE.md first");
        let line = format!("{importer}: {}", words(imported).into_iter().collect::<Vec<_>>().join(" "));
        assert!(picture.contains(line.trim_end()), "ARCHITECTURE.md does not have the line {line:?}");
    }
    for (library, owners) in OWNED {
        let using = found.iter().filter(|(_, all)| all.contains(library)).map(|(name, _)| name.clone());
        assert_eq!(using.collect::<BTreeSet<_>>(), words(owners), "{library} has its owners");
    }
    let listed: BTreeSet<String> = ARROWS.iter().map(|(importer, _)| (*importer).to_owned()).collect();
    let importing = found.iter().filter(|(_, all)| all.iter().any(|name| name.starts_with("serin")));
    for (name, _) in importing {
        assert!(listed.contains(name) || name == "serin-testkit", "{name} is in no picture");
    }
}

/// What a program or crate is built of, with everything below it.
fn tree(of: &str, whole: &serde_json::Value) -> BTreeSet<String> {
    let nodes = whole["resolve"]["nodes"].as_array().unwrap();
    let name_of: BTreeMap<&str, &str> = whole["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let node_of: BTreeMap<&str, &serde_json::Value> =
        nodes.iter().map(|node| (node["id"].as_str().unwrap(), node)).collect();
    let start = name_of.iter().find(|(_, name)| **name == of).unwrap().0;
    let (mut open, mut seen) = (vec![*start], BTreeSet::new());
    while let Some(id) = open.pop() {
        if !seen.insert(name_of[id].to_owned()) {
            continue;
        }
        for below in node_of[id]["deps"].as_array().unwrap() {
            let linked = below["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
            if linked {
                open.push(below["pkg"].as_str().unwrap());
            }
        }
    }
    seen
}

#[test]
fn the_scoring_server_holds_no_sql_no_pages_and_no_xgboost() {
    let whole = metadata(true);
    for program in ["serin-gateway", "serin-scorer"] {
        let linked = tree(program, &whole);
        for library in ["sqlx", "sqlx-core", "askama", "arrow", "parquet", "xgboost_lib-sys", "utoipa-swagger-ui"] {
            assert!(!linked.contains(library), "{program} is built of {library}");
        }
    }
    assert!(tree("serin", &whole).contains("sqlx"), "the test sees what is linked");
}

#[test]
fn the_modules_of_a_crate_form_no_circle() {
    let mut circles = Vec::new();
    for folder in crates() {
        let src = folder.join("src");
        let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let files = sources(&src);
        let module = |path: &Path| {
            let first = path.strip_prefix(&src).unwrap().iter().next().unwrap().to_string_lossy().into_owned();
            first.trim_end_matches(".rs").to_owned()
        };
        let modules: BTreeSet<String> = files.iter().map(|(path, _)| module(path)).collect();
        for (path, text) in &files {
            let own = module(path);
            if matches!(own.as_str(), "lib" | "main") {
                continue;
            }
            let text = code(text);
            for (at, _) in text.match_indices("crate::") {
                let rest = &text[at + "crate::".len()..];
                // `crate::{a::B, c}` names several.
                let named: Vec<String> = match rest.strip_prefix('{') {
                    None => vec![rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()],
                    Some(list) => {
                        let mut depth = 1;
                        let inner: String = list
                            .chars()
                            .take_while(|c| {
                                depth += i32::from(*c == '{') - i32::from(*c == '}');
                                depth > 0
                            })
                            .collect();
                        let mut depth = 0;
                        let parts = inner.split(|c: char| {
                            depth += i32::from(c == '{') - i32::from(c == '}');
                            c == ',' && depth == 0
                        });
                        let name = |part: &str| part.trim().split("::").next().unwrap_or_default().to_owned();
                        parts.map(name).collect()
                    }
                };
                let others = named.into_iter().filter(|name| modules.contains(name) && *name != own);
                imports.entry(own.clone()).or_default().extend(others);
            }
        }
        // A module from which one comes back to itself is in a circle.
        for start in imports.keys() {
            let mut seen = BTreeSet::new();
            let mut open: Vec<&String> = imports[start].iter().collect();
            while let Some(next) = open.pop() {
                if seen.insert(next.clone()) {
                    open.extend(imports.get(next).into_iter().flatten());
                }
            }
            if seen.contains(start) {
                circles.push(format!("{}: {start}", folder.file_name().unwrap().to_string_lossy()));
            }
        }
    }
    assert!(circles.is_empty(), "modules that import each other: {circles:#?}");
}

#[test]
fn pure_crates_touch_nothing_outside_and_no_source_is_built_in_parts() {
    for name in PURE {
        for (path, text) in sources(&root().join("crates").join(name).join("src")) {
            // A file of tests, which may read fixtures.
            if path.file_stem().is_some_and(|stem| stem == "tests") {
                continue;
            }
            let text = code(&text);
            for outside in
                ["std::env::", "SystemTime", "Instant", "std::fs", "std::net", "tokio", "async fn", "std::thread"]
            {
                assert!(!text.contains(outside), "{}: {outside}", path.display());
            }
        }
    }
    for folder in crates() {
        for (path, text) in sources(&folder.join("src")) {
            assert!(!code(&text).contains("cfg(feature"), "{}: built in parts", path.display());
            let length = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
            assert!(length <= 520, "{}: {length} lines", path.display());
            let name = path.file_stem().unwrap().to_string_lossy();
            assert!(!["utils", "common", "helpers", "core", "manager"].contains(&name.as_ref()), "{}", path.display());
        }
    }
}

#[test]
fn the_clock_and_the_environment_are_read_by_programs_alone() {
    // Names of variables that hold secrets come from serin.toml, so that no secret stands in a file.
    let may = ["serin", "serin-scorer", "serin-testkit", "serin-training"];
    for folder in crates() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if may.contains(&name.as_str()) {
            continue;
        }
        for (path, text) in sources(&folder.join("src")) {
            let text = code(&text);
            let named_by_settings = path.ends_with("settings/receivers.rs") || path.ends_with("settings/mod.rs");
            assert!(!text.contains("std::env::var") || named_by_settings, "{}: environment", path.display());
            assert!(!text.contains("SystemTime::now"), "{}: clock", path.display());
        }
    }
}

/// Error types of every `Result<…>` that is written out in a source.
fn error_types(text: &str) -> Vec<String> {
    let mut types = Vec::new();
    for (start, word) in text.match_indices("Result<") {
        let (mut depth, mut last) = (1, 0);
        let inside = &text[start + word.len()..];
        let mut before = ' ';
        for (place, letter) in inside.char_indices() {
            match letter {
                '<' | '(' | '[' => depth += 1,
                '>' if before != '-' => depth -= 1,
                ')' | ']' => depth -= 1,
                ',' if depth == 1 => last = place + 1,
                _ => {}
            }
            if depth == 0 {
                let written = inside[last..place].trim();
                types.extend((last > 0 && !written.is_empty()).then(|| written.to_owned()));
                break;
            }
            before = letter;
        }
    }
    types
}

#[test]
fn an_error_is_a_type_and_no_text() {
    assert_eq!(error_types("fn f(x: &str) -> Result<Vec<(u8, u8)>, String> {"), ["String"]);
    assert_eq!(error_types("Result<Box<dyn Fn() -> u8>,\n    LogError>; io::Result<()>"), ["LogError"]);
    for folder in crates() {
        for (path, text) in sources(&folder.join("src")) {
            for written in error_types(&code(&text)) {
                assert!(written != "String", "{}: Result<_, String>: give the error a type of its own", path.display());
            }
        }
    }
}

#[test]
fn every_crate_says_what_it_is_for() {
    for folder in crates() {
        let text = std::fs::read_to_string(folder.join("README.md")).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        assert!((5..=40).contains(&lines), "{}: README of {lines} lines", folder.display());
    }
}
