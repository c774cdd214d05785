//! Inputs and outputs of a run: data sets it used, models it used, models it made.

use crate::run_rows::active_run;
use crate::sql::{Connection, Row, Value, args, placeholders};
use crate::{Store, StoreError};
use serin_tracking::Tag;

/// A data set a run used, with tags such as `mlflow.data.context`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatasetInput {
    /// Name of the data set.
    pub name: String,
    /// Digest of the data set's content, as the client computed it.
    pub digest: String,
    /// Kind of `source`, such as `local`.
    pub source_type: String,
    /// Source that the data set was read from, as the client describes it.
    pub source: String,
    /// Schema of the data set as JSON, where the client sent one.
    pub schema: Option<String>,
    /// Statistics of the data set as JSON, where the client sent them.
    pub profile: Option<String>,
    /// Tags of this use of the data set, such as its context.
    pub tags: Vec<Tag>,
}

/// Inputs of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunInputs {
    /// Data sets that the run used.
    pub datasets: Vec<DatasetInput>,
    /// Ids of the logged models that the run used.
    pub models: Vec<String>,
}

/// A logged model that a run made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOutput {
    /// Id of the logged model.
    pub model_id: String,
    /// Training step at which the run made the model.
    pub step: i64,
}

/// A data set of an experiment and the context it was used in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetSummary {
    /// Id of the experiment.
    pub experiment_id: i64,
    /// Name of the data set.
    pub name: String,
    /// Digest of the data set's content.
    pub digest: String,
    /// Value of the tag `mlflow.data.context`, where the use has one.
    pub context: Option<String>,
}

const LINK: &str = "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id, step) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (source_type, source_id, destination_type, destination_id) DO NOTHING";

fn id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Store {
    /// Records what an active run used; the same input twice is recorded once.
    ///
    /// # Errors
    /// When the run is missing or deleted, or a name does not fit.
    pub async fn log_inputs(&self, run_id: &str, inputs: RunInputs) -> Result<(), StoreError> {
        for dataset in &inputs.datasets {
            check(dataset)?;
        }
        let run_id = run_id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let experiment = active_run(connection, &run_id).await?;
                for dataset in &inputs.datasets {
                    put_dataset(connection, &run_id, experiment, dataset).await?;
                }
                for model in &inputs.models {
                    connection.execute(LINK, args![id(), "RUN_INPUT", &run_id, "MODEL_INPUT", model, 0i64]).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Notes which models an active run made; twice is once.
    ///
    /// # Errors
    /// When the run is missing or deleted.
    pub async fn log_outputs(&self, run_id: &str, models: Vec<ModelOutput>) -> Result<(), StoreError> {
        let run_id = run_id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                active_run(connection, &run_id).await?;
                for model in &models {
                    let values = args![id(), "RUN_OUTPUT", &run_id, "MODEL_OUTPUT", &model.model_id, model.step];
                    connection.execute(LINK, values).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Data sets that runs of these experiments used, each with each context, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn datasets(&self, experiment_ids: &[i64]) -> Result<Vec<DatasetSummary>, StoreError> {
        if experiment_ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT DISTINCT d.experiment_id, d.name, d.digest, t.value FROM datasets d \
             JOIN inputs i ON i.source_type = 'DATASET' AND i.source_id = d.dataset_uuid AND i.destination_type = 'RUN' \
             LEFT JOIN input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context' \
             WHERE d.experiment_id IN ({}) ORDER BY d.name, d.digest LIMIT 1000",
            placeholders(1, experiment_ids.len())
        );
        let rows = self.reader().rows(sql, experiment_ids.iter().map(|id| Value::from(*id)).collect()).await?;
        rows.iter()
            .map(|row| {
                Ok(DatasetSummary {
                    experiment_id: row.int(0)?,
                    name: row.text(1)?,
                    digest: row.text(2)?,
                    context: row.opt_text(3)?,
                })
            })
            .collect()
    }
}

fn check(dataset: &DatasetInput) -> Result<(), StoreError> {
    use crate::names::limit;
    limit("name", &dataset.name, 500)?;
    limit("digest", &dataset.digest, 36)?;
    limit("source_type", &dataset.source_type, 36)?;
    limit("source", &dataset.source, 65_535)?;
    limit("schema", dataset.schema.as_deref().unwrap_or_default(), 1_048_575)?;
    limit("profile", dataset.profile.as_deref().unwrap_or_default(), 16_777_215)?;
    for tag in &dataset.tags {
        limit("key", &tag.key, 255)?;
        limit("value", &tag.value, 500)?;
    }
    Ok(())
}

async fn put_dataset(
    connection: &mut Connection,
    run_id: &str,
    experiment: i64,
    dataset: &DatasetInput,
) -> Result<(), StoreError> {
    connection
        .execute(
            "INSERT INTO datasets (dataset_uuid, experiment_id, name, digest, dataset_source_type, dataset_source, dataset_schema, dataset_profile) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (experiment_id, name, digest) DO NOTHING",
            args![
                id(),
                experiment,
                &dataset.name,
                &dataset.digest,
                &dataset.source_type,
                &dataset.source,
                dataset.schema.clone(),
                dataset.profile.clone()
            ],
        )
        .await?;
    let found = connection
        .row(
            "SELECT dataset_uuid FROM datasets WHERE experiment_id = $1 AND name = $2 AND digest = $3",
            args![experiment, &dataset.name, &dataset.digest],
        )
        .await?;
    let source = found.map_or(Ok(String::new()), |row| row.text(0))?;
    connection.execute(LINK, args![id(), "DATASET", &source, "RUN", run_id, 0i64]).await?;
    let link = connection
        .row(
            "SELECT input_uuid FROM inputs WHERE source_type = 'DATASET' AND source_id = $1 AND destination_type = 'RUN' AND destination_id = $2",
            args![source, run_id],
        )
        .await?;
    let link = link.map_or(Ok(String::new()), |row| row.text(0))?;
    for tag in &dataset.tags {
        connection
            .execute(
                "INSERT INTO input_tags (input_uuid, name, value) VALUES ($1, $2, $3) ON CONFLICT (input_uuid, name) DO UPDATE SET value = excluded.value",
                args![&link, &tag.key, &tag.value],
            )
            .await?;
    }
    Ok(())
}

/// Lists that the inputs and outputs of one run are collected in.
#[derive(Debug)]
pub(crate) struct RunLinks<'a> {
    pub(crate) inputs: &'a mut RunInputs,
    pub(crate) outputs: &'a mut Vec<ModelOutput>,
}

/// Adds inputs and outputs to runs that are already there.
pub(crate) async fn fill(
    reader: &mut Connection,
    ids: &[String],
    at: impl Fn(&str) -> Option<usize>,
    runs: &mut [RunLinks<'_>],
) -> Result<(), StoreError> {
    let list = placeholders(1, ids.len());
    let values = || ids.iter().map(Value::from).collect::<Vec<_>>();
    // Most runs have neither: one statement tells.
    let sql = format!(
        "SELECT source_id, source_type, destination_id, step FROM inputs WHERE source_type IN ('RUN_INPUT', 'RUN_OUTPUT') AND source_id IN ({list}) \
         UNION ALL SELECT destination_id, source_type, source_id, step FROM inputs WHERE source_type = 'DATASET' AND destination_type = 'RUN' \
         AND destination_id IN ({list}) ORDER BY 4, 3"
    );
    let mut with_datasets = false;
    for row in reader.rows(sql, values()).await? {
        let Some(run) = at(&row.text(0)?) else { continue };
        let model_id = row.text(2)?;
        match row.text(1)?.as_str() {
            "RUN_INPUT" => runs[run].inputs.models.push(model_id),
            "RUN_OUTPUT" => runs[run].outputs.push(ModelOutput { model_id, step: row.int(3)? }),
            _ => with_datasets = true,
        }
    }
    if !with_datasets {
        return Ok(());
    }
    let sql = format!(
        "SELECT i.destination_id, i.input_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, d.dataset_schema, d.dataset_profile \
         FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id \
         WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.destination_id IN ({list}) ORDER BY d.name, d.digest"
    );
    let mut links: Vec<(String, usize, usize)> = Vec::new();
    for row in reader.rows(sql, values()).await? {
        let Some(run) = at(&row.text(0)?) else { continue };
        let datasets = &mut runs[run].inputs.datasets;
        links.push((row.text(1)?, run, datasets.len()));
        datasets.push(dataset(&row)?);
    }
    for links in links.chunks(500) {
        let sql = format!(
            "SELECT input_uuid, name, value FROM input_tags WHERE input_uuid IN ({}) ORDER BY name",
            placeholders(1, links.len())
        );
        for row in reader.rows(sql, links.iter().map(|(link, ..)| Value::from(link)).collect()).await? {
            let owner = row.text(0)?;
            if let Some((_, run, dataset)) = links.iter().find(|(link, ..)| *link == owner) {
                runs[*run].inputs.datasets[*dataset].tags.push(Tag { key: row.text(1)?, value: row.text(2)? });
            }
        }
    }
    Ok(())
}

fn dataset(row: &Row) -> Result<DatasetInput, StoreError> {
    Ok(DatasetInput {
        name: row.text(2)?,
        digest: row.text(3)?,
        source_type: row.text(4)?,
        source: row.text(5)?,
        schema: row.opt_text(6)?,
        profile: row.opt_text(7)?,
        tags: Vec::new(),
    })
}
