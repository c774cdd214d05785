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

/// A page of results.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The results.
    pub items: Vec<T>,
    /// Offset of the next page, when there is more.
    pub next: Option<i64>,
}

/// What is asked of a search: filter, order and place.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Clauses; empty for everything.
    pub filter: String,
    /// `key`, `key ASC` or `key DESC`.
    pub order_by: Vec<String>,
    /// Results of a page, from 1.
    pub limit: i64,
    /// Results before the page.
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
