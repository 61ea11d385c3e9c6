//! The log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Logs as `STEMFLOW_LOG` and `STEMFLOW_LOG_FORMAT` say.
pub(crate) fn to_stderr() {
    let filter = EnvFilter::try_from_env("STEMFLOW_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn,opentelemetry=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if std::env::var("STEMFLOW_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().with_span_list(false).init();
    } else {
        builder.init();
    }
}
