//! Parser of `order_by` clauses, such as `metrics.auc DESC`.

use crate::StoreError;

/// One parsed clause, `identifier [ASC|DESC]`; ascending without a direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderBy {
    pub(crate) entity: Option<String>,
    pub(crate) key: String,
    pub(crate) ascending: bool,
}

impl OrderBy {
    pub(crate) fn direction(&self) -> &'static str {
        if self.ascending { "ASC" } else { "DESC" }
    }
}

/// Parses the clauses; the same key twice is an error.
///
/// # Errors
/// With the clause that cannot be read.
pub(crate) fn parse(clauses: &[String]) -> Result<Vec<OrderBy>, StoreError> {
    let mut parsed: Vec<OrderBy> = Vec::new();
    for text in clauses {
        let order = one(text)?;
        if parsed.iter().any(|before| before.key == order.key && before.entity == order.entity) {
            return Err(StoreError::InvalidInput(format!(
                "`order_by` contains duplicate fields: {}",
                clauses.join(", ")
            )));
        }
        parsed.push(order);
    }
    Ok(parsed)
}

fn one(text: &str) -> Result<OrderBy, StoreError> {
    let bad = || StoreError::InvalidInput(format!("Invalid order_by clause '{text}'. Could not be parsed."));
    let trimmed = text.trim();
    let (identifier, ascending) = match trimmed.rsplit_once(char::is_whitespace) {
        Some((before, last)) if last.eq_ignore_ascii_case("asc") => (before.trim(), true),
        Some((before, last)) if last.eq_ignore_ascii_case("desc") => (before.trim(), false),
        _ => (trimmed, true),
    };
    let unquoted = |text: &str| {
        ['`', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote).map(str::to_owned))
    };
    if let Some(key) = unquoted(identifier) {
        return if key.is_empty() { Err(bad()) } else { Ok(OrderBy { entity: None, key, ascending }) };
    }
    let (entity, key) = match identifier.split_once('.') {
        Some((entity, key)) => (Some(entity.to_owned()), unquoted(key).unwrap_or_else(|| key.to_owned())),
        None => (None, identifier.to_owned()),
    };
    // `run name` is one key; any other blank, comma or quote means that something else was meant.
    let plain = key.eq_ignore_ascii_case("run name")
        || unquoted(identifier.split_once('.').map_or("", |(_, key)| key)).is_some();
    if key.is_empty() || (!plain && key.contains(|c: char| c.is_whitespace() || ",'\"`;()".contains(c))) {
        return Err(bad());
    }
    Ok(OrderBy { entity, key, ascending })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_read_with_their_quotes_and_directions() {
        let order = |text: &str| one(text).map(|o| (o.entity.unwrap_or_default(), o.key, o.ascending));
        assert_eq!(order("metrics.`a b` desc").ok(), Some(("metrics".into(), "a b".into(), false)));
        assert_eq!(order("start_time").ok(), Some((String::new(), "start_time".into(), true)));
        assert_eq!(order("Run Name ASC").ok(), Some((String::new(), "Run Name".into(), true)));
        assert_eq!(order("params.\"x.y\"").ok(), Some(("params".into(), "x.y".into(), true)));
        for bad in ["", "a b", "a, b", "metrics.", "a DESC ASC", "(a)"] {
            assert!(one(bad).is_err(), "{bad}");
        }
        assert!(parse(&["a".into(), "a DESC".into()]).is_err());
    }
}
