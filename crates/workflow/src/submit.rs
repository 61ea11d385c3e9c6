//! Jobs from outside: begun, joined, cancelled, removed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::bus::{Bus, BusError};
use crate::callback::Wish;
use crate::graph::Graph;
use crate::job::{Input, Job, JobId, JobState, Lane, RunId};

/// A job that someone wants done.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its name, made from what it is about.
    pub id: JobId,
    /// What it is about, in the words of the stages.
    pub spec: Value,
    /// What it starts from.
    pub input: Input,
    /// Where its first tasks go; its own say if it runs already.
    pub lane: Lane,
    /// Who wants to be told of its end, if it is anyone; see [`Job::callbacks`].
    pub callback: Option<Value>,
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
    /// It is running or done already, and as many as there can be are told of its end; this one is
    /// not. The input that was sent along is not needed.
    Crowded(Job),
}

impl Submitted {
    /// The job, whatever became of it.
    pub fn job(&self) -> &Job {
        match self {
            Self::Begun(job) | Self::Joined(job) | Self::Done(job) | Self::Crowded(job) => job,
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
        let (mut before, mut wish) = (None, None);
        let changed = self
            .change_job(&submission.id, |job| {
                (before, wish) = (None, None);
                if !again(job) {
                    // Of an end that has come already, a notice can be laid at once.
                    let callback = submission.callback.as_ref().filter(|_| !job.state.is_final());
                    wish = callback.map(|callback| job.wish(callback));
                    return wish == Some(Wish::Added);
                }
                let mut next = new_run(&submission, graph, job.run + 1);
                next.wish_for(job);
                before = Some(std::mem::replace(job, next));
                true
            })
            .await?;
        // The answer to the first write was lost, and the caller has come again.
        let is_ours = |job: &Job| submission.input.owned && job.input == submission.input;
        match changed {
            Some((job, true)) if before.is_some() => {
                self.replace_input(before, &job).await;
                self.begin(job, graph).await
            }
            Some((job, _)) if job.state == JobState::Done => {
                // Who is in its record already is told by whoever frees it.
                match submission.callback.as_ref().filter(|_| !is_ours(&job)) {
                    Some(callback) if !self.owe_to(&job, callback).await? => {
                        Ok(Submitted::Crowded(job))
                    }
                    _ => Ok(Submitted::Done(job)),
                }
            }
            Some((job, _)) if wish == Some(Wish::Refused) => Ok(Submitted::Crowded(job)),
            Some((job, _)) if is_ours(&job) => self.begin(job, graph).await,
            Some((job, _)) => {
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

    /// Deletes the input that a failed run has kept, now that the next one has its own.
    async fn replace_input(&self, before: Option<Job>, now: &Job) {
        let Some(Input { object, owned: true }) = before.map(|job| job.input) else { return };
        if object.nuid == now.input.object.nuid {
            return;
        }
        if let Err(error) = self.delete(&object).await {
            tracing::warn!(job = %now.hash, %error, "the input of an earlier run was not deleted");
        }
    }

    pub(crate) async fn begin(&self, job: Job, graph: &Graph) -> Result<Submitted, BusError> {
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

    /// Stops a run that has not ended. Its running tasks notice within moments. Returns the job as
    /// it then stands, which may be in a later run; `None` if there is none of that name.
    pub async fn cancel(&self, run: &RunId) -> Result<Option<Job>, BusError> {
        let changed = self
            .change_job(&run.job, |job| {
                if job.run != run.number || job.state.is_final() {
                    return false;
                }
                job.state = JobState::Cancelled;
                job.finished = Some(Timestamp::now());
                true
            })
            .await?;
        let Some(job) = self.told(changed).await? else { return Ok(None) };
        if job.run == run.number && job.state.is_final() {
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

    /// Deletes all there is of a run, ended or not, and the job's record with it; a later run of the
    /// same job and all that is its own stay. `None` if there is no such job.
    pub async fn remove(&self, run: &RunId) -> Result<Option<Job>, BusError> {
        // Not done any more before the first of its results goes: who sends the job again from
        // here on gets a new run, and should this be cut short, the reconciler frees the rest.
        let changed = self
            .change_job(&run.job, |job| {
                let is_meant = job.run == run.number;
                if is_meant {
                    job.state = JobState::Cancelled;
                    job.finished.get_or_insert_with(Timestamp::now);
                    (job.keeps_input, job.freed) = (false, false);
                }
                is_meant
            })
            .await?;
        let Some(job) = self.told(changed).await? else { return Ok(None) };
        if job.run == run.number {
            self.free(&job).await?;
            self.forget_run(run).await?;
        }
        Ok(Some(job))
    }
}

fn new_run(submission: &Submission, graph: &Graph, run: u32) -> Job {
    let Submission { id, spec, input, lane, callback } = submission.clone();
    let run = RunId { job: id, number: run };
    let callbacks = callback.into_iter().collect();
    Job { callbacks, ..queued(run, graph.digest().to_owned(), spec, input, lane) }
}

/// The next run of a job that has failed, from the same input.
pub(crate) fn next_run(job: &Job) -> Job {
    let Job { hash, workflow, spec, input, lane, .. } = job.clone();
    let next = queued(RunId { job: hash, number: job.run + 1 }, workflow, spec, input, lane);
    // Who runs it again has no trace, mostly; then it is the same story still.
    let trace = next.trace.clone().or_else(|| job.trace.clone());
    // Who was told that it has failed is told of this end too.
    Job { trace, callbacks: job.callbacks.clone(), ..next }
}

fn queued(run: RunId, workflow: String, spec: Value, input: Input, lane: Lane) -> Job {
    let now = Timestamp::now();
    Job {
        hash: run.job,
        run: run.number,
        state: JobState::Queued,
        workflow,
        spec,
        input,
        lane,
        weight: None,
        submitted: now,
        updated: now,
        finished: None,
        stages: BTreeMap::new(),
        error: None,
        results: BTreeMap::new(),
        names: BTreeMap::new(),
        excused: BTreeMap::new(),
        keeps_input: false,
        callbacks: Vec::new(),
        called: false,
        freed: false,
        trace: telemetry::context::current(),
    }
}
