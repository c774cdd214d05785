//! Search for experiments, with MLflow's filter and order.

use super::filter::Comparator;
use super::statement::{NUMBER, Statement, TEXT, TEXT_OR_NULL};
use super::{Page, Search, filter, order, unknown_entity, unknown_key};
use crate::{Experiment, Store, StoreError, ViewType};

const KEYS: [&str; 4] = ["creation_time", "experiment_id", "last_update_time", "name"];

impl Store {
    /// A page of experiments.
    ///
    /// # Errors
    /// When the filter or the order cannot be read.
    pub async fn search_experiments(&self, search: &Search, view: ViewType) -> Result<Page<Experiment>, StoreError> {
        let mut statement = Statement::from("experiments e");
        statement.condition("e.workspace = 'default'");
        let stages = statement.bind_all(view.stages().iter().copied());
        statement.condition(format!("e.lifecycle_stage IN ({stages})"));
        for clause in filter::parse(&search.filter)? {
            match clause.entity.as_deref() {
                Some("tags" | "tag") => {
                    clause.only(&TEXT_OR_NULL)?;
                    let key = statement.bind(clause.key.as_str());
                    let found = format!(
                        "SELECT 1 FROM experiment_tags t WHERE t.experiment_id = e.experiment_id AND t.key = {key}"
                    );
                    let sql = match clause.comparator {
                        Comparator::IsNull => format!("NOT EXISTS ({found})"),
                        Comparator::IsNotNull => format!("EXISTS ({found})"),
                        _ => {
                            let compared = statement.compare_text("t.value", &clause, "tag")?;
                            format!("EXISTS ({found} AND {compared})")
                        }
                    };
                    statement.condition(sql);
                }
                None | Some("attribute" | "attributes" | "attr") => {
                    let sql = match clause.key.as_str() {
                        "name" => {
                            clause.only(&TEXT)?;
                            statement.compare_text("e.name", &clause, "attributes")?
                        }
                        "experiment_id" => {
                            clause.only(&[
                                Comparator::Equal,
                                Comparator::NotEqual,
                                Comparator::In,
                                Comparator::NotIn,
                            ])?;
                            // Ids are texts in the API.
                            statement.compare_text("CAST(e.experiment_id AS VARCHAR(20))", &clause, "attributes")?
                        }
                        key @ ("creation_time" | "last_update_time") => {
                            clause.only(&NUMBER)?;
                            statement.compare_number(&format!("e.{key}"), &clause, "attributes")?
                        }
                        key => return Err(unknown_key(key, &KEYS)),
                    };
                    statement.condition(sql);
                }
                Some(entity) => return Err(unknown_entity(entity, &["attribute", "tag"])),
            }
        }
        let orders = order::parse(&search.order_by)?;
        for order in &orders {
            let key = order.key.as_str();
            if !KEYS.contains(&key) || order.entity.as_deref().is_some_and(|e| !e.starts_with("attr")) {
                return Err(unknown_key(key, &KEYS));
            }
            statement.order.push(format!("e.{key} {}", order.direction()));
        }
        if orders.is_empty() {
            statement.order.push("e.creation_time DESC".into());
            statement.order.push("e.experiment_id ASC".into());
        } else if !orders.iter().any(|order| order.key == "experiment_id") {
            statement.order.push("e.experiment_id DESC".into());
        }
        let columns =
            "e.experiment_id, e.name, e.artifact_location, e.lifecycle_stage, e.creation_time, e.last_update_time";
        let rows = statement.rows(self, columns, search.limit, search.offset).await?;
        Ok(Page::cut(self.experiments_of(&rows).await?, search.limit, search.offset))
    }
}
