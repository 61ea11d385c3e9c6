//! Where the stages are written down: the option of every command that needs them.

use std::path::PathBuf;

use workflow::Graph;

use crate::check;

#[derive(clap::Args)]
pub(crate) struct Stages {
    /// The stages
    #[arg(
        long,
        value_name = "FILE",
        env = "STEMFLOW_WORKFLOW",
        hide_env_values = true,
        default_value = "workflow.toml"
    )]
    pub(crate) workflow: PathBuf,
}

impl Stages {
    /// Reads them. The error names everything that is wrong with them.
    pub(crate) fn read(&self) -> anyhow::Result<Graph> {
        check::read(&self.workflow)
    }
}
