//! What commands that talk to NATS are told by the environment, and what they say meanwhile.

use std::io::IsTerminal;
use std::sync::LazyLock;

use tracing_subscriber::filter::LevelFilter;
use workflow::ACCESS_HELP;

/// The end of their help.
pub(crate) static ENVIRONMENT: LazyLock<String> =
    LazyLock::new(|| format!("Environment:\n{ACCESS_HELP}").trim_end().to_owned());

/// Shows what only the connection knows, such as that a user may not do something: to whoever asked,
/// that is an answer that does not come.
pub(crate) fn tell_errors() {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::ERROR)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_writer(std::io::stderr)
        .init();
}
