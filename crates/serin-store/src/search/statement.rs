//! A statement under construction: SQL text with placeholders, and their values. Text of a client is only ever a
//! value.

use super::filter::{Clause, Comparator, Literal};
use crate::Store;
use crate::StoreError;
use crate::sql::{Row, Value};

/// Comparators that may stand beside text.
pub(crate) const TEXT: [Comparator; 4] = [Comparator::Equal, Comparator::NotEqual, Comparator::Like, Comparator::Ilike];
/// Comparators that may stand beside text or a list of texts.
pub(crate) const TEXT_OR_LIST: [Comparator; 6] =
    [Comparator::Equal, Comparator::NotEqual, Comparator::Like, Comparator::Ilike, Comparator::In, Comparator::NotIn];
/// Comparators that may stand beside the text of a key that may be absent.
pub(crate) const TEXT_OR_NULL: [Comparator; 6] = [
    Comparator::Equal,
    Comparator::NotEqual,
    Comparator::Like,
    Comparator::Ilike,
    Comparator::IsNull,
    Comparator::IsNotNull,
];
/// Comparators that may stand beside a number.
pub(crate) const NUMBER: [Comparator; 6] = [
    Comparator::Equal,
    Comparator::NotEqual,
    Comparator::Greater,
    Comparator::GreaterEqual,
    Comparator::Less,
    Comparator::LessEqual,
];

/// Parts of a SELECT statement and the values of its placeholders.
#[derive(Debug, Default, Clone)]
pub(crate) struct Statement {
    pub(crate) from: String,
    pub(crate) conditions: Vec<String>,
    pub(crate) order: Vec<String>,
    pub(crate) values: Vec<Value>,
}

impl Statement {
    pub(crate) fn from(table: &str) -> Self {
        Self { from: table.to_owned(), ..Self::default() }
    }

    /// Adds a value and returns its placeholder, such as `$3`.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    pub(crate) fn bind_all<T: Into<Value>>(&mut self, values: impl IntoIterator<Item = T>) -> String {
        values.into_iter().map(|value| self.bind(value)).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn condition(&mut self, sql: impl Into<String>) {
        self.conditions.push(sql.into());
    }

    /// `column comparator value` for text.
    pub(crate) fn compare_text(&mut self, column: &str, clause: &Clause, kind: &str) -> Result<String, StoreError> {
        Ok(match (clause.comparator, &clause.value) {
            (Comparator::In | Comparator::NotIn, Literal::List(items)) => {
                let list = self.bind_all(items.iter().map(String::as_str));
                format!("{column} {} ({list})", clause.comparator.text())
            }
            // SQLite has no ILIKE.
            (Comparator::Ilike, _) => {
                let value = self.bind(clause.text(kind)?);
                format!("LOWER({column}) LIKE LOWER({value})")
            }
            (comparator, _) => {
                let value = self.bind(clause.text(kind)?);
                format!("{column} {} {value}", comparator.text())
            }
        })
    }

    /// `column comparator value` for whole numbers, such as times.
    pub(crate) fn compare_number(&mut self, column: &str, clause: &Clause, kind: &str) -> Result<String, StoreError> {
        clause.only(&NUMBER)?;
        let value = self.bind(clause.number(kind)?);
        Ok(format!("{column} {} {value}", clause.comparator.text()))
    }

    fn sql(&self, columns: &str) -> String {
        let conditions = if self.conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.conditions.join(" AND "))
        };
        format!("SELECT {columns} FROM {}{conditions}", self.from)
    }

    /// One row more than `limit`, where there is one.
    pub(crate) async fn rows(
        mut self,
        store: &Store,
        columns: &str,
        limit: i64,
        offset: i64,
    ) -> Result<Vec<Row>, StoreError> {
        let order = if self.order.is_empty() { String::new() } else { format!(" ORDER BY {}", self.order.join(", ")) };
        let sql = self.sql(columns);
        let (limit, offset) = (self.bind(limit + 1), self.bind(offset));
        store.reader().rows(format!("{sql}{order} LIMIT {limit} OFFSET {offset}"), self.values).await
    }

    /// The number of rows, but no more than `most`.
    pub(crate) async fn count_up_to(mut self, store: &Store, most: i64) -> Result<i64, StoreError> {
        let sql = self.sql("1");
        let most = self.bind(most);
        let sql = format!("SELECT COUNT(*) FROM ({sql} LIMIT {most}) x");
        store.reader().row(sql, self.values).await?.map_or(Ok(0), |row| row.int(0))
    }

    pub(crate) async fn count(self, store: &Store) -> Result<i64, StoreError> {
        let sql = self.sql("COUNT(*)");
        store.reader().row(sql, self.values).await?.map_or(Ok(0), |row| row.int(0))
    }
}
