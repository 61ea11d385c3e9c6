//! What can be done with songs, whichever door they come through. No HTTP here, and no requests
//! over NATS: both doors call the same functions and put the same records into their replies.

mod admission;
mod follow;
mod jobs;
mod status;
mod submit;
mod tracks;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use separation::{Catalogue, Manifest};
use workflow::{Bus, BusError, Graph, Job, JobId, Lane, LiveProgress, Survey};

use admission::Admission;

pub use admission::{LaneLoad, Policy};
pub use follow::Follower;
pub use jobs::{Ended, Queue};
pub use status::{StageStatus, Status};
pub use submit::{Outcome, Receipt, Song};
pub use tracks::{Removed, Track};

use crate::callback::Guard;
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
    admission: Admission,
    callbacks: Guard,
    watch: tokio::sync::Mutex<Watch>,
}

/// The jobs that had not ended when they were looked at last.
#[derive(Default)]
struct Watch {
    live: HashMap<JobId, (Job, Instant)>,
    sequence: u64,
}

/// A job that has not moved for so long is looked at again: its record may be gone.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

impl Desk {
    /// A desk that sends new songs through `graph`. Someone has to feed `progress`.
    pub fn new(bus: Bus, graph: Graph, catalogue: Arc<Catalogue>, progress: LiveProgress) -> Self {
        let (admission, watch) = (Admission::new(Policy::default()), tokio::sync::Mutex::default());
        let callbacks = Guard::default();
        let pinned = Mutex::default();
        Self { bus, graph, catalogue, progress, pinned, admission, callbacks, watch }
    }

    /// The same, with another idea of who may be called.
    #[must_use]
    pub fn with_callbacks(self, callbacks: Guard) -> Self {
        Self { callbacks, ..self }
    }

    /// The same, with another idea of what may wait.
    #[must_use]
    pub fn with_policy(self, policy: Policy) -> Self {
        Self { admission: Admission::new(policy), ..self }
    }

    /// Leave to take in another song, of that many bytes, by those who wish it in that lane.
    pub(crate) fn admit(&self, wish: Lane, bytes: u64) -> Result<(), ApiError> {
        self.admission.admit(self.admission.lane(wish, bytes))
    }

    /// Counts what waits; to be called every few seconds. Returns the jobs that have not ended: only
    /// what has changed since the last time is read.
    pub async fn count(&self) -> Result<Vec<Job>, ApiError> {
        let mut watch = self.watch.lock().await;
        let Watch { live, sequence } = &mut *watch;
        let is_first = *sequence == 0;
        let now = Instant::now();
        for (job, at) in self.bus.jobs_changed_after(*sequence).await? {
            *sequence = at;
            // Before the first count there is nothing to compare with.
            if !is_first || !job.state.is_final() {
                live.insert(job.hash.clone(), (job, now));
            }
        }
        let still: Vec<JobId> = live
            .values()
            .filter(|(_, seen)| *seen + LOOK_AGAIN < now)
            .map(|(job, _)| job.hash.clone())
            .collect();
        for id in still {
            match self.bus.job(&id).await? {
                Some(job) => live.insert(id, (job, now)),
                None => live.remove(&id),
            };
        }
        let mut jobs = Vec::with_capacity(live.len());
        for (job, _) in live.values() {
            let done = self.graph_of(job).await?.progress(&self.progress.of(job));
            jobs.push((job.clone(), done));
        }
        self.admission.tally().count(&jobs, now);
        live.retain(|_, (job, _)| !job.state.is_final());
        Ok(live.values().map(|(job, _)| job.clone()).collect())
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
