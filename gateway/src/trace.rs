//! Requests as parts of traces. A request that hands in a song begins the trace of its job, and
//! goes on with its client's, if that has one; the others are only traced for clients that are.

use axum::http::{HeaderMap, Method, StatusCode};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use telemetry::{context, traces};
use workflow::Job;

use crate::callback::Callback;
use crate::desk::Outcome;

/// Where songs are handed in.
const SUBMIT: &str = "/apiv1/separate";

/// The context in which a request over HTTP is answered.
pub(crate) fn http(method: &Method, route: &str, headers: &HeaderMap) -> Context {
    let sent = headers.get(context::TRACEPARENT).and_then(|header| header.to_str().ok());
    let parent = context::below(sent);
    if !traces::are_on() || (route != SUBMIT && !parent.has_active_span()) {
        return parent;
    }
    let attributes = vec![
        KeyValue::new("http.request.method", method.to_string()),
        KeyValue::new("http.route", route.to_owned()),
    ];
    begin(format!("{method} {route}"), SpanKind::Server, attributes, parent)
}

/// The context in which a request for a song is answered that came over NATS.
pub(crate) fn nats(subject: &str, sent: Option<&str>) -> Context {
    let parent = context::below(sent);
    if !traces::are_on() {
        return parent;
    }
    let attributes = vec![
        KeyValue::new("rpc.system", "nats"),
        KeyValue::new("messaging.destination.name", subject.to_owned()),
    ];
    begin(subject.to_owned(), SpanKind::Server, attributes, parent)
}

fn begin(name: String, kind: SpanKind, attributes: Vec<KeyValue>, parent: Context) -> Context {
    let tracer = global::tracer("stemflow");
    let span = tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
    let span = span.start_with_context(&tracer, &parent);
    parent.with_span(span)
}

/// Notes which job a song has become.
pub(crate) fn submitted(job: &Job, outcome: Outcome) {
    Context::map_current(|context| {
        let span = context.span();
        span.set_attribute(KeyValue::new("stemflow.job", job.hash.to_string()));
        span.set_attribute(KeyValue::new("stemflow.outcome", outcome.as_str()));
        let other = job.trace.as_deref().filter(|_| outcome != Outcome::Begun);
        if let Some(other) = other.and_then(context::read) {
            span.add_link(other, Vec::new());
        }
    });
}

/// Notes how a request was answered.
pub(crate) fn end(context: &Context, status: StatusCode) {
    let span = context.span();
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
    span.end();
}

/// The context in which someone is told of the end of a job: below its trace.
pub(crate) fn callback(job: &Job, callback: &Callback) -> Context {
    let parent = context::below(job.trace.as_deref());
    if !traces::are_on() {
        return parent;
    }
    let port = callback.url.port_or_known_default().unwrap_or_default();
    let attributes = vec![
        KeyValue::new("http.request.method", "POST"),
        KeyValue::new("server.address", callback.url.host_str().unwrap_or_default().to_owned()),
        KeyValue::new("server.port", i64::from(port)),
        KeyValue::new("stemflow.job", job.hash.to_string()),
    ];
    begin("POST callback".to_owned(), SpanKind::Client, attributes, parent)
}

/// Notes how a callback was answered, if it was.
pub(crate) fn end_callback(context: &Context, status: Option<StatusCode>) {
    let span = context.span();
    if let Some(status) = status {
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
    }
    if !status.is_some_and(|status| status.is_success()) {
        span.set_status(Status::error(""));
    }
    span.end();
}

/// What the log has with each line about a request that is traced.
pub(crate) fn log(context: &Context) -> tracing::Span {
    match context::trace_id(context) {
        Some(trace) => tracing::info_span!("request", trace),
        None => tracing::Span::none(),
    }
}
