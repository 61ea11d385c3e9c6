//! The trace of a job beyond one delivery. It begins where the job is submitted; each release of
//! tasks continues it, whoever does it.

use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use telemetry::{context, traces};

use crate::job::{Fact, Job};
use crate::write::Write;

/// The name under which the runtime makes its spans.
pub(crate) const TRACER: &str = "stemflow";

/// The context in which tasks are released: below what is being done at the moment if that belongs
/// to the job's trace, as the end of the task before does; otherwise, as with the reconciler, below
/// the job's root.
pub(crate) fn release(job: &Job, stage: &str, tasks: usize) -> Context {
    let root = context::below(job.trace.as_deref());
    let now = Context::current();
    let trace = |context: &Context| context.span().span_context().trace_id();
    let parent = if trace(&now) == trace(&root) { now } else { root };
    if !traces::are_on() {
        return parent;
    }
    let tracer = global::tracer(TRACER);
    let span = tracer
        .span_builder(format!("publish {stage}"))
        .with_kind(SpanKind::Producer)
        .with_attributes([
            KeyValue::new("messaging.system", "nats"),
            KeyValue::new("messaging.operation.name", "publish"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new(
                "messaging.destination.template",
                format!("stemflow.task.{stage}.{{lane}}.{{run}}.{{key}}"),
            ),
            KeyValue::new("messaging.batch.message_count", tasks as i64),
            KeyValue::new("stemflow.job", job.hash.to_string()),
        ])
        .start_with_context(&tracer, &parent);
    parent.with_span(span)
}

/// Has a message go on with what is being done at the moment.
pub(crate) fn carry(write: Write) -> Write {
    match context::current() {
        Some(current) => write.header(context::TRACEPARENT, &current),
        None => write,
    }
}

/// What the work in `context` is called by those who link to it.
pub(crate) fn name(context: &Context) -> Option<String> {
    context::write(context.span().span_context())
}

/// Links the work in `context` to that which has made `fact`.
pub(crate) fn link(context: &Context, fact: &Fact) {
    if let Some(made) = fact.trace.as_deref().and_then(context::read) {
        context.span().add_link(made, Vec::new());
    }
}
