//! What the gateway counts. One registry per gateway, so that several can live in one process.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use workflow::Job;

use crate::desk::Outcome;

/// From a status to a long upload.
const SECONDS: [f64; 10] = [0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

pub(crate) struct Metrics {
    registry: Registry,
    http_requests: IntCounterVec,
    http_request_seconds: HistogramVec,
    upload_bytes: IntCounter,
    submitted: IntCounterVec,
    service_requests: IntCounterVec,
    jobs: IntGaugeVec,
}

impl Metrics {
    /// # Panics
    /// If a name or a label below is no name for Prometheus: the first test tells.
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels);
            register(&registry, counters)
        };
        let http_requests = counters(
            "stemflow_http_requests_total",
            "HTTP requests by route template and status.",
            &["method", "route", "status"],
        );
        let submitted = counters(
            "stemflow_jobs_submitted_total",
            "Songs handed in, by what became of them: begun, joined or done.",
            &["outcome"],
        );
        let service_requests = counters(
            "stemflow_service_requests_total",
            "Requests to the NATS micro service by endpoint and status.",
            &["endpoint", "status"],
        );
        let help = "Time from a request's head to its reply's head, by route template.";
        let options = HistogramOpts::new("stemflow_http_request_seconds", help);
        let histogram = HistogramVec::new(options.buckets(SECONDS.to_vec()), &["route"]);
        let help = "Bytes of songs stored by way of HTTP.";
        let upload_bytes = IntCounter::new("stemflow_upload_bytes_total", help);
        let jobs = Opts::new(
            "stemflow_jobs",
            "Jobs that there are records of, by state; the same from every replica.",
        );
        let info = Opts::new("stemflow_build_info", "1, with the gateway's version as label.");
        let build_info = register(&registry, IntGaugeVec::new(info, &["version"]));
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            http_requests,
            http_request_seconds: register(&registry, histogram),
            upload_bytes: register(&registry, upload_bytes),
            submitted,
            service_requests,
            jobs: register(&registry, IntGaugeVec::new(jobs, &["state"])),
            registry,
        }
    }

    pub(crate) fn http(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let labels = [known(method), route, status.as_str()];
        self.http_requests.with_label_values(&labels).inc();
        self.http_request_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }

    pub(crate) fn service(&self, endpoint: &str, status: StatusCode) {
        self.service_requests.with_label_values(&[endpoint, status.as_str()]).inc();
    }

    pub(crate) fn uploaded(&self, bytes: u64) {
        self.upload_bytes.inc_by(bytes);
    }

    pub(crate) fn submitted(&self, outcome: Outcome) {
        self.submitted.with_label_values(&[outcome.as_str()]).inc();
    }

    /// All of it as Prometheus reads it; `jobs` are those of this moment, if they are known.
    pub(crate) fn render(&self, jobs: Option<&[Job]>) -> Result<String, prometheus::Error> {
        self.jobs.reset();
        let mut by_state: BTreeMap<String, i64> = BTreeMap::new();
        for job in jobs.unwrap_or_default() {
            *by_state.entry(job.state.to_string()).or_default() += 1;
        }
        for (state, count) in by_state {
            self.jobs.with_label_values(&[&state]).set(count);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("the names of metrics are names");
    registry.register(Box::new(collector.clone())).expect("each metric is registered once");
    collector
}

/// Clients can invent methods; labels they cannot.
fn known(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::DELETE | Method::OPTIONS => {
            method.as_str()
        }
        _ => "other",
    }
}
