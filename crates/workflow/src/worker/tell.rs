//! What is told of a delivery while it is worked on: by counters, in the log, in the job's trace.

use std::borrow::Cow;

use opentelemetry::trace::{FutureExt, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue, global};
use telemetry::{context, traces};
use tracing::Instrument;

use super::Delivery;
use crate::job::TaskMessage;
use crate::metrics::{self, Outcome};
use crate::names;
use crate::stage::Failure;
use crate::trace::TRACER;

/// A delivery that is told of.
pub(super) struct Told {
    stage: &'static str,
    context: Context,
    log: tracing::Span,
}

impl Delivery {
    /// Begins to tell of it.
    pub(super) fn told(&self, stage: &'static str) -> Told {
        let lane = self.message.subject.split('.').nth(3).unwrap_or_default();
        metrics::delivered(stage, lane, self.number, self.age);
        let headers = self.message.headers.as_ref();
        let sent = headers.and_then(|headers| headers.get(context::TRACEPARENT));
        let parent = context::below(sent.map(|header| header.as_str()));
        let context = if traces::are_on() { self.span(stage, lane, &parent) } else { parent };
        let log = tracing::info_span!(
            "task",
            job = %self.task.run.job,
            trace = context::trace_id(&context)
        );
        Told { stage, context, log }
    }

    /// Tells at once who has the task, for a worker that dies tells nothing more; and begins the
    /// span of the work on it.
    fn span(&self, stage: &'static str, lane: &str, parent: &Context) -> Context {
        let tracer = global::tracer(TRACER);
        let begin = |operation: &'static str, kind| {
            let span = tracer.span_builder(format!("{operation} {stage}")).with_kind(kind);
            let attributes = self.attributes(stage, lane, operation);
            span.with_attributes(attributes).start_with_context(&tracer, parent)
        };
        drop(begin("receive", SpanKind::Client));
        parent.with_span(begin("process", SpanKind::Consumer))
    }

    fn attributes(&self, stage: &str, lane: &str, operation: &'static str) -> Vec<KeyValue> {
        let TaskMessage { run, key, .. } = &self.task;
        let template = format!("stemflow.task.{stage}.{lane}.{{run}}.{{key}}");
        let consumer = self.message.info().map(|info| info.consumer.to_owned());
        vec![
            KeyValue::new("messaging.system", "nats"),
            KeyValue::new("messaging.operation.name", operation),
            KeyValue::new("messaging.operation.type", operation),
            KeyValue::new("messaging.destination.name", self.message.subject.to_string()),
            KeyValue::new("messaging.destination.template", template),
            KeyValue::new("messaging.consumer.group.name", consumer.unwrap_or_default()),
            KeyValue::new("messaging.nats.stream", names::STREAM),
            KeyValue::new("messaging.nats.sequence", self.sequence.cast_signed()),
            KeyValue::new("messaging.nats.delivery_count", i64::from(self.number)),
            KeyValue::new("stemflow.job", run.job.to_string()),
            KeyValue::new("stemflow.run", i64::from(run.number)),
            KeyValue::new("stemflow.key", key.clone()),
        ]
    }
}

impl Told {
    /// Does `work` in the delivery's name.
    pub(super) async fn over<T>(&self, work: impl Future<Output = T>) -> T {
        work.with_context(self.context.clone()).instrument(self.log.clone()).await
    }

    /// Tells what became of it.
    pub(super) fn end(self, outcome: Outcome) {
        metrics::handled(self.stage, outcome);
        self.context.span().set_attribute(KeyValue::new("stemflow.outcome", outcome.as_str()));
        self.context.span().end();
    }
}

/// Tells in the trace why a task has failed.
pub(super) fn failed(failure: &Failure) {
    let code: Cow<'static, str> = match failure {
        Failure::Permanent { code, .. } => code.clone().into(),
        Failure::Transient(_) => "transient".into(),
    };
    Context::map_current(|context| {
        let span = context.span();
        span.set_attribute(KeyValue::new("error.type", code));
        span.set_status(Status::error(failure.to_string()));
    });
}
