//! Stemflow's front doors, as a process.

use std::process::ExitCode;

use clap::Parser;
use gateway::Config;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    workflow::log_to_stderr();
    match gateway::serve(config, workflow::on_signal()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
