//! Jobs from outside: begun, joined, cancelled, removed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::bus::{Bus, BusError};
use crate::graph::Graph;
use crate::job::{Input, Job, JobId, JobState};

/// A job that someone wants done.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its name, made from what it is about.
    pub id: JobId,
    /// What it is about, in the words of the stages.
    pub spec: Value,
    /// What it starts from.
    pub input: Input,
}

/// What became of a [`Submission`].
#[derive(Clone, Debug, PartialEq)]
pub enum Submitted {
    /// A run of it began.
    Begun(Job),
    /// It is running already; the input that was sent along is not needed.
    Joined(Job),
    /// It is done already; the input that was sent along is not needed.
    Done(Job),
}

impl Submitted {
    /// The job, whatever became of it.
    pub fn job(&self) -> &Job {
        match self {
            Self::Begun(job) | Self::Joined(job) | Self::Done(job) => job,
        }
    }
}

impl Bus {
    /// Begins a job, or joins it. `is_whole` says of a finished job whether its results are still
    /// there; if not, it is run again.
    pub async fn submit(
        &self,
        submission: Submission,
        graph: &Graph,
        is_whole: impl Fn(&Job) -> bool,
    ) -> Result<Submitted, BusError> {
        let first = new_run(&submission, graph, 1);
        if self.create_job(&first).await? {
            return self.begin(first, graph).await;
        }
        let again = |job: &Job| match job.state {
            JobState::Failed | JobState::Cancelled => true,
            JobState::Done => !is_whole(job),
            _ => false,
        };
        let changed = self
            .change_job(&submission.id, |job| {
                if !again(job) {
                    return false;
                }
                *job = new_run(&submission, graph, job.run + 1);
                true
            })
            .await?;
        match changed {
            Some((job, true)) => self.begin(job, graph).await,
            Some((job, false)) if job.state == JobState::Done => Ok(Submitted::Done(job)),
            Some((job, false)) => {
                // Whoever wrote it may have died before the first task was out.
                if job.state == JobState::Queued {
                    let graph = self.graph(&job.workflow).await?;
                    self.advance(&job.run_id(), &graph).await?;
                }
                Ok(Submitted::Joined(job))
            }
            // Removed between our two looks at it.
            None => Box::pin(self.submit(submission, graph, is_whole)).await,
        }
    }

    async fn begin(&self, job: Job, graph: &Graph) -> Result<Submitted, BusError> {
        self.tell_state(&job).await;
        // The job is written down: from here on the reconciler would see it through.
        match self.advance(&job.run_id(), graph).await {
            Ok(moved) => Ok(Submitted::Begun(moved.unwrap_or(job))),
            Err(error) => {
                tracing::warn!(job = %job.hash, %error, "first tasks not released, the reconciler will");
                Ok(Submitted::Begun(job))
            }
        }
    }

    /// Stops a job that has not ended. Its running tasks notice within moments. Returns the job as
    /// it then stands; `None` if there is none of that name.
    pub async fn cancel(&self, id: &JobId) -> Result<Option<Job>, BusError> {
        let changed = self
            .change_job(id, |job| {
                if job.state.is_final() {
                    return false;
                }
                job.state = JobState::Cancelled;
                job.finished = Some(Timestamp::now());
                true
            })
            .await?;
        let Some(job) = self.told(changed).await? else { return Ok(None) };
        if job.state.is_final() && !job.freed {
            self.free(&job).await?;
        }
        Ok(Some(job))
    }

    /// Changes what the results of a finished job say, such as that one was removed.
    pub async fn change_results(
        &self,
        id: &JobId,
        mut change: impl FnMut(&mut BTreeMap<String, Value>) -> bool,
    ) -> Result<Option<Job>, BusError> {
        let is_done = |job: &Job| job.state == JobState::Done;
        let changed = self.change_job(id, |job| is_done(job) && change(&mut job.results)).await?;
        Ok(changed.map(|(job, _)| job))
    }

    /// Deletes all there is of a job, running or not.
    pub async fn remove(&self, id: &JobId) -> Result<Option<Job>, BusError> {
        let Some(job) = self.cancel(id).await? else { return Ok(None) };
        self.free_output(&job).await?;
        self.forget_job(id).await?;
        Ok(Some(job))
    }
}

fn new_run(submission: &Submission, graph: &Graph, run: u32) -> Job {
    let now = Timestamp::now();
    Job {
        hash: submission.id.clone(),
        run,
        state: JobState::Queued,
        workflow: graph.digest().to_owned(),
        spec: submission.spec.clone(),
        input: submission.input.clone(),
        submitted: now,
        updated: now,
        finished: None,
        stages: BTreeMap::new(),
        error: None,
        results: BTreeMap::new(),
        freed: false,
    }
}
