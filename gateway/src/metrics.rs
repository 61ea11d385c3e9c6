//! What the gateway counts besides what every process does. One registry per gateway, so that
//! several can live in one process. The names stand in the documentation of `telemetry`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use workflow::{Job, Queue, Store, Survey};

use crate::desk::Outcome;

/// From a status to a long upload.
const SECONDS: [f64; 10] = [0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// What is told of every lane of a stage, in the order of [`Queue`].
const QUEUES: [(&str, &str); 4] = [
    ("stemflow_tasks_waiting", "Tasks that no worker has had yet."),
    ("stemflow_tasks_in_hand", "Tasks that a worker has, or had and gave back."),
    ("stemflow_workers_idle", "Slots of workers that ask for a task and get none."),
    (
        "stemflow_oldest_task_seconds",
        "Age of the oldest task that is not done; 0 if there is none.",
    ),
];

/// What became of a try to tell someone of the end of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// They have heard it.
    Told,
    /// They have not, and will be tried again.
    Retry,
    /// They have not for as long as is tried.
    GivenUp,
    /// They do not want to hear of it.
    Gone,
    /// They are where nobody is called.
    Refused,
}

impl Called {
    const ALL: [Self; 5] = [Self::Told, Self::Retry, Self::GivenUp, Self::Gone, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Retry => "retry",
            Self::GivenUp => "given-up",
            Self::Gone => "gone",
            Self::Refused => "refused",
        }
    }
}

pub(crate) struct Metrics {
    registry: Registry,
    http_requests: IntCounterVec,
    http_request_seconds: HistogramVec,
    upload_bytes: IntCounter,
    submitted: IntCounterVec,
    callbacks: IntCounterVec,
    service_requests: IntCounterVec,
    jobs: IntGaugeVec,
    oldest_job: GaugeVec,
    queues: [GaugeVec; 4],
    dead_letters: IntGaugeVec,
    store_bytes: IntGaugeVec,
    store_limit: IntGaugeVec,
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
        for outcome in [Outcome::Begun, Outcome::Joined, Outcome::Done] {
            submitted.with_label_values(&[outcome.as_str()]);
        }
        let callbacks = counters(
            "stemflow_callbacks_total",
            "Tries to tell someone of the end of a job, by what became of them.",
            &["outcome"],
        );
        for outcome in Called::ALL {
            callbacks.with_label_values(&[outcome.as_str()]);
        }
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
            "Jobs that have not ended, by state; the same from every replica.",
        );
        let oldest_job = Opts::new(
            "stemflow_oldest_job_seconds",
            "Age of the oldest job that has not ended; 0 if there is none.",
        );
        let help = "Tasks that were given up, and lie in `stemflow dead list`.";
        let dead_letters = Opts::new("stemflow_dead_letters", help);
        let bytes = Opts::new("stemflow_stream_bytes", "Bytes that a stream or bucket holds.");
        let help = "Bytes that a stream or bucket may hold.";
        let limit = Opts::new("stemflow_stream_limit_bytes", help);
        Self {
            http_requests,
            http_request_seconds: register(&registry, histogram),
            upload_bytes: register(&registry, upload_bytes),
            submitted,
            callbacks,
            service_requests,
            jobs: register(&registry, IntGaugeVec::new(jobs, &["state"])),
            oldest_job: register(&registry, GaugeVec::new(oldest_job, &[])),
            queues: QUEUES.map(|(name, help)| {
                register(&registry, GaugeVec::new(Opts::new(name, help), &["stage", "lane"]))
            }),
            dead_letters: register(&registry, IntGaugeVec::new(dead_letters, &[])),
            store_bytes: register(&registry, IntGaugeVec::new(bytes, &["stream"])),
            store_limit: register(&registry, IntGaugeVec::new(limit, &["stream"])),
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

    pub(crate) fn called(&self, outcome: Called) {
        self.callbacks.with_label_values(&[outcome.as_str()]).inc();
    }

    /// All of it as Prometheus reads it, `jobs` being those that have not ended. What was not to be
    /// had at this moment is left out.
    pub(crate) fn render(
        &self,
        jobs: Option<&[Job]>,
        survey: Option<&Survey>,
    ) -> Result<String, prometheus::Error> {
        self.note_jobs(jobs);
        self.note_survey(survey);
        let mut text = telemetry::metrics::render()?;
        TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn note_jobs(&self, jobs: Option<&[Job]>) {
        self.jobs.reset();
        self.oldest_job.reset();
        let Some(jobs) = jobs else { return };
        let mut by_state: BTreeMap<String, i64> = BTreeMap::new();
        for job in jobs {
            *by_state.entry(job.state.to_string()).or_default() += 1;
        }
        for (state, count) in by_state {
            self.jobs.with_label_values(&[&state]).set(count);
        }
        let none: [&str; 0] = [];
        let oldest = age(jobs.iter().map(|job| job.submitted).min());
        self.oldest_job.with_label_values(&none).set(oldest);
    }

    fn note_survey(&self, survey: Option<&Survey>) {
        self.queues.iter().for_each(GaugeVec::reset);
        for gauges in [&self.dead_letters, &self.store_bytes, &self.store_limit] {
            gauges.reset();
        }
        let Some(Survey { queues, dead_letters, stores }) = survey else { return };
        for queue in queues {
            let Queue { stage, lane, waiting, in_hand, idle, oldest } = queue;
            let values = [*waiting as f64, *in_hand as f64, *idle as f64, age(*oldest)];
            for (gauges, value) in self.queues.iter().zip(values) {
                gauges.with_label_values(&[stage.as_str(), lane.as_str()]).set(value);
            }
        }
        let none: [&str; 0] = [];
        self.dead_letters.with_label_values(&none).set(signed(*dead_letters as u64));
        for Store { name, bytes, limit } in stores {
            self.store_bytes.with_label_values(&[name]).set(signed(*bytes));
            if let Some(limit) = limit {
                self.store_limit.with_label_values(&[name]).set(signed(*limit));
            }
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Seconds from then to now; 0 if there was no then.
fn age(then: Option<Timestamp>) -> f64 {
    then.map_or(0.0, |then| Timestamp::now().duration_since(then).as_secs_f64().max(0.0))
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
