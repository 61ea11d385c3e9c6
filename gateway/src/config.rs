//! What the process is told by its flags and its environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::Parser;

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
    #[arg(long, env = "STEMFLOW_MAX_UPLOAD", default_value = "2GiB", value_parser = parse_bytes)]
    pub max_upload: u64,

    /// How many songs may come in at once; each takes about 5 MB of memory meanwhile
    #[arg(long, env = "STEMFLOW_MAX_UPLOADS", default_value_t = 32)]
    pub max_uploads: usize,

    /// How long a client that sends a song may send nothing
    #[arg(long, env = "STEMFLOW_IDLE_TIMEOUT", default_value = "60s", value_parser = humantime::parse_duration)]
    pub idle_timeout: Duration,

    /// How many NATS servers keep each stream: 1, or 3 on a cluster
    #[arg(long, env = "STEMFLOW_REPLICAS", default_value_t = 1)]
    pub replicas: usize,

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

fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1000_u64.pow(2),
        "g" | "gb" => 1000_u64.pow(3),
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("use a whole number with KB, MB, GB, KiB, MiB or GiB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "begin with a whole number".to_owned())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(|| "out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(parse_bytes("16"), Ok(16));
        assert_eq!(parse_bytes("16MB"), Ok(16_000_000));
        assert_eq!(parse_bytes("2 GiB"), Ok(2 << 30));
        for wrong in ["", "MB", "1.5GB", "-1", "0", "9 parsecs", "99999999999GiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_flags_fit_together() {
        Config::command().debug_assert();
    }
}
