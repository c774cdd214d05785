//! Search for logged models, with MLflow's filter and order.

use super::filter::{Clause, Comparator};
use super::statement::{NUMBER, Statement, TEXT_OR_LIST};
use super::{Page, filter, unknown_entity, unknown_key};
use crate::{LoggedModel, LoggedModelStatus, Store, StoreError};

const KEYS: [&str; 7] =
    ["name", "model_id", "model_type", "status", "source_run_id", "creation_timestamp", "last_updated_timestamp"];

/// One key of the order in which logged models are returned.
#[derive(Debug, Clone)]
pub struct LoggedModelOrder {
    /// Attribute to order by, or `metrics.NAME`.
    pub field_name: String,
    /// True for smallest first, false for largest first.
    pub ascending: bool,
    /// Name and digest of the data set whose metric values are ordered by; `None` for any.
    pub dataset: (Option<String>, Option<String>),
}

/// Search for logged models: where to look, what to match, in which order, and which page.
#[derive(Debug, Clone, Default)]
pub struct LoggedModelSearch {
    /// Ids of the experiments to look in; without any, nothing is found.
    pub experiment_ids: Vec<i64>,
    /// Clauses joined by `AND`; empty for everything.
    pub filter: String,
    /// Data sets that metric clauses are about, by name and digest; a digest of `None` stands for any.
    pub datasets: Vec<(String, Option<String>)>,
    /// Keys to order by, the first one first; equal ones are ordered by time of creation, newest first.
    pub order_by: Vec<LoggedModelOrder>,
    /// Most results in the page.
    pub limit: i64,
    /// Number of results before the page.
    pub offset: i64,
}

fn column(key: &str) -> Option<&'static str> {
    Some(match key {
        "name" => "m.name",
        "model_id" => "m.model_id",
        "model_type" => "m.model_type",
        "source_run_id" => "m.source_run_id",
        "status" => "m.status",
        "creation_time" | "creation_timestamp" | "creation_timestamp_ms" => "m.creation_timestamp_ms",
        "last_updated_time" | "last_updated_timestamp" | "last_updated_timestamp_ms" => "m.last_updated_timestamp_ms",
        _ => return None,
    })
}

impl Store {
    /// A page of logged models.
    ///
    /// # Errors
    /// When the filter or the order cannot be read.
    pub async fn search_logged_models(&self, search: &LoggedModelSearch) -> Result<Page<LoggedModel>, StoreError> {
        if search.experiment_ids.is_empty() {
            return Ok(Page { items: Vec::new(), next: None });
        }
        let mut statement = Statement::from("logged_models m");
        statement.condition("m.lifecycle_stage = 'active'");
        let ids = statement.bind_all(search.experiment_ids.iter().copied());
        statement.condition(format!("m.experiment_id IN ({ids})"));
        let clauses = filter::parse(&search.filter).map_err(|_| {
            StoreError::InvalidInput(format!(
                "Invalid filter string: {:?}. Expected a list of comparisons separated by 'AND' (e.g. 'metrics.loss > 0.1 AND params.lr = 0.01').",
                search.filter
            ))
        })?;
        for clause in &clauses {
            let sql = match clause.entity.as_deref() {
                Some("metrics") => metric_condition(&mut statement, clause, &search.datasets)?,
                Some(entity @ ("params" | "tags")) => {
                    clause.only(&TEXT_OR_LIST)?;
                    let kind = &entity[..entity.len() - 1];
                    let key = statement.bind(clause.key.as_str());
                    let compared = statement.compare_text(&format!("p.{kind}_value"), clause, kind)?;
                    format!(
                        "EXISTS (SELECT 1 FROM logged_model_{entity} p WHERE p.model_id = m.model_id AND p.{kind}_key = {key} AND {compared})"
                    )
                }
                None | Some("attributes" | "attribute") => attribute_condition(&mut statement, clause)?,
                Some(entity) => return Err(unknown_entity(entity, &["attributes", "metrics", "params", "tags"])),
            };
            statement.condition(sql);
        }
        for order in &search.order_by {
            let direction = if order.ascending { "ASC" } else { "DESC" };
            if let Some(metric) = order.field_name.strip_prefix("metrics.") {
                let key = statement.bind(metric);
                let mut only = String::new();
                for (value, name) in [(&order.dataset.0, "dataset_name"), (&order.dataset.1, "dataset_digest")] {
                    if let Some(value) = value {
                        let value = statement.bind(value.as_str());
                        only.push_str(&format!(" AND o.{name} = {value}"));
                    }
                }
                statement.order.push(format!(
                    "(SELECT o.metric_value FROM logged_model_metrics o WHERE o.model_id = m.model_id AND o.metric_name = {key}{only} \
                     ORDER BY o.metric_timestamp_ms DESC, o.metric_step DESC LIMIT 1) {direction} NULLS LAST"
                ));
            } else {
                let key = order.field_name.trim_start_matches("attributes.");
                let column = column(key).ok_or_else(|| unknown_key(key, &KEYS))?;
                statement.order.push(format!("{column} {direction}"));
            }
        }
        statement.order.push("m.creation_timestamp_ms DESC".into());
        statement.order.push("m.model_id ASC".into());
        let rows = statement.rows(self, crate::logged_models::COLUMNS, search.limit, search.offset).await?;
        Ok(Page::cut(self.logged_models_of(&rows).await?, search.limit, search.offset))
    }
}

fn attribute_condition(statement: &mut Statement, clause: &Clause) -> Result<String, StoreError> {
    let key = clause.key.as_str();
    let column = column(key).ok_or_else(|| unknown_key(key, &KEYS))?;
    if key == "status" {
        clause.only(&[Comparator::Equal, Comparator::NotEqual])?;
        let text = clause.text("attributes")?;
        let status = LoggedModelStatus::of(text).ok_or_else(|| {
            StoreError::InvalidInput(format!("Invalid status '{text}': choose from PENDING, READY, UPLOAD_FAILED"))
        })?;
        let value = statement.bind(status.number());
        return Ok(format!("{column} {} {value}", clause.comparator.text()));
    }
    if column.ends_with("_ms") {
        clause.only(&NUMBER)?;
        return statement.compare_number(column, clause, "attributes");
    }
    clause.only(&TEXT_OR_LIST)?;
    statement.compare_text(column, clause, "attributes")
}

fn metric_condition(
    statement: &mut Statement,
    clause: &Clause,
    datasets: &[(String, Option<String>)],
) -> Result<String, StoreError> {
    clause.only(&NUMBER)?;
    let key = statement.bind(clause.key.as_str());
    let compared = statement.compare_number("x.metric_value", clause, "metric")?;
    let mut about = Vec::new();
    for (name, digest) in datasets {
        let name = statement.bind(name.as_str());
        about.push(match digest {
            Some(digest) => {
                let digest = statement.bind(digest.as_str());
                format!("(x.dataset_name = {name} AND x.dataset_digest = {digest})")
            }
            None => format!("x.dataset_name = {name}"),
        });
    }
    let about = if about.is_empty() { String::new() } else { format!(" AND ({})", about.join(" OR ")) };
    Ok(format!(
        "EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model_id = m.model_id AND x.metric_name = {key} AND {compared}{about})"
    ))
}
