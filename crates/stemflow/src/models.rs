//! `stemflow models`: which there are, and how they get here.

mod list;
mod pull;
mod verify;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use separation::{Catalogue, Model};

use crate::block_on;

const EXAMPLES: &str = "\
Examples:
  stemflow models list
  stemflow models pull htdemucs                  from the Hugging Face hub
  stemflow models pull htdemucs --from download  from a folder with htdemucs.yaml and its networks
  stemflow models verify";

/// Lists, fetches and verifies models.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::Args),
    Pull(pull::Args),
    Verify(verify::Args),
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List(args) => list::run(&args),
        Command::Pull(args) => block_on(pull::run(args)),
        Command::Verify(args) => verify::run(&args),
    }
}

/// Where models are.
#[derive(clap::Args)]
struct Shelf {
    /// The folder of models.toml and the weights
    #[arg(
        long = "models",
        value_name = "DIR",
        env = "STEMFLOW_MODELS",
        hide_env_values = true,
        default_value = "models"
    )]
    folder: PathBuf,
}

impl Shelf {
    fn read(&self) -> anyhow::Result<Catalogue> {
        Ok(Catalogue::read(&self.folder)?)
    }

    fn path(&self) -> &Path {
        &self.folder
    }
}

/// Bytes of all files of a model that are there.
fn bytes(catalogue: &Catalogue, model: &Model) -> u64 {
    let size = |path: PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    model.files.iter().map(|file| size(catalogue.path(file))).sum()
}
