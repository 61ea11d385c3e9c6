//! Where spans go: to an OTLP collector, if the environment names one.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// How long the last spans may take to be sent; the process ends then.
const LAST_SPANS: Duration = Duration::from_secs(3);
/// A stem links to all its shards: this is two hours and a half of music.
const LINKS: u32 = 1024;

static ON: AtomicBool = AtomicBool::new(false);

/// True if spans go anywhere. If not, none need be made.
pub fn are_on() -> bool {
    ON.load(Ordering::Relaxed)
}

pub(crate) struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// As the specification of OpenTelemetry has it, `OTEL_*`; but without an endpoint it is off.
pub(crate) fn start(process: &'static str) -> anyhow::Result<Option<Traces>> {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is = |name, value| env::var(name).is_ok_and(|given| given.trim() == value);
    let endpoint = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    let is_off = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
    if is_off || !endpoint.into_iter().any(is_set) {
        return Ok(None);
    }
    check_protocol()?;
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build();
    let exporter = exporter.context("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used")?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_max_links_per_span(LINKS)
        .with_resource(resource(process))
        .build();
    global::set_tracer_provider(provider.clone());
    ON.store(true, Ordering::Relaxed);
    Ok(Some(Traces(provider)))
}

fn check_protocol() -> anyhow::Result<()> {
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        let Ok(protocol) = env::var(name) else { continue };
        if !matches!(protocol.as_str(), "" | "http/protobuf") {
            bail!(
                "{name} is `{protocol}`: http/protobuf is what can be had, at the collector's port 4318"
            );
        }
    }
    Ok(())
}

/// What `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say, and who we are where they do not.
fn resource(process: &'static str) -> Resource {
    let given = Resource::builder().build();
    let known = |key: &'static str| given.get(&key.into()).is_some();
    let ours = [
        ("service.namespace", "stemflow".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", instance()),
    ];
    let ours = ours.into_iter().filter(|(key, _)| !known(key));
    let ours: Vec<_> = ours.map(|(key, value)| KeyValue::new(key, value)).collect();
    let mut resource = Resource::builder().with_attributes(ours);
    if env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(process);
    }
    resource.build()
}

/// The pod, where there is one, and the process in it.
fn instance() -> String {
    let host = env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
    format!("{host}/{}", std::process::id())
}
