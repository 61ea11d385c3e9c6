//! All jobs, and the end of one.

use std::collections::BTreeMap;

use serde::Serialize;
use workflow::{Job, JobId, JobState, Lane};

use super::{Desk, LaneLoad};
use crate::error::ApiError;

/// The songs that are not separated yet.
#[derive(Debug, Serialize)]
pub struct Queue {
    /// The jobs, the oldest first.
    pub queue: Vec<JobId>,
    /// How many they are.
    pub queue_length: usize,
    /// What waits in each lane, as counted some seconds ago.
    pub lanes: BTreeMap<Lane, LaneLoad>,
}

/// The reply to the wish that a job end.
#[derive(Debug, Serialize)]
pub struct Ended {
    /// The job.
    pub hash: JobId,
    /// Where it stands now, or stood when it was deleted.
    pub state: String,
    /// What was done, in words.
    pub reason: &'static str,
}

impl Ended {
    fn new(job: Job, reason: &'static str) -> Self {
        Self { state: job.state.to_string(), hash: job.hash, reason }
    }
}

impl Desk {
    /// The jobs that have not ended.
    pub async fn queue(&self) -> Result<Queue, ApiError> {
        let mut jobs = self.bus.all_jobs().await?;
        jobs.retain(|job| !job.state.is_final());
        jobs.sort_by_key(|job| job.submitted);
        let queue: Vec<JobId> = jobs.into_iter().map(|job| job.hash).collect();
        Ok(Queue { queue_length: queue.len(), queue, lanes: self.admission.loads() })
    }

    /// Stops a job that has not ended.
    pub async fn cancel(&self, hash: &str) -> Result<Ended, ApiError> {
        let before = self.job(hash).await?;
        let Some(job) = self.bus.cancel(&before.run_id()).await? else {
            return Err(ApiError::NotFound("the job was removed just now".to_owned()));
        };
        if job.run != before.run {
            return Ok(Ended::new(job, "Job was sent again just now: cancel that one"));
        }
        let is_ours = job.state == JobState::Cancelled && !before.state.is_final();
        let reason = if is_ours { "Job cancelled" } else { "Job has ended already" };
        Ok(Ended::new(job, reason))
    }

    /// Stops a job that runs; deletes one that has ended, with its stems.
    pub async fn cancel_or_delete(&self, hash: &str) -> Result<Ended, ApiError> {
        let job = self.job(hash).await?;
        if !job.state.is_final() {
            return self.cancel(hash).await;
        }
        self.bus.remove(&job.run_id()).await?;
        Ok(Ended::new(job, "Job deleted"))
    }
}
