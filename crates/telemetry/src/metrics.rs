//! The metrics of the process: one registry, since Prometheus scrapes processes.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder,
};

/// The content type of what [`render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// Bounds for work, for waiting and for whole jobs: from a stage that does next to nothing to a
/// long song on a slow machine. A goal for any of them should stand on one.
pub const SECONDS: [f64; 16] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0,
    3600.0,
];

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let registry = Registry::new();
    let process = Box::new(ProcessCollector::for_self());
    registry.register(process).expect("it is the first");
    registry.register(Box::new(build_info())).expect("it is the second");
    registry
});

/// Counters by `labels`.
///
/// # Panics
/// As all of these: if a name is no name for Prometheus, or is taken. The first test tells.
pub fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(IntCounterVec::new(Opts::new(name, help), labels))
}

/// Counters that count in fractions, by `labels`.
pub fn fraction_counters(name: &str, help: &str, labels: &[&str]) -> CounterVec {
    register(CounterVec::new(Opts::new(name, help), labels))
}

/// Gauges by `labels`.
pub fn gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    register(GaugeVec::new(Opts::new(name, help), labels))
}

/// Histograms over [`SECONDS`] by `labels`.
pub fn histograms(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
    register(HistogramVec::new(options, labels))
}

/// Adds a metric to the process's registry.
pub fn register<C: Collector + Clone + 'static>(collector: prometheus::Result<C>) -> C {
    let collector = collector.expect("the names of metrics are names");
    REGISTRY.register(Box::new(collector.clone())).expect("each metric is registered once");
    collector
}

/// All metrics of the process as Prometheus reads them.
///
/// # Errors
/// If a metric cannot be written down.
pub fn render() -> prometheus::Result<String> {
    TextEncoder::new().encode_to_string(&REGISTRY.gather())
}

fn build_info() -> GaugeVec {
    let help = "1, with the version and the source's revision as labels.";
    let options = Opts::new("stemflow_build_info", help);
    let info = GaugeVec::new(options, &["version", "revision"]).expect("its names are names");
    let revision = option_env!("STEMFLOW_REVISION").unwrap_or("unknown");
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1.0);
    info
}
