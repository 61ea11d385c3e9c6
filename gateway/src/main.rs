//! Stemflow's front doors, as a process.

use std::process::ExitCode;

use clap::Parser;
use gateway::Config;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    let served = match telemetry::start("gateway") {
        // Its last spans are sent when it is dropped.
        Ok(_telling) => gateway::serve(config, workflow::on_signal()).await,
        Err(error) => Err(error),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
