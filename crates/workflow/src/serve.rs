//! What every stage's `main` is made of.

use std::process::ExitCode;

use telemetry::Readiness;

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
  STEMFLOW_OBSERVE      where /metrics, /livez and /readyz are, such as 0.0.0.0:9100  [nowhere]
  STEMFLOW_LOG          what is logged: error, warn, info, debug  [info]
  STEMFLOW_LOG_FORMAT   text or json  [text]
  OTEL_EXPORTER_OTLP_ENDPOINT  where traces go, such as http://localhost:4318; also what else
                        OpenTelemetry calls OTEL_*  [nowhere]
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
    let served = telemetry::start(name).and_then(|_telling| try_serve(name, stage));
    match served {
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
    let runtime = tokio::runtime::Runtime::new()?;
    let readiness = Readiness::default();
    runtime.block_on(telemetry::listen_as_told(readiness.clone()))?;
    let stage = stage().map_err(|error| anyhow::anyhow!("{error}"))?;
    let result = runtime.block_on(async {
        let shutdown = shutdown::on_signal();
        worker::work_ready(stage, &config, shutdown, &readiness).await
    });
    // A thread that does not stop must not keep the process.
    runtime.shutdown_background();
    Ok(result?)
}
