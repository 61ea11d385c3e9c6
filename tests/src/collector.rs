use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::stack::Deadline;

/// A span that has come in, and who sent it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// The span.
    pub span: Span,
}

impl Seen {
    /// An attribute as a text.
    pub fn attribute(&self, name: &str) -> Option<String> {
        attribute(&self.span.attributes, name)
    }

    /// Its id in hex.
    pub fn id(&self) -> String {
        hex::encode(&self.span.span_id)
    }

    /// The id of the span above it in hex; empty if there is none.
    pub fn parent(&self) -> String {
        hex::encode(&self.span.parent_span_id)
    }

    /// The id of its trace in hex.
    pub fn trace(&self) -> String {
        hex::encode(&self.span.trace_id)
    }

    /// The ids of the spans that it links to, in hex.
    pub fn links(&self) -> Vec<String> {
        self.span.links.iter().map(|link| hex::encode(&link.span_id)).collect()
    }
}

type Spans = Arc<Mutex<Vec<Seen>>>;

/// A collector of traces that keeps them all; gone when dropped.
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    server: JoinHandle<()>,
}

impl Collector {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// If there is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let spans = Spans::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&spans));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, spans, server }
    }

    /// What makes a process send its spans here, at once.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.address)),
            ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned()),
        ]
    }

    /// The spans of that name that have come in so far.
    pub fn spans(&self, name: &str) -> Vec<Seen> {
        let all = self.all();
        all.into_iter().filter(|seen| seen.span.name == name).collect()
    }

    /// All spans that have come in so far.
    pub fn all(&self) -> Vec<Seen> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The spans of that name, once there are so many.
    ///
    /// # Panics
    /// Past the deadline.
    pub async fn wait_for(&self, name: &str, number: usize, deadline: Deadline) -> Vec<Seen> {
        loop {
            let found = self.spans(name);
            if found.len() >= number {
                return found;
            }
            let names = || {
                let names: Vec<_> = self.all().into_iter().map(|seen| seen.span.name).collect();
                format!("{number} of `{name}` among {names:?}")
            };
            deadline.pause_async(names).await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(spans): State<Spans>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
    for from in request.resource_spans {
        let about = from.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = attribute(&about, "service.name").unwrap_or_default();
        let instance = attribute(&about, "service.instance.id").unwrap_or_default();
        for span in from.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Seen { service: service.clone(), instance: instance.clone(), span });
        }
    }
    StatusCode::OK
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}
