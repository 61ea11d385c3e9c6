//! What all requests share.

use std::sync::{Arc, OnceLock};

use separation::Catalogue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::upload::Inlet;

/// The state behind every request. It can take requests before NATS is there, and refuses them.
pub struct Gateway {
    desk: OnceLock<Arc<Desk>>,
    catalogue: Arc<Catalogue>,
    max_upload: u64,
    uploads: Arc<Semaphore>,
    shutdown: CancellationToken,
    pub(crate) metrics: Metrics,
}

impl Gateway {
    /// A gateway without a desk that takes `max_uploads` songs at once, each of up to `max_upload`
    /// bytes. `shutdown` ends what would else go on for as long as its client likes.
    pub fn new(
        catalogue: Arc<Catalogue>,
        max_upload: u64,
        max_uploads: usize,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            desk: OnceLock::new(),
            catalogue,
            max_upload,
            uploads: Arc::new(Semaphore::new(max_uploads)),
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

    pub(crate) fn inlet(&self) -> Result<Inlet, ApiError> {
        Ok(Inlet { desk: self.desk()?, limit: self.max_upload })
    }

    /// Leave to take a song in, for as long as the permit is held.
    pub(crate) fn upload_permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.uploads).try_acquire_owned().map_err(|_| ApiError::Busy)
    }

    pub(crate) fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    pub(crate) fn max_upload(&self) -> u64 {
        self.max_upload
    }

    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }
}
