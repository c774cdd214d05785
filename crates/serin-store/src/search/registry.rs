//! Searching registered models and model versions.

use super::filter::{Clause, Comparator, Literal};
use super::statement::{NUMBER, Statement, TEXT, TEXT_OR_LIST};
use super::{Page, Search, filter, order, unknown_entity, unknown_key};
use crate::{ModelVersion, RegisteredModel, Store, StoreError};

/// MLflow keeps its prompts in the model registry, behind this tag.
const PROMPT: &str = "mlflow.prompt.is_prompt";

/// `tags.key comparator value` on a tag table; a model without the prompt tag is no prompt.
fn tag_condition(statement: &mut Statement, clause: &Clause, table: &str, owner: &str) -> Result<String, StoreError> {
    clause.only(&TEXT)?;
    let key = statement.bind(clause.key.as_str());
    let found = format!("SELECT 1 FROM {table} t WHERE t.workspace = 'default' AND {owner} AND t.key = {key}");
    if clause.key == PROMPT && clause.comparator == Comparator::NotEqual {
        let value = statement.bind(clause.text("tag")?);
        return Ok(format!("NOT EXISTS ({found} AND t.value = {value})"));
    }
    let compared = statement.compare_text("t.value", clause, "tag")?;
    Ok(format!("EXISTS ({found} AND {compared})"))
}

fn hide_prompts(statement: &mut Statement, table: &str, owner: &str) {
    let key = statement.bind(PROMPT);
    statement.condition(format!(
        "NOT EXISTS (SELECT 1 FROM {table} t WHERE t.workspace = 'default' AND {owner} AND t.key = {key} AND t.value = 'true')"
    ));
}

fn is_tag(clause: &Clause) -> Result<bool, StoreError> {
    match clause.entity.as_deref() {
        Some("tags" | "tag") => Ok(true),
        None | Some("attribute" | "attributes" | "attr") => Ok(false),
        Some(entity) => Err(unknown_entity(entity, &["attribute", "tag"])),
    }
}

impl Store {
    /// A page of registered models.
    ///
    /// # Errors
    /// When the filter or the order cannot be read.
    pub async fn search_registered_models(&self, search: &Search) -> Result<Page<RegisteredModel>, StoreError> {
        let mut statement = Statement::from("registered_models m");
        statement.condition("m.workspace = 'default'");
        let owner = "t.name = m.name";
        let clauses = filter::parse(&search.filter)?;
        for clause in &clauses {
            let sql = if is_tag(clause)? {
                tag_condition(&mut statement, clause, "registered_model_tags", owner)?
            } else if clause.key == "name" {
                clause.only(&TEXT_OR_LIST)?;
                statement.compare_text("m.name", clause, "attributes")?
            } else {
                return Err(unknown_key(&clause.key, &["name"]));
            };
            statement.condition(sql);
        }
        if !clauses.iter().any(|clause| clause.key == PROMPT) {
            hide_prompts(&mut statement, "registered_model_tags", owner);
        }
        let orders = order::parse(&search.order_by)?;
        for order in &orders {
            let column = match order.key.as_str() {
                "name" => "m.name",
                "timestamp" | "last_updated_timestamp" => "m.last_updated_time",
                key => {
                    return Err(StoreError::InvalidInput(format!(
                        "Invalid order by key '{key}' specified. Valid keys are '{{'timestamp', 'name'}}'"
                    )));
                }
            };
            statement.order.push(format!("{column} {}", order.direction()));
        }
        if !orders.iter().any(|order| order.key == "name") {
            statement.order.push("m.name ASC".into());
        }
        let columns = crate::registered_models::COLUMNS;
        let rows = statement.rows(self, columns, search.limit, search.offset).await?;
        let page = Page::cut(rows, search.limit, search.offset);
        Ok(Page { items: self.registered_models_of(&page.items).await?, next: page.next })
    }

    /// A page of model versions, without their aliases.
    ///
    /// # Errors
    /// When the filter or the order cannot be read.
    pub async fn search_model_versions(&self, search: &Search) -> Result<Page<ModelVersion>, StoreError> {
        let keys = ["version_number", "source_path", "run_id", "name"];
        let mut statement = Statement::from("model_versions v");
        statement.condition("v.workspace = 'default'");
        statement.condition("v.current_stage <> 'Deleted_Internal'");
        let owner = "t.name = v.name AND t.version = v.version";
        let clauses = filter::parse(&search.filter)?;
        for clause in &clauses {
            let sql = if is_tag(clause)? {
                tag_condition(&mut statement, clause, "model_version_tags", owner)?
            } else {
                match clause.key.as_str() {
                    key @ ("name" | "run_id") => {
                        clause.only(&TEXT_OR_LIST)?;
                        statement.compare_text(&format!("v.{key}"), clause, "attributes")?
                    }
                    "source_path" => {
                        clause.only(&TEXT)?;
                        statement.compare_text("v.source", clause, "attributes")?
                    }
                    "version_number" => {
                        clause.only(&NUMBER)?;
                        let mut clause = clause.clone();
                        if let Literal::Text(text) = &clause.value
                            && let Ok(number) = text.parse::<i64>()
                        {
                            clause.value = Literal::Number(text.clone(), number as f64);
                        }
                        statement.compare_number("v.version", &clause, "attributes")?
                    }
                    key => return Err(unknown_key(key, &keys)),
                }
            };
            statement.condition(sql);
        }
        if !clauses.iter().any(|clause| clause.key == PROMPT) {
            hide_prompts(&mut statement, "model_version_tags", owner);
        }
        let orders = order::parse(&search.order_by)?;
        for order in &orders {
            let column = match order.key.as_str() {
                "name" => "v.name",
                "version_number" => "v.version",
                "creation_timestamp" => "v.creation_time",
                "last_updated_timestamp" => "v.last_updated_time",
                key => {
                    let keys = ["last_updated_timestamp", "version_number", "creation_timestamp", "name"];
                    return Err(unknown_key(key, &keys));
                }
            };
            statement.order.push(format!("{column} {}", order.direction()));
        }
        if orders.is_empty() {
            statement.order.push("v.last_updated_time DESC".into());
        }
        for (key, sql) in [("name", "v.name ASC"), ("version_number", "v.version DESC")] {
            if !orders.iter().any(|order| order.key == key) {
                statement.order.push(sql.into());
            }
        }
        let rows = statement.rows(self, crate::model_versions::COLUMNS, search.limit, search.offset).await?;
        Ok(Page::cut(self.model_versions_of(&rows, false).await?, search.limit, search.offset))
    }
}
