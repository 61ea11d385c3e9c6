//! The `stemflow` command.
//!
//! | subcommand | file | talks to |
//! |---|---|---|
//! | `up` | `up.rs` | nats-server, gateway and stages, as its child processes |
//! | `submit` | `submit.rs` | the gateway, over HTTP (`api.rs`) |
//! | `status`, `cancel` | `status.rs`, `cancel.rs` | the same |
//! | `init`, `dead` | `init.rs`, `dead.rs` | NATS |
//! | `check` | `check.rs` | nobody |
//! | `accounts`, `keys` | `accounts.rs`, `keys.rs` | nobody |
//! | `models` | `models.rs` | the folder of models, and the Hugging Face hub |

mod accounts;
mod api;
mod bar;
mod cancel;
mod check;
mod dead;
mod environment;
mod error;
mod init;
mod keys;
mod models;
mod stages;
mod status;
mod submit;
mod tether;
mod text;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  stemflow up                            the whole stack, on http://127.0.0.1:5000
  stemflow submit song.mp3 --out stems   separate a song, and fetch its stems
  stemflow status                        what is waiting and running
  stemflow check workflow.toml           is this a workflow?
  stemflow models pull htdemucs          another model

Exit codes: 0 it worked, 1 it did not, 2 it was asked for wrongly.";

/// Separates music into stems: vocals, drums, bass and the rest.
#[derive(Parser)]
#[command(name = "stemflow", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Args),
    Submit(submit::Args),
    Status(status::Args),
    Cancel(cancel::Args),
    Init(init::Args),
    Dead(dead::Args),
    Check(check::Args),
    Accounts(accounts::Args),
    Keys(keys::Args),
    Models(models::Args),
    Tether(tether::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stemflow: {}", error::describe(&error));
            ExitCode::from(error::exit_code(&error))
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    if let Command::Init(_) | Command::Dead(_) = command {
        environment::tell_errors();
    }
    match command {
        Command::Up(args) => block_on(up::run(args)),
        Command::Submit(args) => block_on(submit::run(args)),
        Command::Status(args) => block_on(status::run(args)),
        Command::Cancel(args) => block_on(cancel::run(args)),
        Command::Init(args) => block_on(init::run(args)),
        Command::Dead(args) => block_on(dead::run(args)),
        Command::Check(args) => check::run(&args),
        Command::Accounts(args) => accounts::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Models(args) => models::run(args),
        Command::Tether(args) => tether::run(&args),
    }
}

/// One thread, and it is the main one: child processes are tied to the thread that started them
/// (see `tether.rs`), and this one lives as long as the process.
fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // A thread that reads a slow disk must not keep the process.
    runtime.shutdown_background();
    result
}
