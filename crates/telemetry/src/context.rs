//! How a trace goes on in another process: as the W3C's `traceparent`, one line of text, which
//! stands in the headers of requests and tasks and in the records of jobs.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// The name of the header.
pub const TRACEPARENT: &str = "traceparent";

/// The span that a `traceparent` names; `None` if it is none.
pub fn read(traceparent: &str) -> Option<SpanContext> {
    let headers = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// The `traceparent` of a span; `None` if it belongs to no trace.
pub fn write(span: &SpanContext) -> Option<String> {
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags());
    span.is_valid().then(|| format!("00-{trace:032x}-{id:016x}-{flags:02x}"))
}

/// A context below the span that a `traceparent` names; below nothing if there is none.
pub fn below(traceparent: Option<&str>) -> Context {
    match traceparent.and_then(read) {
        Some(span) => Context::new().with_remote_span_context(span),
        None => Context::new(),
    }
}

/// The `traceparent` of what is being done at the moment.
pub fn current() -> Option<String> {
    Context::map_current(|context| write(context.span().span_context()))
}

/// The trace that is being written at the moment, for the log.
pub fn trace_id(context: &Context) -> Option<String> {
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| format!("{:032x}", span.trace_id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_as_it_was_written() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(write(&read(text).unwrap()).unwrap(), text);
        assert!(read(text).unwrap().is_sampled());
        for wrong in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(current(), None);
    }
}
