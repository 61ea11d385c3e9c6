//! What is told of the model. Names stand in the documentation of `telemetry`.

use std::sync::LazyLock;
use std::time::Duration;

use demucs::{Device, Precision};
use telemetry::metrics::gauges;

/// Tells where the model computes, and in which precision.
pub(crate) fn device(device: Device, precision: Precision) {
    let help = "1, with the device and the precision as labels.";
    let info = gauges("stemflow_device_info", help, &["device", "precision"]);
    info.with_label_values(&[device.to_string(), precision.to_string()]).set(1.0);
}

/// Tells how long it took to load a model.
pub(crate) fn loaded(model: &str, took: Duration) {
    static SECONDS: LazyLock<prometheus::GaugeVec> = LazyLock::new(|| {
        let help = "How long loading the model took the last time.";
        gauges("stemflow_model_load_seconds", help, &["model"])
    });
    SECONDS.with_label_values(&[model]).set(took.as_secs_f64());
}
