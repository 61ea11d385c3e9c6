//! What every stage's `main` is made of.

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::access::ACCESS_HELP;
use crate::config::Config;
use crate::shutdown;
use crate::stage::Stage;
use crate::worker;

const HELP: &str = "\
A stage of a Stemflow workflow: takes its tasks from NATS until it is told to stop (SIGTERM).

Environment:
  NATS_URL              servers, comma-separated  [nats://127.0.0.1:4222]
";
const MORE_HELP: &str = "\
  STEMFLOW_CONCURRENCY  tasks at a time           [what suits the stage]
  STEMFLOW_BATCH_SHARE  one task in so many is of the lane batch while both lanes wait  [4]
  STEMFLOW_GRACE        time to finish a task after SIGTERM  [20s]
  STEMFLOW_LOG          what is logged: error, warn, info, debug  [info]
  STEMFLOW_LOG_FORMAT   text or json  [text]
";

/// Runs `stage` as a process: reads the environment, works until SIGTERM or SIGINT.
pub fn serve<S: Stage, E: std::fmt::Display>(
    name: &'static str,
    stage: impl FnOnce() -> Result<S, E>,
) -> ExitCode {
    if std::env::args().len() > 1 {
        print!("{name}: {HELP}{ACCESS_HELP}{MORE_HELP}");
        return ExitCode::from(2);
    }
    log_to_stderr();
    match try_serve(name, stage) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(stage = name, "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_serve<S: Stage, E: std::fmt::Display>(
    name: &'static str,
    stage: impl FnOnce() -> Result<S, E>,
) -> anyhow::Result<()> {
    let config = Config::from_env(name)?;
    let stage = stage().map_err(|error| anyhow::anyhow!("{error}"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(async {
        let shutdown = shutdown::on_signal();
        worker::work(stage, &config, shutdown).await
    });
    // A thread that does not stop must not keep the process.
    runtime.shutdown_background();
    Ok(result?)
}

/// Logs to standard error as `STEMFLOW_LOG` and `STEMFLOW_LOG_FORMAT` say.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("STEMFLOW_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if std::env::var("STEMFLOW_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
}
