//! One way to talk to both databases: the same SQL text, typed values in, typed columns out.

use crate::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Executor, Postgres, Row as _, Sqlite, Transaction};
use std::borrow::Cow;

/// SQL text: a literal, or built from literals and placeholders only.
pub(crate) type Sql = Cow<'static, str>;

/// A bound value. Nulls keep their type: PostgreSQL refuses a null of another one.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Real(Option<f64>),
    Text(Option<String>),
    Bool(bool),
}

macro_rules! value_from {
    ($($from:ty => |$x:ident| $make:expr),* $(,)?) => {
        $(impl From<$from> for Value { fn from($x: $from) -> Self { $make } })*
    };
}
value_from! {
    i64 => |x| Self::Int(Some(x)),
    Option<i64> => |x| Self::Int(x),
    f64 => |x| Self::Real(Some(x)),
    Option<f64> => |x| Self::Real(x),
    bool => |x| Self::Bool(x),
    String => |x| Self::Text(Some(x)),
    &String => |x| Self::Text(Some(x.clone())),
    &str => |x| Self::Text(Some(x.to_owned())),
    Option<String> => |x| Self::Text(x),
    Option<&str> => |x| Self::Text(x.map(str::to_owned)),
}

/// The values of `$1`, `$2`, …
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Value::from($value)),*] };
}
pub(crate) use args;

/// `$first, $first+1, …`: placeholders of a list.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ")
}

/// A row of either database; columns by position.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(crate) fn opt_int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get_unchecked(column)?,
            // INTEGER columns are four bytes wide there, BIGINT and counts eight.
            Self::Postgres(row) => match row.try_get::<Option<i64>, _>(column) {
                Ok(value) => value,
                Err(_) => row.try_get::<Option<i32>, _>(column)?.map(i64::from),
            },
        })
    }

    pub(crate) fn int(&self, column: usize) -> Result<i64, StoreError> {
        Ok(self.opt_int(column)?.unwrap_or_default())
    }

    pub(crate) fn real(&self, column: usize) -> Result<f64, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get_unchecked(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    pub(crate) fn opt_real(&self, column: usize) -> Result<Option<f64>, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get_unchecked(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    pub(crate) fn bool(&self, column: usize) -> Result<bool, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get_unchecked(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    pub(crate) fn opt_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        Ok(match self {
            Self::Sqlite(row) => row.try_get_unchecked(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    /// Null reads as the empty text, as MLflow shows it.
    pub(crate) fn text(&self, column: usize) -> Result<String, StoreError> {
        Ok(self.opt_text(column)?.unwrap_or_default())
    }
}

/// Connection that statements go to: a pool for reading, or the transaction of one write.
#[derive(Debug)]
pub(crate) enum Connection {
    SqlitePool(SqlitePool),
    Sqlite(PoolConnection<Sqlite>),
    PostgresPool(PgPool),
    Postgres(Transaction<'static, Postgres>),
}

macro_rules! run {
    ($self:ident, $sql:ident, $args:ident, |$query:ident, $on:ident| $run:expr, |$done:ident| $sqlite:expr, $postgres:expr) => {
        match $self {
            Self::SqlitePool($on) => {
                let $query = sqlx::query_with(AssertSqlSafe($sql), sqlite($args)?);
                let $on = &*$on;
                let $done = $run;
                $sqlite
            }
            Self::Sqlite($on) => {
                let $query = sqlx::query_with(AssertSqlSafe($sql), sqlite($args)?);
                let $on = &mut **$on;
                let $done = $run;
                $sqlite
            }
            Self::PostgresPool($on) => {
                let $query = sqlx::query_with(AssertSqlSafe($sql), postgres($args)?);
                let $on = &*$on;
                let $done = $run;
                $postgres
            }
            Self::Postgres($on) => {
                let $query = sqlx::query_with(AssertSqlSafe($sql), postgres($args)?);
                let $on = &mut **$on;
                let $done = $run;
                $postgres
            }
        }
    };
}

impl Connection {
    /// Rows of placeholders, `($1, $2), ($3, $4)`, for a statement that has no other ones. SQLite keeps the names of
    /// placeholders in a list that it walks for every one of them, which takes longer than inserting the rows; it
    /// gets nameless ones.
    pub(crate) fn values_list(&self, rows: usize, columns: usize) -> String {
        let row = |row: usize| match self {
            Self::SqlitePool(_) | Self::Sqlite(_) => ["?"].repeat(columns).join(", "),
            Self::PostgresPool(_) | Self::Postgres(_) => placeholders(row * columns + 1, columns),
        };
        (0..rows).map(|i| format!("({})", row(i))).collect::<Vec<_>>().join(", ")
    }

    /// Runs a statement and returns the number of rows it changed.
    pub(crate) async fn execute(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<u64, StoreError> {
        let sql = sql.into();
        Ok(run!(
            self,
            sql,
            values,
            |query, on| query.execute(on).await?,
            |done| done.rows_affected(),
            done.rows_affected()
        ))
    }

    pub(crate) async fn rows(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let sql = sql.into();
        Ok(run!(
            self,
            sql,
            values,
            |query, on| query.fetch_all(on).await?,
            |done| done.into_iter().map(Row::Sqlite).collect(),
            done.into_iter().map(Row::Postgres).collect()
        ))
    }

    pub(crate) async fn row(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Option<Row>, StoreError> {
        let sql = sql.into();
        Ok(run!(
            self,
            sql,
            values,
            |query, on| query.fetch_optional(on).await?,
            |done| done.map(Row::Sqlite),
            done.map(Row::Postgres)
        ))
    }

    /// Several statements without values, such as a migration.
    pub(crate) async fn script(&mut self, sql: String) -> Result<(), StoreError> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::SqlitePool(pool) => {
                pool.execute(sql).await?;
            }
            Self::Sqlite(connection) => {
                connection.execute(sql).await?;
            }
            Self::PostgresPool(pool) => {
                pool.execute(sql).await?;
            }
            Self::Postgres(transaction) => {
                transaction.execute(sql).await?;
            }
        }
        Ok(())
    }
}

/// The values as one database takes them: the same words, other types.
macro_rules! arguments {
    ($name:ident, $arguments:ty) => {
        fn $name(values: Vec<Value>) -> Result<$arguments, StoreError> {
            let mut arguments = <$arguments>::default();
            for value in values {
                match value {
                    Value::Int(value) => arguments.add(value),
                    Value::Real(value) => arguments.add(value),
                    Value::Text(value) => arguments.add(value),
                    Value::Bool(value) => arguments.add(value),
                }
                .map_err(sqlx::Error::Encode)?;
            }
            Ok(arguments)
        }
    };
}
arguments!(sqlite, SqliteArguments);
arguments!(postgres, PgArguments);
