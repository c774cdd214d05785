//! Which names and values may be stored; MLflow's limits and messages.

use crate::StoreError;

/// Longest key of a metric, param or tag, in characters.
pub(crate) const MAX_KEY: usize = 250;
const MAX_PARAM_VALUE: usize = 6000;
const MAX_TAG_VALUE: usize = 8000;

pub(crate) fn limit(what: &str, text: &str, characters: usize) -> Result<(), StoreError> {
    if text.len() > characters && text.chars().count() > characters {
        return Err(StoreError::InvalidInput(format!(
            "'{what}' exceeds the maximum length of {characters} characters"
        )));
    }
    Ok(())
}

/// Key of a metric, param or tag: it may become a file name, so it must be its own normal form.
pub(crate) fn check_key(kind: &str, key: &str) -> Result<(), StoreError> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | ':' | '/');
    if key.is_empty() || !key.chars().all(fits) {
        return Err(StoreError::InvalidInput(format!(
            "Invalid value \"{key}\" for parameter 'name' supplied: Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/)."
        )));
    }
    let normal = normal_path(key);
    if normal != key || key == "." || key.starts_with("..") || key.starts_with('/') {
        return Err(StoreError::InvalidInput(format!(
            "Invalid value \"{key}\" for parameter 'name' supplied: Names may be treated as files in certain cases, and must not resolve to other names when treated as such. This name would resolve to '{normal}'"
        )));
    }
    limit(&format!("{kind} name"), key, MAX_KEY)
}

/// As POSIX paths are normalised.
fn normal_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (path.starts_with('/'), joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Longer param values are cut, as MLflow does by default.
pub(crate) fn cut_param(value: &str) -> String {
    cut(value, MAX_PARAM_VALUE)
}

/// Longer run tag values are cut.
pub(crate) fn cut_tag(value: &str) -> String {
    cut(value, MAX_TAG_VALUE)
}

fn cut(value: &str, characters: usize) -> String {
    if value.len() <= characters { value.to_owned() } else { value.chars().take(characters).collect() }
}

/// Name of a registered model: it becomes part of URIs.
pub(crate) fn check_model_name(name: &str) -> Result<(), StoreError> {
    if name.is_empty() {
        return Err(StoreError::invalid("Registered model name cannot be empty."));
    }
    if name.contains(['/', ':']) {
        return Err(StoreError::InvalidInput(format!("Invalid model name '{name}'. Names cannot contain '/' or ':'.")));
    }
    if name == "." || name == ".." || name.contains(['\\', '\0']) {
        return Err(StoreError::InvalidInput(format!("Invalid model name '{name}'. Names cannot be paths.")));
    }
    limit("name", name, 256)
}

/// Refuses names that a registered model or an alias of it cannot have.
///
/// # Errors
/// When one of them is no such name; the message is MLflow's.
pub fn check_names(model: &str, alias: Option<&str>) -> Result<(), StoreError> {
    check_model_name(model)?;
    alias.map_or(Ok(()), check_alias)
}

pub(crate) fn check_alias(alias: &str) -> Result<(), StoreError> {
    if alias.is_empty() {
        return Err(StoreError::invalid("Registered model alias name cannot be empty."));
    }
    if !alias.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
        return Err(StoreError::InvalidInput(format!(
            "Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )));
    }
    if alias.eq_ignore_ascii_case("latest") {
        return Err(StoreError::invalid("'latest' alias name (case insensitive) is reserved."));
    }
    let digits = alias.strip_prefix(['v', 'V']);
    if digits.is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())) {
        return Err(StoreError::InvalidInput(format!("Version alias name '{alias}' is reserved.")));
    }
    limit("alias", alias, 255)
}

/// Name of a logged model.
pub(crate) fn check_logged_model_name(name: &str) -> Result<(), StoreError> {
    if name.is_empty() || name.contains(['/', ':', '.', '%', '"', '\'']) {
        return Err(StoreError::InvalidInput(format!(
            "Invalid model name ('{name}') provided. Model name must be a non-empty string and cannot contain the following characters: ('/', ':', '.', '%', '\"', \"'\")"
        )));
    }
    limit("name", name, 500)
}

/// `<adjective>-<animal>-<number>` from random bits, for a run without a name.
pub(crate) fn run_name(random: u128) -> String {
    const ADJECTIVES: [&str; 32] = [
        "amber", "bold", "brave", "bright", "calm", "careful", "clever", "curious", "eager", "fair", "gentle",
        "golden", "honest", "humble", "jolly", "keen", "kind", "lively", "lucky", "merry", "mighty", "nimble",
        "patient", "proud", "quick", "quiet", "rapid", "sharp", "steady", "sunny", "wise", "witty",
    ];
    const ANIMALS: [&str; 32] = [
        "badger", "bee", "canary", "cat", "crane", "crow", "deer", "dove", "eagle", "falcon", "finch", "fox", "gull",
        "hare", "heron", "ibis", "jay", "kite", "lark", "lynx", "marten", "newt", "otter", "owl", "puffin", "raven",
        "robin", "seal", "serin", "swift", "tern", "wren",
    ];
    let pick = |shift: u32| (random >> shift) as usize % 32;
    format!("{}-{}-{}", ADJECTIVES[pick(0)], ANIMALS[pick(16)], (random >> 32) % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_their_own_normal_path_are_allowed() {
        for good in ["a", "val/auc", "a b", "x:y", "m_1.5", "ключ", "...a/b"] {
            assert_eq!(check_key("Metric", good).is_ok(), !good.starts_with(".."), "{good}");
        }
        for bad in ["", "a?b", "../a", "/a", "a//b", "a/../b", ".", "a/", "1e+308", &"a".repeat(251)] {
            assert!(check_key("Metric", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn aliases_that_mean_something_else_are_refused() {
        for bad in ["", "latest", "LATEST", "v1", "V12", "a b", "a/b"] {
            assert!(check_alias(bad).is_err(), "{bad}");
        }
        for good in ["champion", "v", "v1a", "a-b_c"] {
            assert!(check_alias(good).is_ok(), "{good}");
        }
    }
}
