//! `GET /v1/jobs`: what the server does by itself, and when it last did.

use crate::caller::Caller;
use crate::error::ControlError;
use crate::state::ControlPlane;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use serin_http::Text;
use serin_store::{JobRecord, Resource};

/// Jobs with their last runs, of the models that the caller may see. Messages of failures name files and hosts: only
/// administrators see them.
pub(crate) async fn list(State(state): State<ControlPlane>, caller: Caller) -> Result<Json<Value>, ControlError> {
    let mut jobs = state.store.jobs().await?;
    keep_visible(&caller, &mut jobs);
    let shown = |job: &JobRecord| {
        json!({
            "name": job.name, "model": (!job.model.is_empty()).then_some(&job.model), "started_at": job.started_at_ms,
            "ended_at": job.ended_at_ms, "succeeded_at": job.succeeded_at_ms, "failed_at": job.failed_at_ms,
            "error": job.error, "runs": job.runs, "failures": job.failures,
        })
    };
    Ok(Json(json!({ "jobs": jobs.iter().map(shown).collect::<Vec<_>>() })))
}

/// Takes out the jobs of models that the caller may not see, and messages of failures where the caller is no administrator.
pub(crate) fn keep_visible(caller: &Caller, jobs: &mut Vec<JobRecord>) {
    let (mut general, mut of_models): (Vec<_>, Vec<_>) = jobs.drain(..).partition(|job| job.model.is_empty());
    caller.keep_visible(&mut of_models, |job| Resource::RegisteredModel(job.model.clone()));
    jobs.append(&mut general);
    jobs.append(&mut of_models);
    if caller.user.as_ref().is_some_and(|user| !user.is_admin) {
        jobs.iter_mut().for_each(|job| job.error = None);
    }
}

/// Appends the last success and the failures of each job, as `/metrics` shows them.
pub(super) fn gauges(jobs: &[JobRecord], out: &mut Text) {
    out.head("serin_job_last_success_timestamp_seconds", "gauge", "Time at which a job last succeeded, seconds.");
    for job in jobs {
        if let Some(at_ms) = job.succeeded_at_ms {
            out.line(&[("job", &job.name), ("model", &job.model)], at_ms as f64 / 1000.0);
        }
    }
    out.head("serin_job_failures_total", "counter", "Runs of a job that failed.");
    for job in jobs {
        out.line(&[("job", &job.name), ("model", &job.model)], job.failures);
    }
}
