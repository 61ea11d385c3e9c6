//! What a run leaves behind, and how it goes.

use crate::bus::{Bus, BusError, During};
use crate::job::{Job, JobState, RunId};
use crate::names;
use crate::object::{Bucket, ObjectRef};

impl Bus {
    /// Deletes all that only served a run that has ended: what its stages handed to each other, its
    /// input, its tasks and facts; if it is not done, its output too. Repeatable.
    pub async fn free(&self, job: &Job) -> Result<(), BusError> {
        if job.freed {
            return Ok(());
        }
        let run = job.run_id();
        let keep_output = job.state == JobState::Done;
        for object in self.objects_of(&run).await? {
            if !(keep_output && object.bucket == Bucket::Output) {
                self.forget_name(object.bucket, &object.name).await?;
            }
        }
        self.purge_chunks(Bucket::Work, &format!("{run}.>")).await?;
        if !keep_output {
            self.purge_chunks(Bucket::Output, &format!("{run}.>")).await?;
        }
        if job.input.owned {
            self.delete(&job.input.object).await?;
        }
        // The facts go last: they are the list of what is to be deleted.
        for filter in [names::tasks_of_run(&run), names::facts_of_run(&run)] {
            self.control.purge().filter(filter).await.during("free tasks and facts")?;
        }
        self.change_job(&job.hash, |now| {
            let freed = now.run == run.number && !now.freed;
            now.freed |= freed;
            freed
        })
        .await?;
        Ok(())
    }

    /// Deletes the output of a job: its chunks here, its names by whoever knows them.
    pub(crate) async fn free_output(&self, job: &Job) -> Result<(), BusError> {
        self.purge_chunks(Bucket::Output, &format!("{}.>", job.run_id())).await
    }

    async fn objects_of(&self, run: &RunId) -> Result<Vec<ObjectRef>, BusError> {
        let mut objects = Vec::new();
        for stage in self.recorded_of_run(run).await?.into_keys() {
            for fact in self.facts(run, &stage).await? {
                objects.extend(fact.objects.into_values());
            }
        }
        Ok(objects)
    }
}
