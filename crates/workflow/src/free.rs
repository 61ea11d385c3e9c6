//! What a run leaves behind, and how it goes.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;

use crate::bus::{Bus, BusError};
use crate::job::{Job, JobState, RunId};
use crate::names;
use crate::object::{Bucket, ObjectRef};
use crate::write::purge;

impl Bus {
    /// Deletes all that only served a run that has ended: what its stages handed to each other, its
    /// input, its tasks and facts; if it is not done, its output too. Has those told who wanted to
    /// know of its end. Repeatable.
    pub async fn free(&self, job: &Job) -> Result<(), BusError> {
        if job.freed {
            return Ok(());
        }
        let run = job.run_id();
        // The tasks go first: without its task, no fact can be written any more.
        self.purge(names::tasks_of_run(&run)).await?;
        self.purge_chunks(Bucket::Work, &format!("{run}.>")).await?;
        if job.state == JobState::Done {
            self.free_nameless(job).await?;
        } else {
            self.take_names(&job.names).await?;
            // Whoever gave them may have died before the job could be done.
            self.take_names(&self.names_left(job).await?).await?;
            self.purge_chunks(Bucket::Output, &format!("{run}.>")).await?;
        }
        if job.input.owned && !job.keeps_input {
            self.delete(&job.input.object).await?;
        }
        self.purge(names::facts_of_run(&run)).await?;
        self.owe(job).await?;
        self.change_job(&job.hash, |now| {
            let freed = now.run == run.number && now.state == job.state && !now.freed;
            now.freed |= freed;
            now.called |= freed;
            freed
        })
        .await?;
        Ok(())
    }

    /// The names that the facts of its last stages say. Whoever frees the run at the same time takes
    /// the names of a fact before the fact goes.
    async fn names_left(&self, job: &Job) -> Result<BTreeMap<String, ObjectRef>, BusError> {
        let graph = self.graph(&job.workflow).await?;
        let mut names = BTreeMap::new();
        for stage in graph.last_stages() {
            let run = job.run_id();
            let mut facts = std::pin::pin!(self.facts_left(&run, &stage.name).await?);
            while let Some(fact) = facts.try_next().await? {
                names.extend(fact.into_iter().flat_map(|fact| fact.names));
            }
        }
        Ok(names)
    }

    /// Deletes what attempts that died have left in the bucket `output`: all that nobody can find.
    async fn free_nameless(&self, job: &Job) -> Result<(), BusError> {
        let kept: BTreeSet<&str> = job.names.values().map(|object| object.nuid.as_str()).collect();
        for nuid in self.stored(&job.run_id()).await? {
            if !kept.contains(nuid.as_str()) {
                self.purge_chunks(Bucket::Output, &nuid).await?;
            }
        }
        Ok(())
    }

    /// All objects of a run in the bucket `output`, begun ones among them.
    async fn stored(&self, run: &RunId) -> Result<Vec<String>, BusError> {
        let chunks = Bucket::Output.chunks("");
        let stream = self.stream_of(Bucket::Output).await?;
        let subjects = self.subjects(&stream, &format!("{chunks}{run}.>")).await?;
        let nuid = |subject: &String| subject.strip_prefix(&chunks).map(str::to_owned);
        Ok(subjects.iter().filter_map(nuid).collect())
    }

    /// Deletes messages of the control stream.
    pub(crate) async fn purge(&self, subject: impl Into<String>) -> Result<(), BusError> {
        purge(&self.control, &subject.into()).await
    }
}
