//! `stemflow up`: the whole stack as child processes of this one.
//!
//! ```text
//! Args ─► Plan ─► Stack: nats-server, then gateway and stages ─► ready ─► until a signal ─► stopped
//! ```
//!
//! | read | for |
//! |---|---|
//! | `up/plan.rs` | what is to be started; all that can be checked before anything is |
//! | `up/observe.rs` | where each process tells of itself |
//! | `up/nats_server.rs`, `up/ports.rs` | the nats-server to use, the ports to use |
//! | `up/stack.rs` | the order of starting and stopping |
//! | `up/process.rs`, `up/restart.rs` | one process, started again when it ends |
//! | `up/ready.rs` | when all is up |
//! | `up/console.rs` | the log |
//! | `up/signals.rs` | Ctrl-C, and Ctrl-C again |

mod console;
mod nats_server;
mod observe;
mod plan;
mod ports;
mod process;
mod ready;
mod restart;
mod signals;
mod stack;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use plan::Plan;
use signals::Signals;
use stack::Stack;

use crate::stages::Stages;

const EXAMPLES: &str = "\
Examples:
  stemflow up                                  on http://127.0.0.1:5000, data in .stemflow/data
  stemflow up --scale separate=2               two processes share the songs and the cores
  stemflow up --port 0 --nats-port 0           on ports that are free
  stemflow up --listen 0.0.0.0                 for other machines too: there are no passwords

Logs go to standard error, what is ready to standard output. Ctrl-C stops everything, in order;
Ctrl-C again stops it at once. A process that ends by itself is started again.

The processes are also told: STEMFLOW_LOG (error, warn, info, debug), STEMFLOW_GRACE (how long
running work may take to end, 20s), and whatever else is in the environment.";

/// Starts the whole stack: nats-server, the gateway and a process for each stage.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The gateway's port; 0 for any that is free
    #[arg(long, default_value_t = 5000)]
    port: u16,
    /// The address at which the gateway listens; 0.0.0.0 for other machines too
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// The port of nats-server, which listens on 127.0.0.1 only; 0 for any that is free
    #[arg(long, value_name = "PORT", default_value_t = 4222)]
    nats_port: u16,
    /// A port for nats-server's own monitoring; none by default
    #[arg(long, value_name = "PORT")]
    nats_monitor_port: Option<u16>,
    /// Where jobs and songs are kept
    #[arg(long, value_name = "DIR", default_value = ".stemflow/data")]
    data: PathBuf,
    /// Give each stage's process a port for metrics and probes, and name them all, as Prometheus
    /// reads it, in `targets.json` in the data folder
    #[arg(long)]
    observe: bool,
    /// How many processes a stage has; 1 by default. Can be given for each stage
    #[arg(long, value_name = "STAGE=N")]
    scale: Vec<Scale>,
    #[command(flatten)]
    stages: Stages,
    /// The folder of models.toml and the weights
    #[arg(
        long,
        value_name = "DIR",
        env = "STEMFLOW_MODELS",
        hide_env_values = true,
        default_value = "models"
    )]
    models: PathBuf,
    /// Where the programs are, named as their stages; by default beside this one
    #[arg(long, value_name = "DIR")]
    bin: Option<PathBuf>,
    /// The nats-server to use; by default that of scripts/setup, or the one on PATH
    #[arg(long, value_name = "FILE", env = "STEMFLOW_NATS_SERVER", hide_env_values = true)]
    nats_server: Option<PathBuf>,
}

/// `separate=2`.
#[derive(Clone, Debug, PartialEq)]
struct Scale {
    stage: String,
    processes: usize,
}

impl FromStr for Scale {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "STAGE=N is expected, such as separate=2";
        let (stage, processes) = text.split_once('=').ok_or(expected)?;
        let processes = processes.parse().map_err(|_| expected)?;
        Ok(Self { stage: stage.to_owned(), processes })
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let plan = Plan::new(&args)?;
    let mut signals = Signals::listen()?;
    let mut stack = Stack::new(plan);
    let result = tokio::select! {
        result = serve(&mut stack) => result,
        () = signals.stop() => Ok(()),
    };
    stack.stop(&mut signals).await;
    result
}

/// Comes back only if the stack cannot be started.
async fn serve(stack: &mut Stack) -> anyhow::Result<()> {
    stack.start().await?;
    // Whoever started us may have stopped reading.
    let _ = std::io::stdout().write_all(stack.welcome().as_bytes());
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scales_are_read_one_by_one() {
        let cli =
            Cli::try_parse_from(["up", "--scale", "separate=2", "--scale", "encode=3"]).unwrap();
        let scale = |stage: &str, processes| Scale { stage: stage.to_owned(), processes };
        assert_eq!(cli.args.scale, [scale("separate", 2), scale("encode", 3)]);
        for wrong in ["separate", "separate=", "separate=-1", "separate=two"] {
            let Err(error) = Cli::try_parse_from(["up", "--scale", wrong]) else {
                panic!("{wrong} was taken");
            };
            assert!(error.to_string().contains("such as separate=2"), "{error}");
        }
    }
}
