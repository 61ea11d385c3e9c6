//! The job records: read, and changed by compare-and-set.

use async_nats::jetstream::kv::Operation;
use async_nats::jetstream::{ErrorCode, kv};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use crate::bus::{Bus, BusError, During, from_json, to_json};
use crate::graph::Graph;
use crate::job::{Job, JobId, RunId, TaskMessage};

/// How often a change is tried again that another writer got ahead of.
const CHANGE_ATTEMPTS: u32 = 30;

/// A job record and the revision that a change of it must build on.
pub(crate) struct Entry {
    pub(crate) job: Job,
    revision: u64,
}

impl Bus {
    /// The record of a job.
    pub async fn job(&self, id: &JobId) -> Result<Option<Job>, BusError> {
        Ok(self.entry(id).await?.map(|entry| entry.job))
    }

    /// The job of a run that is neither ended nor replaced by a later one.
    pub(crate) async fn live_job(&self, run: &RunId) -> Result<Option<Job>, BusError> {
        let job = self.job(&run.job).await?;
        Ok(job.filter(|job| job.run == run.number && !job.state.is_final()))
    }

    /// The names of all jobs that there are records of, in no order.
    pub async fn job_ids(&self) -> Result<Vec<JobId>, BusError> {
        let what = "list the jobs";
        let keys = self.jobs.keys().await.during(what)?;
        let keys: Vec<String> = keys.try_collect().await.during(what)?;
        Ok(keys.iter().filter_map(|key| key.parse().ok()).collect())
    }

    /// All records, read at one go.
    pub async fn all_jobs(&self) -> Result<Vec<Job>, BusError> {
        let ids = self.job_ids().await?;
        let records = futures::stream::iter(ids).map(|id| async move { self.job(&id).await });
        let found: Vec<Option<Job>> = records.buffer_unordered(16).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn entry(&self, id: &JobId) -> Result<Option<Entry>, BusError> {
        let entry = self.jobs.entry(id.to_string()).await.during(format!("read the job {id}"))?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
            return Ok(None);
        };
        let job = from_json("a job's record", &entry.value)?;
        Ok(Some(Entry { job, revision: entry.revision }))
    }

    /// Writes the first record of a job; false if there is one already.
    pub(crate) async fn create_job(&self, job: &Job) -> Result<bool, BusError> {
        match self.jobs.create(job.hash.to_string(), to_json(job)?).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => Ok(false),
            // A replicated bucket may refuse for a write in flight: the record says who won.
            Err(_) if self.entry(&job.hash).await?.is_some() => Ok(false),
            Err(error) => Err(BusError::new("create a job", error)),
        }
    }

    /// Changes the record of a job by compare-and-set, as often as it takes.
    ///
    /// `change` returns false to leave the record as it is. The result is the record as it stands
    /// afterwards and whether this call changed it; `None` if there is no such job.
    pub(crate) async fn change_job(
        &self,
        id: &JobId,
        mut change: impl FnMut(&mut Job) -> bool,
    ) -> Result<Option<(Job, bool)>, BusError> {
        for attempt in 0..CHANGE_ATTEMPTS {
            let Some(Entry { mut job, revision }) = self.entry(id).await? else { return Ok(None) };
            if !change(&mut job) {
                return Ok(Some((job, false)));
            }
            job.updated = Timestamp::now();
            match self.jobs.update(id.to_string(), to_json(&job)?, revision).await {
                Ok(_) => return Ok(Some((job, true))),
                Err(error) if is_conflict(&error) => {
                    tokio::time::sleep(std::time::Duration::from_millis(u64::from(attempt) * 5))
                        .await;
                }
                Err(error) => return Err(BusError::new(format!("change the job {id}"), error)),
            }
        }
        Err(BusError::new(format!("change the job {id}"), "others change it all the time"))
    }

    /// Like [`Self::change_job`], for a run that is neither ended nor replaced by a later one.
    pub(crate) async fn change_run(
        &self,
        run: &RunId,
        mut change: impl FnMut(&mut Job) -> bool,
    ) -> Result<Option<(Job, bool)>, BusError> {
        let is_live = |job: &Job| job.run == run.number && !job.state.is_final();
        self.change_job(&run.job, |job| is_live(job) && change(job)).await
    }

    /// Deletes the record of a run that has ended, unless a later run has taken its place.
    pub(crate) async fn forget_run(&self, run: &RunId) -> Result<(), BusError> {
        let what = || format!("forget the run {run}");
        for _ in 0..CHANGE_ATTEMPTS {
            let Some(Entry { job, revision }) = self.entry(&run.job).await? else { return Ok(()) };
            if job.run != run.number || !job.state.is_final() {
                return Ok(());
            }
            let key = run.job.to_string();
            match self.jobs.purge_expect_revision(key, Some(revision)).await {
                Ok(()) => return Ok(()),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(BusError::new(what(), error)),
            }
        }
        Err(BusError::new(what(), "others change it all the time"))
    }

    /// Notes that a delivery of a task was no attempt at it.
    pub(crate) async fn excuse(&self, task: &TaskMessage) -> Result<(), BusError> {
        self.change_run(&task.run, |job| {
            *job.excused.entry(task.place()).or_default() += 1;
            true
        })
        .await?;
        Ok(())
    }

    /// Stores a workflow where every worker finds it by its digest.
    pub async fn store_graph(&self, graph: &Graph) -> Result<(), BusError> {
        let text = graph.source().to_owned().into();
        match self.workflows.create(graph.digest(), text).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(BusError::new("store the workflow", error)),
        }
    }

    /// The workflow of that digest.
    pub async fn graph(&self, digest: &str) -> Result<Graph, BusError> {
        let what = || format!("read the workflow {digest}");
        let text = self.workflows.get(digest).await.during(what())?;
        let text = text.ok_or_else(|| BusError::new(what(), "it is not there"))?;
        let text = std::str::from_utf8(&text).during(what())?;
        Graph::parse(text).during(what())
    }
}

/// True if another writer was ahead: 10071, or 10164 on a replicated bucket.
pub(crate) fn is_conflict(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<async_nats::jetstream::Error>() {
            return matches!(
                error.error_code(),
                ErrorCode::STREAM_WRONG_LAST_SEQUENCE
                    | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT
            );
        }
        source = cause.source();
    }
    false
}
