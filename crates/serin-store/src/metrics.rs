//! Metric values: every one that was logged, and the latest of each key.

use crate::names::check_key;
use crate::sql::{Connection, Row, Sql, Value, args, placeholders};
use crate::{Store, StoreError};
use serin_tracking::Metric;
use std::collections::{BTreeMap, BTreeSet};

/// Refuses a metric whose key MLflow refuses, or whose time lies before 1970.
pub(crate) fn check(metric: &Metric) -> Result<(), StoreError> {
    check_key("Metric", &metric.key)?;
    if metric.timestamp_ms < 0 {
        return Err(StoreError::InvalidInput(format!(
            "Invalid value {} for parameter 'timestamp' supplied: metric '{}' (value={:?}). Timestamp must be a nonnegative long (64-bit integer) ",
            metric.timestamp_ms, metric.key, metric.value
        )));
    }
    Ok(())
}

/// The value's columns `(value, is_nan)`. SQL holds no NaN (and PostgreSQL orders it last): 0 and a mark.
fn stored(metric: &Metric) -> (f64, bool) {
    if metric.value.is_nan() { (0.0, true) } else { (metric.value.clamp(-f64::MAX, f64::MAX), false) }
}

/// Columns `…, key, value, timestamp, step, is_nan` after one that names the owner.
pub(crate) fn metric(row: &Row) -> Result<Metric, StoreError> {
    let value = if row.bool(5)? { f64::NAN } else { row.real(2)? };
    Ok(Metric { key: row.text(1)?, value, timestamp_ms: row.int(3)?, step: row.int(4)?, ..Metric::default() })
}

/// Rows of one statement, a few sizes only: each is prepared once.
const CHUNKS: [usize; 4] = [250, 32, 8, 1];

fn chunks<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = CHUNKS.into_iter().find(|size| items.len() >= *size)?;
        let (chunk, rest) = items.split_at(size);
        items = rest;
        Some(chunk)
    })
}

pub(crate) async fn put_metrics(
    connection: &mut Connection,
    run_id: &str,
    experiment_id: i64,
    metrics: &[Metric],
) -> Result<(), StoreError> {
    for chunk in chunks(metrics) {
        let sql: Sql = match chunk.len() {
            1 => "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING".into(),
            rows => format!("INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES {} ON CONFLICT DO NOTHING", connection.values_list(rows, 6)).into(),
        };
        let mut bound: Vec<Value> = Vec::with_capacity(6 * chunk.len());
        for metric in chunk {
            let (value, is_nan) = stored(metric);
            bound.extend(args![&metric.key, value, metric.timestamp_ms, run_id, metric.step, is_nan]);
        }
        connection.execute(sql, bound).await?;
    }
    // The latest is the largest by step, time and value, whatever the order of arrival. Sorted keys: two batches
    // that lock the same rows lock them in the same order.
    let mut latest: BTreeMap<&str, &Metric> = BTreeMap::new();
    for metric in metrics {
        let newer = |before: &Metric| {
            let rank = |m: &Metric| (m.step, m.timestamp_ms);
            rank(metric).cmp(&rank(before)).then(stored(metric).0.total_cmp(&stored(before).0)).is_ge()
        };
        if latest.get(metric.key.as_str()).is_none_or(|before| newer(before)) {
            latest.insert(&metric.key, metric);
        }
    }
    let latest: Vec<&Metric> = latest.into_values().collect();
    for chunk in chunks(&latest) {
        let sql = format!(
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES {} \
             ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, \
             is_nan = excluded.is_nan WHERE (excluded.step, excluded.timestamp, excluded.value) > \
             (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)",
            connection.values_list(chunk.len(), 6)
        );
        let mut bound: Vec<Value> = Vec::with_capacity(6 * chunk.len());
        for metric in chunk {
            let (value, is_nan) = stored(metric);
            bound.extend(args![&metric.key, value, metric.timestamp_ms, metric.step, is_nan, run_id]);
        }
        connection.execute(sql, bound).await?;
    }
    for metric in metrics {
        let Some(model_id) = &metric.model_id else { continue };
        put_model_metric(connection, run_id, experiment_id, metric, model_id).await?;
    }
    Ok(())
}

/// A metric that names a logged model is kept with the model too.
async fn put_model_metric(
    connection: &mut Connection,
    run_id: &str,
    experiment_id: i64,
    metric: &Metric,
    model_id: &str,
) -> Result<(), StoreError> {
    let known = connection.row("SELECT model_id FROM logged_models WHERE model_id = $1", args![model_id]).await?;
    if known.is_none() {
        return Err(StoreError::NotFound(format!("Logged model with ID '{model_id}' not found.")));
    }
    let (name, digest) = metric.dataset.clone().map_or((None, None), |(name, digest)| (Some(name), Some(digest)));
    let dataset = match (&name, &digest) {
        (Some(name), Some(digest)) => {
            let sql = "SELECT dataset_uuid FROM datasets WHERE experiment_id = $1 AND name = $2 AND digest = $3";
            let row = connection.row(sql, args![experiment_id, name, digest]).await?;
            row.map(|row| row.text(0)).transpose()?
        }
        _ => None,
    };
    connection
        .execute(
            "INSERT INTO logged_model_metrics (model_id, metric_name, metric_timestamp_ms, metric_step, metric_value, experiment_id, run_id, \
             dataset_uuid, dataset_name, dataset_digest) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
            args![model_id, &metric.key, metric.timestamp_ms, metric.step, stored(metric).0, experiment_id, run_id, dataset, name, digest],
        )
        .await?;
    Ok(())
}

const HISTORY: &str = "SELECT run_uuid, key, value, timestamp, step, is_nan FROM metrics";

impl Store {
    /// Values of a metric in the order of time, step and value: `limit` of them after `offset`.
    ///
    /// # Errors
    /// When the database fails; a run or metric that is not there has no values.
    pub async fn metric_history(
        &self,
        run_id: &str,
        key: &str,
        limit: i64,
        offset: i64,
    ) -> Result<Vec<Metric>, StoreError> {
        let sql =
            format!("{HISTORY} WHERE run_uuid = $1 AND key = $2 ORDER BY timestamp, step, value LIMIT $3 OFFSET $4");
        let rows = self.reader().rows(sql, args![run_id, key, limit, offset]).await?;
        rows.iter().map(metric).collect()
    }

    /// One value a step (the latest by time) of a metric of several runs: at most about `most` steps, spread evenly
    /// over the steps of all of them, the first and the last of each run included. `steps` restricts them, both
    /// ends included.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sampled_history(
        &self,
        run_ids: &[String],
        key: &str,
        steps: Option<(i64, i64)>,
        most: usize,
    ) -> Result<Vec<Metric>, StoreError> {
        let mut reader = self.reader();
        let mut all = BTreeSet::new();
        let mut ends = BTreeSet::new();
        for id in run_ids {
            let sql = "SELECT DISTINCT step FROM metrics WHERE run_uuid = $1 AND key = $2 ORDER BY step";
            let rows = reader.rows(sql, args![id, key]).await?;
            let found = rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
            ends.extend(found.first().into_iter().chain(found.last()).copied());
            all.extend(found);
        }
        let (from, to) = steps.unwrap_or((i64::MIN, i64::MAX));
        let within: Vec<i64> = all.range(from..=to).copied().collect();
        let mut chosen: BTreeSet<i64> = ends.range(from..=to).copied().collect();
        chosen.extend(spread(&within, most));
        let chosen: Vec<i64> = chosen.into_iter().collect();
        let mut found = Vec::new();
        for id in run_ids {
            for steps in chosen.chunks(500) {
                let sql = format!(
                    "{HISTORY} WHERE run_uuid = $1 AND key = $2 AND step IN ({}) ORDER BY step, timestamp DESC, value",
                    placeholders(3, steps.len())
                );
                let mut bound = args![id, key];
                bound.extend(steps.iter().map(|step| Value::from(*step)));
                let mut seen = None;
                for row in reader.rows(sql, bound).await? {
                    let metric = metric(&row)?;
                    if seen.replace(metric.step) != Some(metric.step) {
                        found.push(Metric { run_id: Some(id.clone()), ..metric });
                    }
                }
            }
        }
        Ok(found)
    }
}

/// At most `most` of `steps` at even distances, and the last one.
fn spread(steps: &[i64], most: usize) -> Vec<i64> {
    if steps.len() <= most || most == 0 {
        return steps.to_vec();
    }
    let mut chosen: Vec<i64> = (0..most).map(|i| steps[i * steps.len() / most]).collect();
    chosen.extend(steps.last());
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_keeps_both_ends() {
        let steps: Vec<i64> = (0..1000).collect();
        let chosen = spread(&steps, 10);
        assert_eq!((chosen.first(), chosen.last(), chosen.len()), (Some(&0), Some(&999), 11));
        assert_eq!(spread(&steps[..3], 10), [0, 1, 2]);
        assert!(spread(&[], 10).is_empty());
    }

    #[test]
    fn chunks_are_of_few_sizes() {
        let items = vec![0; 300];
        let sizes: Vec<usize> = chunks(&items).map(<[i32]>::len).collect();
        assert_eq!(sizes, [250, 32, 8, 8, 1, 1]);
    }
}
