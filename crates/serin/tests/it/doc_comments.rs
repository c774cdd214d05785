//! Doc comments say what a thing is, in words: with its unit where its name has one, and its shape where it is a matrix.

use std::path::{Path, PathBuf};

/// Fewest words of a doc comment: a subject, and something that its name does not say.
const WORDS: usize = 4;

/// Endings of names that hold a unit, and how a comment may say it.
const UNITS: [(&str, &[&str]); 6] = [
    ("_ms", &["millisecond", " ms", "_ms"]),
    ("_MS", &["millisecond", " ms"]),
    ("_ns", &["nanosecond", " ns"]),
    ("_NS", &["nanosecond", " ns"]),
    ("_bytes", &["byte"]),
    ("_BYTES", &["byte"]),
];

/// Words that say what the values of a slice are, and in which order.
const SHAPES: [&str; 12] = [
    "one row",
    "a row",
    "row's",
    "row-major",
    "one for each",
    "one entry",
    "each",
    "ascending",
    "order",
    "per ",
    " values",
    "length",
];

/// One documented item: where it is, its comment, and its first line.
struct Documented {
    place: String,
    comment: String,
    item: String,
}

/// Sources whose comments are the help texts of a command line are left out: clap has its own form.
fn is_help(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "cli") || path.ends_with("options.rs")
}

fn documented(path: &Path, text: &str) -> Vec<Documented> {
    let lines: Vec<&str> = text.split("#[cfg(test)]\nmod").next().unwrap_or_default().lines().map(str::trim).collect();
    let (mut found, mut number) = (Vec::new(), 0);
    while number < lines.len() {
        let mut next = number;
        let mut comment = String::new();
        while let Some(line) = lines.get(next).and_then(|line| line.strip_prefix("///")) {
            comment.push_str(line);
            next += 1;
        }
        if next == number {
            number += 1;
            continue;
        }
        // Attributes stand between the comment and its item, some of them over several lines.
        while lines.get(next).is_some_and(|line| line.starts_with("#[")) {
            let mut depth = 0_i32;
            loop {
                let line = lines.get(next).copied().unwrap_or_default();
                let count =
                    |open: char, shut: char| line.matches(open).count() as i32 - line.matches(shut).count() as i32;
                depth += count('[', ']') + count('(', ')');
                next += 1;
                if depth <= 0 || next >= lines.len() {
                    break;
                }
            }
        }
        let item = lines.get(next).copied().unwrap_or_default().to_owned();
        found.push(Documented { place: format!("{}:{}", path.display(), number + 1), comment, item });
        number = next + 1;
    }
    found
}

/// Name of a field or constant.
fn name(item: &str) -> &str {
    let item = item.trim_start_matches("pub").trim_start();
    let item =
        if item.starts_with('(') { item.split_once(')').map_or("", |(_, rest)| rest).trim_start() } else { item };
    let item = item.strip_prefix("const ").unwrap_or(item);
    let end = item.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(item.len());
    if item[end..].starts_with(':') { &item[..end] } else { "" }
}

fn complaints(one: &Documented) -> Vec<String> {
    let Documented { place, comment, item } = one;
    let mut found = Vec::new();
    // A section on errors or panics says nothing of what the item is.
    let subject = comment.split(" # ").next().unwrap_or_default();
    if subject.split_whitespace().count() < WORDS {
        found.push(format!("{place}: {comment:?} says too little of `{item}`"));
    }
    let name = name(item);
    for (ending, words) in UNITS {
        if name.ends_with(ending) && !words.iter().any(|word| comment.to_lowercase().contains(word)) {
            found.push(format!("{place}: {comment:?} does not say the unit of `{name}`"));
        }
    }
    let public = item.starts_with("pub");
    let matrix = item.contains("&[f32]") || item.contains("Vec<f32>");
    if public && matrix && !SHAPES.iter().any(|shape| comment.contains(shape)) {
        found.push(format!("{place}: {comment:?} does not say the shape of `{item}`"));
    }
    found
}

#[test]
fn doc_comments_have_a_subject_a_unit_and_a_shape() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut all, mut wrong) = (0, Vec::new());
    let mut folders: Vec<PathBuf> = std::fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders {
        for (path, text) in crate::architecture::sources(&folder.join("src")) {
            if is_help(&path) {
                continue;
            }
            let documented = documented(&path, &text);
            all += documented.len();
            wrong.extend(documented.iter().flat_map(complaints));
        }
    }
    assert!(all > 3000, "the test sees the comments: {all}");
    assert!(wrong.is_empty(), "{} comments:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_check_sees_what_it_looks_for() {
    let text = "/// All of them.\n///\n/// # Errors\n/// When one is not there, or more than one.\npub struct Rows;\n/// How long the look at the rows takes.\n#[serde(\n  default\n)]\npub(crate) took_ms: i64,\n\
                /// Features of the rows of a request.\npub fn score(rows: &[f32]) {\n/// Time of the look, epoch milliseconds.\npub at_ms: i64,\n";
    let found: Vec<String> = documented(Path::new("x.rs"), text).iter().flat_map(complaints).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[0].contains("too little") && found[1].contains("`took_ms`") && found[2].contains("shape"),
        "{found:?}"
    );
}
