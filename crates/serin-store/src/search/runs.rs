//! Search for runs, with MLflow's filter and order.

use super::filter::{Clause, Comparator};
use super::order::OrderBy;
use super::statement::{NUMBER, Statement, TEXT, TEXT_OR_LIST, TEXT_OR_NULL};
use super::{Page, Search, filter, order, unknown_entity, unknown_key};
use crate::sql::Row;
use crate::{Run, Store, StoreError, ViewType};

/// Search for runs: where to look, what to match, in which order, and which page.
#[derive(Debug, Clone, Default)]
pub struct RunSearch {
    /// Ids of the experiments to look in.
    pub experiment_ids: Vec<i64>,
    /// Lifecycle stages to return: active, deleted or both.
    pub view: ViewType,
    /// Filter, order and page of the search.
    pub search: Search,
}

const KEYS: [&str; 8] =
    ["artifact_uri", "end_time", "experiment_id", "run_id", "run_name", "start_time", "status", "user_id"];
const COLUMNS: &str = "r.run_uuid, r.experiment_id, r.name, r.user_id, r.status, r.start_time, r.end_time, r.lifecycle_stage, r.artifact_uri";

/// Column or table that an identifier of a filter or an order names.
enum Key {
    Metric(String),
    Param(String),
    Tag(String),
    Dataset(String),
    Attribute(&'static str),
}

fn key(entity: Option<&str>, key: &str) -> Result<Key, StoreError> {
    Ok(match entity {
        Some("metrics" | "metric") => Key::Metric(key.to_owned()),
        Some("params" | "param" | "parameters" | "parameter") => Key::Param(key.to_owned()),
        Some("tags" | "tag") => Key::Tag(key.to_owned()),
        Some("datasets" | "dataset") => Key::Dataset(key.to_owned()),
        None | Some("attributes" | "attribute" | "attr" | "run") => Key::Attribute(match key {
            "status" => "status",
            "user_id" => "user_id",
            "artifact_uri" => "artifact_uri",
            "run_name" | "run name" | "Run name" | "Run Name" => "name",
            "run_id" => "run_uuid",
            "start_time" | "created" | "Created" => "start_time",
            "end_time" => "end_time",
            _ => return Err(unknown_key(key, &KEYS)),
        }),
        Some(entity) => {
            return Err(unknown_entity(entity, &["metric", "parameter", "tag", "attribute", "dataset"]));
        }
    })
}

impl Store {
    /// A page of runs with all they logged.
    ///
    /// # Errors
    /// When the filter or the order cannot be read.
    pub async fn search_runs(&self, asked: &RunSearch) -> Result<Page<Run>, StoreError> {
        let Search { filter, order_by, limit, offset } = &asked.search;
        let clauses = filter::parse(filter)?;
        let orders = order::parse(order_by)?;
        if asked.experiment_ids.is_empty() {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let base = self.filtered(asked, &clauses).await?;
        let mut infos = Vec::new();
        for row in self.ordered(base, &orders, *limit, *offset).await? {
            infos.push(crate::runs::run_info(&row)?);
        }
        let page = Page::cut(infos, *limit, *offset);
        Ok(Page { items: self.with_data(page.items).await?, next: page.next })
    }

    /// Rows in order, one more than `limit`.
    ///
    /// Sorted by a metric, the runs that have it come first by value, then those where it is NaN, then those without;
    /// by a param or tag, those that have it and those without. Each part is a range of one index, read in its order,
    /// and a page mostly needs only the first: what is not shown is not sorted.
    async fn ordered(
        &self,
        base: Statement,
        orders: &[OrderBy],
        limit: i64,
        offset: i64,
    ) -> Result<Vec<Row>, StoreError> {
        let first = orders.first().map(|order| key(order.entity.as_deref(), &order.key)).transpose()?;
        let (table, name, parts) = match first {
            Some(Key::Metric(name)) => ("latest_metrics", name, &METRIC_PARTS[..]),
            Some(Key::Param(name)) => ("params", name, &TEXT_PARTS[..]),
            Some(Key::Tag(name)) => ("tags", name, &TEXT_PARTS[..]),
            _ => return with_order(base, orders)?.rows(self, COLUMNS, limit, offset).await,
        };
        let direction = orders[0].direction();
        let mut rows: Vec<Row> = Vec::new();
        let mut skip = offset;
        for part in parts {
            let mut statement = base.clone();
            let bound = statement.bind(name.as_str());
            if *part == ABSENT {
                statement.condition(format!(
                    "NOT EXISTS (SELECT 1 FROM {table} o WHERE o.run_uuid = r.run_uuid AND o.key = {bound})"
                ));
            } else {
                // CROSS JOIN: SQLite then walks this index first instead of sorting all runs that pass the filter.
                statement.from = format!("{table} o0 CROSS JOIN {}", statement.from);
                statement.condition(format!("o0.run_uuid = r.run_uuid AND o0.key = {bound}{part}"));
                statement.order.push(format!("o0.value {direction}"));
            }
            let statement = with_order(statement, &orders[1..])?;
            let wanted = limit - rows.len() as i64;
            let found = statement.clone().rows(self, COLUMNS, wanted, skip).await?;
            let seen = found.len() as i64;
            rows.extend(found);
            if rows.len() as i64 > limit {
                break;
            }
            skip = match (skip, seen) {
                (0, _) => 0,
                (skip, 0) => skip - statement.count(self).await?.min(skip),
                _ => 0,
            };
        }
        Ok(rows)
    }

    async fn filtered(&self, asked: &RunSearch, clauses: &[Clause]) -> Result<Statement, StoreError> {
        let mut statement = Statement::from("runs r");
        let ids = statement.bind_all(asked.experiment_ids.iter().copied());
        statement.condition(format!("r.experiment_id IN ({ids})"));
        let stages = statement.bind_all(asked.view.stages().iter().copied());
        statement.condition(format!("r.lifecycle_stage IN ({stages})"));
        for clause in clauses {
            match key(clause.entity.as_deref(), &clause.key)? {
                Key::Metric(name) => {
                    let few = self.are_few("latest_metrics", |probe| metric_condition(probe, clause, &name)).await?;
                    let sql = metric_condition(&mut statement, clause, &name)?;
                    statement.condition(having("latest_metrics", &sql, few));
                }
                Key::Param(name) => self.keyed(&mut statement, clause, "params", &name, "parameter").await?,
                Key::Tag(name) => self.keyed(&mut statement, clause, "tags", &name, "tag").await?,
                Key::Dataset(name) => dataset(&mut statement, clause, &name)?,
                Key::Attribute(column) => attribute(&mut statement, clause, column)?,
            }
        }
        Ok(statement)
    }

    async fn keyed(
        &self,
        statement: &mut Statement,
        clause: &Clause,
        table: &'static str,
        name: &str,
        kind: &str,
    ) -> Result<(), StoreError> {
        clause.only(&TEXT_OR_NULL)?;
        if matches!(clause.comparator, Comparator::IsNull | Comparator::IsNotNull) {
            let name = statement.bind(name);
            let not = if clause.comparator == Comparator::IsNull { "NOT " } else { "" };
            statement.condition(format!("{not}{}", having(table, &format!("f.key = {name}"), false)));
            return Ok(());
        }
        // A run without the key matches neither `=` nor `!=`.
        let condition = |statement: &mut Statement| {
            let name = statement.bind(name);
            Ok(format!("f.key = {name} AND {}", statement.compare_text("f.value", clause, kind)?))
        };
        let few = self.are_few(table, condition).await?;
        let sql = condition(statement)?;
        statement.condition(having(table, &sql, few));
        Ok(())
    }

    /// Whether a condition on one table holds for so few rows that they are best collected first and each run looked up
    /// among them. The planner of SQLite does not know; counting entries of an index tells it in a millisecond or two.
    async fn are_few(
        &self,
        table: &str,
        condition: impl Fn(&mut Statement) -> Result<String, StoreError>,
    ) -> Result<bool, StoreError> {
        let mut probe = Statement::from(&format!("{table} f"));
        let sql = condition(&mut probe)?;
        if self.is_postgres() {
            return Ok(false);
        }
        probe.condition(sql);
        Ok(probe.count_up_to(self, FEW + 1).await? <= FEW)
    }
}

/// Most matches of a clause for which the matching runs are collected first.
const FEW: i64 = 20_000;
/// Parts that an order by a metric, and one by a param or tag, falls into, in their order.
const METRIC_PARTS: [&str; 3] = [" AND o0.is_nan = FALSE", " AND o0.is_nan = TRUE", ABSENT];
const TEXT_PARTS: [&str; 2] = ["", ABSENT];
const ABSENT: &str = "absent";

/// The run has a row in `table` (named `f`) that fulfils `condition`: as a set that is collected first, or as a
/// question to each run.
fn having(table: &str, condition: &str, first: bool) -> String {
    if first {
        format!("r.run_uuid IN (SELECT f.run_uuid FROM {table} f WHERE {condition})")
    } else {
        format!("EXISTS (SELECT 1 FROM {table} f WHERE f.run_uuid = r.run_uuid AND {condition})")
    }
}

fn metric_condition(statement: &mut Statement, clause: &Clause, name: &str) -> Result<String, StoreError> {
    clause.only(&NUMBER)?;
    let name = statement.bind(name);
    let value = statement.bind(clause.number("metric")?);
    let compared = format!("f.value {} {value}", clause.comparator.text());
    // NaN is unequal to everything and neither above nor below anything.
    Ok(match clause.comparator {
        Comparator::NotEqual => format!("f.key = {name} AND (f.is_nan = TRUE OR {compared})"),
        _ => format!("f.key = {name} AND f.is_nan = FALSE AND {compared}"),
    })
}

fn dataset(statement: &mut Statement, clause: &Clause, name: &str) -> Result<(), StoreError> {
    clause.only(&TEXT_OR_LIST)?;
    let (join, column) = match name {
        "name" => ("", "d.name"),
        "digest" => ("", "d.digest"),
        "context" => {
            (" JOIN input_tags c ON c.input_uuid = i.input_uuid AND c.name = 'mlflow.data.context'", "c.value")
        }
        other => {
            return Err(StoreError::InvalidInput(format!(
                "Invalid dataset key '{other}' specified. Valid keys are '{{'context', 'digest', 'name'}}'"
            )));
        }
    };
    let compared = statement.compare_text(column, clause, "dataset")?;
    statement.condition(format!(
        "EXISTS (SELECT 1 FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id{join} WHERE i.source_type = 'DATASET' \
         AND i.destination_type = 'RUN' AND i.destination_id = r.run_uuid AND {compared})"
    ));
    Ok(())
}

fn attribute(statement: &mut Statement, clause: &Clause, column: &str) -> Result<(), StoreError> {
    let sql = match column {
        "start_time" | "end_time" => statement.compare_number(&format!("r.{column}"), clause, "attributes")?,
        "run_uuid" => {
            clause.only(&TEXT_OR_LIST)?;
            statement.compare_text("r.run_uuid", clause, "attributes")?
        }
        _ if matches!(clause.comparator, Comparator::In | Comparator::NotIn) => {
            return Err(StoreError::invalid(
                "Only ['run_id'] attributes support comparison with a list of quoted string values.",
            ));
        }
        column => {
            clause.only(&TEXT)?;
            statement.compare_text(&format!("r.{column}"), clause, "attributes")?
        }
    };
    statement.condition(sql);
    Ok(())
}

/// Adds `orders`, then newest first, then by id.
fn with_order(mut statement: Statement, orders: &[OrderBy]) -> Result<Statement, StoreError> {
    let (mut by_start, mut by_id) = (false, false);
    for (number, order) in orders.iter().enumerate() {
        let direction = order.direction();
        let table = format!("o{}", number + 1);
        match key(order.entity.as_deref(), &order.key)? {
            Key::Metric(name) => {
                let name = statement.bind(name);
                statement.from = format!(
                    "{} LEFT JOIN latest_metrics {table} ON {table}.run_uuid = r.run_uuid AND {table}.key = {name}",
                    statement.from
                );
                statement.order.push(format!(
                    "CASE WHEN {table}.key IS NULL THEN 2 WHEN {table}.is_nan = TRUE THEN 1 ELSE 0 END, {table}.value {direction}"
                ));
            }
            kind @ (Key::Param(_) | Key::Tag(_)) => {
                let (from, name) = match kind {
                    Key::Param(name) => ("params", name),
                    Key::Tag(name) | Key::Metric(name) | Key::Dataset(name) => ("tags", name),
                    Key::Attribute(name) => ("tags", name.to_owned()),
                };
                let name = statement.bind(name);
                statement.from = format!(
                    "{} LEFT JOIN {from} {table} ON {table}.run_uuid = r.run_uuid AND {table}.key = {name}",
                    statement.from
                );
                statement.order.push(format!("{table}.value {direction} NULLS LAST"));
            }
            Key::Attribute(column) => {
                by_start |= column == "start_time";
                by_id |= column == "run_uuid";
                statement.order.push(format!("r.{column} {direction} NULLS LAST"));
            }
            Key::Dataset(_) => {
                return Err(StoreError::InvalidInput(format!(
                    "Invalid ordering key in order_by clause 'dataset.{}'.",
                    order.key
                )));
            }
        }
    }
    if !by_start {
        statement.order.push("r.start_time DESC NULLS LAST".into());
    }
    if !by_id {
        statement.order.push("r.run_uuid ASC".into());
    }
    Ok(statement)
}
