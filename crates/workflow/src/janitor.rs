//! The janitor: takes away what nobody will ask for any more. A process that is killed leaves half
//! an upload; one that sleeps through the end of its run stores something for it all the same. Every
//! gateway replica has one; they need not agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError};
use crate::job::{Job, JobId, RunId};
use crate::object::{Bucket, ObjectRef};
use crate::write::last_message;

/// An object of the bucket `queue` whose name begins so was stored for one job alone. What others
/// have put there is theirs.
pub const UPLOADS: &str = "upload/";

/// How often in the time that something is left alone the janitor comes by.
const ROUNDS: u32 = 4;

/// Takes away, until `shutdown`, what has belonged to nothing for as long as `left_alone`. That must
/// be longer than any client takes for one chunk of a song.
pub async fn clean(bus: Bus, left_alone: Duration, shutdown: CancellationToken) {
    let mut tick = interval(left_alone / ROUNDS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        match bus.clean(left_alone).await {
            Ok(0) => {}
            Ok(objects) => tracing::info!(objects, "took away what belonged to nothing"),
            Err(error) => tracing::warn!(%error, "could not clean up"),
        }
    }
}

/// What is stored in a bucket.
struct Stored {
    bucket: Bucket,
    /// The tokens of all chunks.
    nuids: Vec<String>,
    /// The subjects of all names.
    names: Vec<String>,
}

impl Bus {
    /// Takes away what has belonged to nothing for as long as `left_alone`; how many objects.
    pub async fn clean(&self, left_alone: Duration) -> Result<usize, BusError> {
        // First what is stored, then the jobs: what a job has taken in between is found to be its.
        let mut stored = Vec::new();
        for bucket in Bucket::ALL {
            stored.push(self.stored_in(bucket).await?);
        }
        let jobs: BTreeMap<JobId, Job> =
            self.all_jobs().await?.into_iter().map(|job| (job.hash.clone(), job)).collect();
        let mut taken = 0;
        for bucket in stored {
            taken += self.clean_bucket(bucket, &jobs, left_alone).await?;
        }
        Ok(taken)
    }

    async fn clean_bucket(
        &self,
        Stored { bucket, nuids, names }: Stored,
        jobs: &BTreeMap<JobId, Job>,
        left_alone: Duration,
    ) -> Result<usize, BusError> {
        let names_of =
            |job: &Job| job.names.keys().map(|name| bucket.meta(name)).collect::<Vec<_>>();
        let known: BTreeSet<String> = jobs.values().flat_map(names_of).collect();
        let names = names.into_iter().filter(|name| !known.contains(name));
        let named = self.named(bucket, names).await?;
        let mut taken = 0;
        for object in named.iter().filter(|object| is_abandoned(object, jobs)) {
            if self.is_older(bucket, &bucket.meta(&object.name), left_alone).await? {
                self.take_name(object).await?;
                self.purge_chunks(bucket, &object.nuid).await?;
                taken += 1;
            }
        }
        let named: BTreeSet<&str> = named.iter().map(|object| object.nuid.as_str()).collect();
        for nuid in nuids.iter().filter(|nuid| !named.contains(nuid.as_str())) {
            let is_used = is_used(bucket, nuid, jobs);
            if !is_used && self.is_older(bucket, &bucket.chunks(nuid), left_alone).await? {
                self.purge_chunks(bucket, nuid).await?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    async fn stored_in(&self, bucket: Bucket) -> Result<Stored, BusError> {
        let stream = self.stream_of(bucket).await?;
        let (chunks, all) = (bucket.chunks(""), format!("$O.{}.>", bucket.name()));
        let (mut nuids, mut names) = (Vec::new(), Vec::new());
        for subject in self.subjects(&stream, &all).await? {
            match subject.strip_prefix(&chunks) {
                Some(nuid) => nuids.push(nuid.to_owned()),
                None => names.push(subject),
            }
        }
        Ok(Stored { bucket, nuids, names })
    }

    /// True unless something was stored there of late; what is gone is not old.
    async fn is_older(
        &self,
        bucket: Bucket,
        subject: &str,
        age: Duration,
    ) -> Result<bool, BusError> {
        let last = last_message(&self.stream_of(bucket).await?, subject).await?;
        let now = Timestamp::now().as_second();
        let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        Ok(last.is_some_and(|last| now - last.time.unix_timestamp() > age))
    }
}

/// True if a job may ask for the object with these chunks.
fn is_used(bucket: Bucket, nuid: &str, jobs: &BTreeMap<JobId, Job>) -> bool {
    if bucket == Bucket::Queue {
        let is_input = |job: &&Job| job.input.object.nuid == nuid;
        return jobs.values().filter(is_input).any(|job| !job.freed || job.keeps_input);
    }
    let run: Option<RunId> = nuid.split('.').next().and_then(|run| run.parse().ok());
    // What belongs to no run was put there by somebody else.
    let Some(run) = run else { return true };
    let Some(job) = jobs.get(&run.job).filter(|job| job.run == run.number) else { return false };
    let is_kept = || job.names.values().any(|object| object.nuid == nuid);
    !job.freed || bucket == Bucket::Output && is_kept()
}

/// True for a name that was given for a job, and that no job knows of any more.
fn is_abandoned(object: &ObjectRef, jobs: &BTreeMap<JobId, Job>) -> bool {
    let is_for_a_job = match object.bucket {
        Bucket::Queue => object.name.starts_with(UPLOADS),
        Bucket::Work | Bucket::Output => true,
    };
    is_for_a_job && !is_used(object.bucket, &object.nuid, jobs)
}
