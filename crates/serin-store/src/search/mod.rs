//! Searches: MLflow's filter and order grammar, turned into one SQL statement a page.
//!
//! `filter` reads clauses, `order` reads `order_by`, `statement` collects SQL and values; one file for each thing
//! that is searched says which keys it has.

mod experiments;
mod filter;
mod logged_models;
mod order;
mod registry;
mod runs;
mod statement;

use crate::StoreError;

pub use logged_models::{LoggedModelOrder, LoggedModelSearch};
pub use runs::RunSearch;

/// One page of the results of a search.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// Results of the page, in the order asked for.
    pub items: Vec<T>,
    /// Offset of the next page; `None` on the last one.
    pub next: Option<i64>,
}

/// Filter, order and page of a search.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Clauses joined by `AND`; empty for everything.
    pub filter: String,
    /// Keys to order by, each `key`, `key ASC` or `key DESC`.
    pub order_by: Vec<String>,
    /// Most results in the page, from 1.
    pub limit: i64,
    /// Number of results before the page.
    pub offset: i64,
}

impl<T> Page<T> {
    /// From up to `limit + 1` items after `offset`: the one too many tells that there is more, and is cut.
    #[must_use]
    pub fn cut(mut items: Vec<T>, limit: i64, offset: i64) -> Self {
        let more = items.len() as i64 > limit;
        items.truncate(usize::try_from(limit).unwrap_or(0));
        Self { items, next: more.then_some(offset + limit) }
    }
}

fn unknown_key(key: &str, valid: &[&str]) -> StoreError {
    let list: Vec<String> = valid.iter().map(|key| format!("'{key}'")).collect();
    StoreError::InvalidInput(format!(
        "Invalid attribute key '{key}' specified. Valid keys are '{{{}}}'",
        list.join(", ")
    ))
}

fn unknown_entity(entity: &str, valid: &[&str]) -> StoreError {
    let list: Vec<String> = valid.iter().map(|entity| format!("'{entity}'")).collect();
    StoreError::InvalidInput(format!("Invalid entity type '{entity}'. Valid values are {{{}}}", list.join(", ")))
}
