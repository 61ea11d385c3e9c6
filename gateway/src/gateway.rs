//! What all requests share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use separation::Catalogue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::upload::Inlet;

/// What clients may not go beyond.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest song, in bytes.
    pub song_bytes: u64,
    /// How many songs may come in at once.
    pub songs_at_once: usize,
    /// How long a client that sends a song may send nothing.
    pub idle: Duration,
}

/// The state behind every request. It can take requests before NATS is there, and refuses them.
pub struct Gateway {
    desk: OnceLock<Arc<Desk>>,
    catalogue: Arc<Catalogue>,
    limits: Limits,
    uploads: Arc<Semaphore>,
    shutdown: CancellationToken,
    pub(crate) metrics: Metrics,
}

impl Gateway {
    /// A gateway without a desk. `shutdown` ends what would else go on for as long as its client
    /// likes.
    pub fn new(catalogue: Arc<Catalogue>, limits: Limits, shutdown: CancellationToken) -> Self {
        Self {
            desk: OnceLock::new(),
            catalogue,
            limits,
            uploads: Arc::new(Semaphore::new(limits.songs_at_once)),
            shutdown,
            metrics: Metrics::new(),
        }
    }

    /// Opens the desk, once NATS is there. The first one stays.
    pub fn open(&self, desk: Desk) -> Arc<Desk> {
        Arc::clone(self.desk.get_or_init(|| Arc::new(desk)))
    }

    pub(crate) fn desk(&self) -> Result<Arc<Desk>, ApiError> {
        self.desk.get().map(Arc::clone).ok_or(ApiError::Starting)
    }

    pub(crate) fn inlet(&self, announced: u64) -> Result<Inlet, ApiError> {
        Ok(Inlet { desk: self.desk()?, limit: self.limits.song_bytes, announced })
    }

    /// Leave to take a song in, for as long as the permit is held.
    pub(crate) fn upload_permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.uploads).try_acquire_owned().map_err(|_| ApiError::Busy)
    }

    /// Counts what waits; to be called every few seconds.
    pub async fn count(&self) -> Result<(), ApiError> {
        self.desk()?.count().await.map(drop)
    }

    pub(crate) fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }
}
