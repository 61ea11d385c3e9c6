//! Every request is counted; an error that its client is not told is logged, here and only here.

use std::error::Error;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::trace::FutureExt;
use tracing::Instrument;

use super::Shared;
use crate::error::Hidden;
use crate::trace;

pub(crate) async fn observe(State(gateway): Shared, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let route = path.as_ref().map_or("none", MatchedPath::as_str);
    let context = trace::http(&method, route, request.headers());
    let log = trace::log(&context);
    let response = next.run(request).with_context(context.clone()).instrument(log.clone()).await;
    let status = response.status();
    trace::end(&context, status);
    let _log = log.enter();
    gateway.metrics.http(&method, route, status, started.elapsed());
    tracing::debug!(%method, route, status = status.as_u16(), took = ?started.elapsed(), "request");
    if let Some(Hidden(error)) = response.extensions().get() {
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        tracing::error!(%method, route, status = status.as_u16(), error = reason, "request failed");
    }
    response
}
