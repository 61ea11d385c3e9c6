//! The job records: read, and changed by compare-and-set.
//!
//! They are asked from the leader: another replica, which the library would ask too, may not have
//! heard yet of a job whose first task is out already.

use std::time::Duration;

use async_nats::jetstream::kv;
use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use tokio::time::sleep;

use crate::bus::{Bus, BusError, During, from_json, to_json};
use crate::graph::Graph;
use crate::job::{Job, JobId, RunId, TaskMessage};
use crate::metrics;
use crate::names;
use crate::write::{Fate, Fence, Write, last_message, next_message, purge_to};

/// How often a change is tried again that another writer got ahead of.
const CHANGE_ATTEMPTS: u32 = 30;

/// What stands under a key of a bucket: nothing, or what is left of what was deleted, among it.
struct Entry {
    value: Option<Bytes>,
    /// What a change must build on.
    revision: u64,
}

/// How a run stands.
pub(crate) enum Standing {
    Live(Box<Job>),
    /// It has ended, or a later one has taken its place.
    Over,
    /// There is no record of it: the job was removed, or whoever was asked is a leader no more and
    /// does not know it yet.
    Unheard,
}

impl Bus {
    /// The record of a job.
    pub async fn job(&self, id: &JobId) -> Result<Option<Job>, BusError> {
        Ok(self.job_entry(id).await?.map(|(job, _)| job))
    }

    /// How a run stands.
    pub(crate) async fn standing(&self, run: &RunId) -> Result<Standing, BusError> {
        Ok(match self.job(&run.job).await? {
            Some(job) if job.run == run.number && !job.state.is_final() => {
                Standing::Live(Box::new(job))
            }
            Some(job) if job.run >= run.number => Standing::Over,
            _ => Standing::Unheard,
        })
    }

    /// The names of all jobs that there are records of, or were, in no order.
    async fn job_ids(&self) -> Result<Vec<JobId>, BusError> {
        let prefix = names::entry(&self.jobs, "");
        let subjects = self.subjects(&self.jobs.stream, &format!("{prefix}*")).await?;
        let keys = subjects.iter().filter_map(|subject| subject.strip_prefix(&prefix));
        Ok(keys.filter_map(|key| key.parse().ok()).collect())
    }

    /// All records, read at one go.
    pub async fn all_jobs(&self) -> Result<Vec<Job>, BusError> {
        let ids = self.job_ids().await?;
        let records = futures::stream::iter(ids).map(|id| async move { self.job(&id).await });
        let found: Vec<Option<Job>> = records.buffer_unordered(16).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The records that were written after that sequence, each with its own, in order; of each job
    /// the last alone.
    pub async fn jobs_changed_after(&self, sequence: u64) -> Result<Vec<(Job, u64)>, BusError> {
        let subject = format!("{}*", names::entry(&self.jobs, ""));
        let mut found = Vec::new();
        let mut after = sequence;
        while let Some(message) = next_message(&self.jobs.stream, &subject, after).await? {
            after = message.sequence;
            // What is no record says that there is none any more.
            if let Ok(job) = from_json("a job's record", &message.payload) {
                found.push((job, after));
            }
        }
        Ok(found)
    }

    async fn job_entry(&self, id: &JobId) -> Result<Option<(Job, u64)>, BusError> {
        let Entry { value, revision } = entry(&self.jobs, id).await?;
        let Some(value) = value else { return Ok(None) };
        Ok(Some((from_json("a job's record", &value)?, revision)))
    }

    async fn write_entry(
        &self,
        bucket: &kv::Store,
        key: impl ToString,
        value: Bytes,
        revision: u64,
    ) -> Result<bool, BusError> {
        let subject = names::entry(bucket, key);
        let fence = Fence { subject: subject.clone(), sequence: revision };
        let fate = self.write(&bucket.stream, Write::new(subject, value), &fence).await?;
        Ok(matches!(fate, Fate::Stored))
    }

    /// Writes what nobody has written before; false if somebody has.
    async fn create(
        &self,
        bucket: &kv::Store,
        key: impl ToString,
        value: Bytes,
    ) -> Result<bool, BusError> {
        let key = key.to_string();
        if self.write_entry(bucket, &key, value.clone(), 0).await? {
            return Ok(true);
        }
        match entry(bucket, &key).await? {
            Entry { value: None, revision } => {
                self.write_entry(bucket, &key, value, revision).await
            }
            Entry { value: Some(_), .. } => Ok(false),
        }
    }

    /// Writes the first record of a job; false if there is one already.
    pub(crate) async fn create_job(&self, job: &Job) -> Result<bool, BusError> {
        self.create(&self.jobs, &job.hash, to_json(job)?).await
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
            let Some((mut job, revision)) = self.job_entry(id).await? else { return Ok(None) };
            let had_ended = job.state.is_final();
            if !change(&mut job) {
                return Ok(Some((job, false)));
            }
            job.updated = Timestamp::now();
            if self.write_entry(&self.jobs, id, to_json(&job)?, revision).await? {
                if job.state.is_final() && !had_ended {
                    metrics::ended(&job);
                }
                return Ok(Some((job, true)));
            }
            sleep(Duration::from_millis(u64::from(attempt) * 5)).await;
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

    /// Deletes the record of a run that has ended, unless a later run has taken its place. Leaves
    /// no tombstone: there would be one of each job that ever was.
    pub(crate) async fn forget_run(&self, run: &RunId) -> Result<(), BusError> {
        while let Some((job, revision)) = self.job_entry(&run.job).await? {
            if job.run != run.number || !job.state.is_final() {
                break;
            }
            // Without a tombstone: those would grow with history.
            purge_to(&self.jobs.stream, &names::entry(&self.jobs, &run.job), revision).await?;
        }
        Ok(())
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
        self.create(&self.workflows, graph.digest(), text).await?;
        Ok(())
    }

    /// The workflow of that digest.
    pub async fn graph(&self, digest: &str) -> Result<Graph, BusError> {
        let what = || format!("read the workflow {digest}");
        let text = entry(&self.workflows, digest).await?.value;
        let text = text.ok_or_else(|| BusError::new(what(), "it is not there"))?;
        let text = std::str::from_utf8(&text).during(what())?;
        Graph::parse(text).during(what())
    }
}

async fn entry(bucket: &kv::Store, key: impl ToString) -> Result<Entry, BusError> {
    let found = last_message(&bucket.stream, &names::entry(bucket, key)).await?;
    let Some(StreamMessage { sequence, headers, payload, .. }) = found else {
        return Ok(Entry { value: None, revision: 0 });
    };
    let is_deleted = headers.get("KV-Operation").is_some();
    Ok(Entry { value: Some(payload).filter(|_| !is_deleted), revision: sequence })
}

/// What is to be tried again, since nobody knows of that run.
pub(crate) fn unheard(run: &RunId) -> BusError {
    BusError::new(format!("look at the run {run}"), "there is no record of it")
}
