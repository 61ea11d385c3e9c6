//! What those ask who run the gateway.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use tokio::time::timeout;
use workflow::JobId;

use super::Shared;
use crate::error::ApiError;

/// How long the storage may take to answer a probe.
const PROBE: Duration = Duration::from_secs(2);
/// How long it may take to list the jobs: less than a scrape may.
const SCRAPE: Duration = Duration::from_secs(5);

/// The process is alive.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Requests can be served: NATS is there, and answers from the bucket of jobs.
pub(crate) async fn readyz(State(gateway): Shared) -> Result<&'static str, (StatusCode, String)> {
    let not_ready = |reason: &str| Err((StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")));
    let Ok(desk) = gateway.desk() else { return not_ready("not connected to NATS yet") };
    if !desk.bus().is_connected() {
        return not_ready("the connection to NATS is lost, connecting again");
    }
    match timeout(PROBE, desk.bus().job(&JobId::of("readyz"))).await {
        Ok(Ok(_)) => Ok("ready\n"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready");
            not_ready("JetStream does not answer")
        }
        Err(_) => not_ready("JetStream does not answer in time"),
    }
}

pub(crate) async fn metrics(State(gateway): Shared) -> Result<impl IntoResponse, ApiError> {
    // The counters are wanted most when NATS is not well.
    let (jobs, survey) = match gateway.desk() {
        Ok(desk) => {
            let jobs = timeout(SCRAPE, desk.count());
            let survey = timeout(SCRAPE, desk.survey());
            let (jobs, survey) = tokio::join!(jobs, survey);
            (jobs.ok().and_then(Result::ok), survey.ok().and_then(Result::ok))
        }
        Err(_) => (None, None),
    };
    let text = gateway.metrics.render(jobs.as_deref(), survey.as_ref());
    let text = text.map_err(|error| ApiError::Internal(error.into()))?;
    Ok(([(header::CONTENT_TYPE, telemetry::metrics::CONTENT_TYPE)], text))
}
