use std::env;
use std::num::NonZero;
use std::thread::available_parallelism;

use demucs::{Device, DeviceError, Precision, UnknownPrecision};
use separation::{Catalogue, CatalogueError};

/// What the process is told by its environment.
pub(crate) struct Config {
    pub(crate) catalogue: Catalogue,
    pub(crate) device: Device,
    pub(crate) precision: Precision,
    threads: Option<NonZero<usize>>,
}

/// Why the process cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message says it all")]
pub enum StartError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("STEMFLOW_DEVICE: {0}")]
    Device(#[from] DeviceError),
    #[error("STEMFLOW_PRECISION: {0}")]
    Precision(#[from] UnknownPrecision),
    #[error("STEMFLOW_THREADS is `{0}`: use a whole number of 1 or more")]
    Threads(String),
    #[error("failed to load the model `{name}`: {reason}")]
    Load { name: String, reason: String },
}

impl Config {
    /// `STEMFLOW_MODELS`, a folder; `STEMFLOW_DEVICE`, `cpu` (the default), `cuda` or `cuda:N`;
    /// `STEMFLOW_PRECISION`, `f32` (the default on the CPU), `f16` (on a GPU) or `bf16`;
    /// `STEMFLOW_THREADS`, the shards that are separated at a time on the CPU, by default one per
    /// core.
    pub(crate) fn from_env() -> Result<Self, StartError> {
        let catalogue = Catalogue::from_env()?;
        let device: Device =
            env::var("STEMFLOW_DEVICE").unwrap_or_else(|_| "cpu".to_owned()).parse()?;
        let precision = match env::var("STEMFLOW_PRECISION") {
            Ok(name) => name.parse()?,
            Err(_) => device.precision(),
        };
        let threads = match env::var("STEMFLOW_THREADS") {
            Ok(text) => Some(text.parse().map_err(|_| StartError::Threads(text))?),
            Err(_) => None,
        };
        Ok(Self { catalogue, device, precision, threads })
    }

    /// How many threads separate, a shard each.
    pub(crate) fn threads(&self) -> usize {
        match (self.device, self.threads) {
            (Device::Cuda(_), _) => 1,
            (Device::Cpu, Some(threads)) => threads.get(),
            (Device::Cpu, None) => available_parallelism().map_or(1, NonZero::get),
        }
    }
}
