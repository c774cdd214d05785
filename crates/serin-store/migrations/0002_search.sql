-- MLflow's tables have no index for what its searches do: runs of an experiment by time, and a metric by value.
CREATE INDEX IF NOT EXISTS serin_runs_by_start ON runs (experiment_id, lifecycle_stage, start_time {desc}, run_uuid);
CREATE INDEX IF NOT EXISTS serin_runs_by_name ON runs (name, experiment_id);
CREATE INDEX IF NOT EXISTS serin_latest_metrics_by_value ON latest_metrics (key, is_nan, value, run_uuid);
CREATE INDEX IF NOT EXISTS serin_tags_by_key ON tags (key, value, run_uuid);
CREATE INDEX IF NOT EXISTS serin_params_by_key ON params (key, value, run_uuid);
CREATE INDEX IF NOT EXISTS serin_model_versions_by_update ON model_versions (workspace, last_updated_time);
