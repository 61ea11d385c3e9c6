//! What can be done with songs, whichever door they come through. No HTTP here, and no requests
//! over NATS: both doors call the same functions and put the same records into their replies.

mod follow;
mod jobs;
mod status;
mod submit;
mod tracks;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use separation::{Catalogue, Manifest};
use workflow::{Bus, BusError, Graph, Job, JobId, LiveProgress, Survey};

pub use follow::Follower;
pub use jobs::{Ended, Queue};
pub use status::{StageStatus, Status};
pub use submit::{Outcome, Receipt, Song};
pub use tracks::{Removed, Track};

use crate::error::ApiError;

/// The stage whose result is the manifest.
const RESULT: &str = "publish";

/// The desk behind both doors.
pub struct Desk {
    bus: Bus,
    graph: Graph,
    catalogue: Arc<Catalogue>,
    progress: LiveProgress,
    /// The workflows of jobs that are under way: not all began with the present one.
    pinned: Mutex<HashMap<String, Arc<Graph>>>,
}

impl Desk {
    /// A desk that sends new songs through `graph`. Someone has to feed `progress`.
    pub fn new(bus: Bus, graph: Graph, catalogue: Arc<Catalogue>, progress: LiveProgress) -> Self {
        Self { bus, graph, catalogue, progress, pinned: Mutex::default() }
    }

    /// The way to what is stored.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// How much waits for the stages, and what is stored.
    pub async fn survey(&self) -> Result<Survey, BusError> {
        self.bus.survey(&self.graph).await
    }

    /// The models that can be asked for.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The job that a client calls `hash`.
    async fn job(&self, hash: &str) -> Result<Job, ApiError> {
        let id = parse_hash(hash)?;
        let unknown = || {
            let text = "there is no job of that hash: it was removed, or its time is over; send the song again";
            ApiError::NotFound(text.to_owned())
        };
        self.bus.job(&id).await?.ok_or_else(unknown)
    }

    /// The workflow that a job keeps to.
    async fn graph_of(&self, job: &Job) -> Result<Arc<Graph>, ApiError> {
        let known = lock(&self.pinned).get(&job.workflow).map(Arc::clone);
        if let Some(graph) = known {
            return Ok(graph);
        }
        let graph = Arc::new(self.bus.graph(&job.workflow).await?);
        lock(&self.pinned).insert(job.workflow.clone(), Arc::clone(&graph));
        Ok(graph)
    }
}

/// The name of a job, from what a client sent.
pub(crate) fn parse_hash(hash: &str) -> Result<JobId, ApiError> {
    hash.parse().map_err(|_| {
        let text = "not a hash: use the 32 hex digits that `separate` replied with";
        ApiError::NotFound(text.to_owned())
    })
}

/// What a finished job has to show; `None` while it is not finished.
fn manifest(job: &Job) -> Option<Manifest> {
    let result = job.results.get(RESULT)?;
    serde_json::from_value(result.clone())
        .inspect_err(
            |error| tracing::error!(job = %job.hash, %error, "a manifest that cannot be read"),
        )
        .ok()
}

/// What the song is called by those who sent it.
fn name(job: &Job) -> Option<&str> {
    job.spec.get("name")?.as_str()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
