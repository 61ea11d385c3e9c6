//! What the process is told by its flags and its environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::Parser;
use workflow::layout::{Layout, Quotas};

use crate::callback::{Guard, Secret};
use crate::desk::Policy;
use crate::gateway::Limits;

/// What only the environment says.
static HELP: LazyLock<String> =
    LazyLock::new(|| format!("Environment:\n{}", workflow::ACCESS_HELP));

/// Stemflow's front doors: takes songs in and gives stems out, over HTTP and as the NATS micro
/// service `stemflow`. Makes the streams, buckets and consumers that the stages wait for.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway", version, after_help = HELP.as_str())]
pub struct Config {
    /// Where to listen for HTTP
    #[arg(long, env = "STEMFLOW_LISTEN", default_value = "0.0.0.0:5000")]
    pub listen: SocketAddr,

    /// NATS servers, comma-separated
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222")]
    pub nats_url: String,

    /// The workflow that new songs go through
    #[arg(long, env = "STEMFLOW_WORKFLOW", default_value = "workflow.toml")]
    pub workflow: PathBuf,

    /// The folder of models.toml
    #[arg(long, env = "STEMFLOW_MODELS", default_value = "models")]
    pub models: PathBuf,

    /// The largest song that is taken, such as 500MB or 2GiB
    #[arg(long, env = "STEMFLOW_MAX_UPLOAD", default_value = "2GiB", value_parser = workflow::parse_bytes)]
    pub max_upload: u64,

    /// How many songs may come in at once; each takes about 5 MB of memory meanwhile
    #[arg(long, env = "STEMFLOW_MAX_UPLOADS", default_value_t = 32)]
    pub max_uploads: usize,

    /// How long a client that sends a song may send nothing
    #[arg(long, env = "STEMFLOW_IDLE_TIMEOUT", default_value = "60s", value_parser = humantime::parse_duration)]
    pub idle_timeout: Duration,

    /// A lane in which more music than this waits takes no more songs
    #[arg(long, env = "STEMFLOW_MAX_QUEUED", default_value = "6h", value_parser = humantime::parse_duration)]
    pub max_queued: Duration,

    /// A song that is longer comes after the others, in the lane batch
    #[arg(long, env = "STEMFLOW_LONG", default_value = "20m", value_parser = humantime::parse_duration)]
    pub long: Duration,

    /// The most that the bucket of songs may hold, such as 8GiB; without, what the servers have
    #[arg(long, env = "STEMFLOW_QUOTA_QUEUE", value_parser = workflow::parse_bytes)]
    pub quota_queue: Option<u64>,

    /// The same of what stages hand to each other
    #[arg(long, env = "STEMFLOW_QUOTA_WORK", value_parser = workflow::parse_bytes)]
    pub quota_work: Option<u64>,

    /// The same of stems
    #[arg(long, env = "STEMFLOW_QUOTA_OUTPUT", value_parser = workflow::parse_bytes)]
    pub quota_output: Option<u64>,

    /// How many NATS servers keep each stream: 1, or 3 on a cluster
    #[arg(long, env = "STEMFLOW_REPLICAS", default_value_t = 1)]
    pub replicas: usize,

    /// Call those inside too when a job has ended, this machine and private networks: whoever sends a
    /// song chooses the URL
    #[arg(long, env = "STEMFLOW_CALLBACK_PRIVATE")]
    pub callback_private: bool,

    /// What callbacks are signed with, base64; `openssl rand -base64 32` makes one
    #[arg(long, env = "STEMFLOW_CALLBACK_SECRET", hide_env_values = true)]
    pub callback_secret: Option<Secret>,

    /// How long what belongs to no job is left alone: half an upload, say, whose gateway has died
    #[arg(long, env = "STEMFLOW_LEFT_ALONE", default_value = "1h", value_parser = humantime::parse_duration)]
    pub left_alone: Duration,

    /// How long downloads and uploads may go on after SIGTERM
    #[arg(long, env = "STEMFLOW_GRACE", default_value = "20s", value_parser = humantime::parse_duration)]
    pub grace: Duration,
}

impl Config {
    /// What clients may not go beyond.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            song_bytes: self.max_upload,
            songs_at_once: self.max_uploads,
            idle: self.idle_timeout,
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy { long: self.long, max_queued: self.max_queued }
    }

    pub(crate) fn callbacks(&self) -> Guard {
        Guard { private: self.callback_private }
    }

    pub(crate) fn layout(&self) -> Layout {
        let Self { quota_queue: queue, quota_work: work, quota_output: output, .. } = *self;
        Layout { replicas: self.replicas, quotas: Quotas { queue, work, output } }
    }

    /// How the gateway reaches NATS.
    pub(crate) fn bus(&self, access: workflow::Access) -> workflow::Config {
        workflow::Config {
            nats_url: self.nats_url.clone(),
            access,
            name: "gateway".to_owned(),
            concurrency: None,
            batch_share: 4,
            grace: self.grace,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Config::command().debug_assert();
    }
}
