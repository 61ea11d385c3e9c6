//! Dead letters: tasks that will not be tried again, with the reason. They can be looked at, their
//! jobs run again, and they can be dropped; after a week they go by themselves.

use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::Stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bus::{Bus, BusError, During, from_json, to_json};
use crate::job::{Job, JobError, JobState, RunId, TaskMessage};
use crate::names;
use crate::submit::next_run;
use crate::write::{next_message, purge};

/// A task that was given up, as it lies in the stream `STEMFLOW_DEAD`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The task.
    pub task: TaskMessage,
    /// A short stable word.
    pub code: String,
    /// The last error.
    pub reason: String,
    /// How often it was tried; 0 if nobody knows.
    #[serde(default)]
    pub attempts: u32,
    /// True if the circumstances were at fault: the job's input is kept, to run it again from.
    #[serde(default)]
    pub redrivable: bool,
    /// When it was given up.
    pub died: Timestamp,
}

/// What became of the wish to run a dead letter's job again.
#[derive(Clone, Debug, PartialEq)]
pub enum Redriven {
    /// A new run began; the letters of the old one are gone.
    Begun(Box<Job>),
    /// It cannot be: a sentence that says why, and what to do.
    Refused(String),
}

impl DeadLetter {
    /// A task that cannot succeed.
    pub(crate) fn new(task: &TaskMessage, code: &str, reason: &str) -> Self {
        Self {
            task: task.clone(),
            code: code.to_owned(),
            reason: reason.to_owned(),
            attempts: 0,
            redrivable: false,
            died: Timestamp::now(),
        }
    }

    pub(crate) fn after(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// A task that has failed too often.
    pub(crate) fn gave_up(task: &TaskMessage, attempts: u32, error: &str) -> Self {
        let reason = format!("gave up after {attempts} attempts: {error}");
        Self { redrivable: true, ..Self::new(task, "gave-up", &reason).after(attempts) }
    }

    /// A task that has ended its worker too often.
    pub(crate) fn lost_worker(task: &TaskMessage, attempts: u32) -> Self {
        Self::gave_up(task, attempts, "the worker was lost each time").with_code("lost-worker")
    }

    /// A task that the server does not deliver any more.
    pub(crate) fn undelivered(task: &TaskMessage) -> Self {
        let reason = "the server does not deliver the task any more: no worker could take it";
        Self { redrivable: true, ..Self::new(task, "undelivered", reason) }
    }

    fn with_code(self, code: &str) -> Self {
        Self { code: code.to_owned(), ..self }
    }

    fn subject(&self) -> String {
        let TaskMessage { stage, run, key, .. } = &self.task;
        names::dead(stage, run, key)
    }
}

impl Bus {
    /// Lays a task among the dead and fails its job. There is one letter of each task, however often
    /// this is repeated.
    pub(crate) async fn bury(&self, letter: &DeadLetter) -> Result<Option<Job>, BusError> {
        let DeadLetter { task, code, reason, redrivable, .. } = letter;
        tracing::error!(run = %task.run, stage = task.stage, key = task.key, code, reason, "task is dead");
        let message = PublishMessage::build()
            .payload(to_json(letter)?)
            .header(async_nats::header::NATS_ROLLUP, "sub");
        self.publish(&letter.subject(), message).await?;
        let error =
            JobError { code: code.clone(), message: reason.clone(), stage: task.stage.clone() };
        self.fail(&task.run, error, *redrivable).await
    }

    /// All dead letters, the oldest first.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, BusError> {
        let mut letters = Vec::new();
        let mut after = 0;
        while let Some(message) = self.next_of_the_dead(names::LETTERS, after).await? {
            after = message.sequence;
            letters.push(from_json("a dead letter", &message.payload)?);
        }
        Ok(letters)
    }

    /// Deletes a letter, and the input that was kept for it. Repeatable.
    pub async fn drop_letter(&self, letter: &DeadLetter) -> Result<(), BusError> {
        let run = &letter.task.run;
        self.forget_letters(&letter.subject()).await?;
        let others = self.dead_letters().await?;
        if others.iter().any(|other| other.task.run == *run) {
            return Ok(());
        }
        let changed = self
            .change_job(&run.job, |job| {
                let kept = job.run == run.number && job.keeps_input;
                if kept {
                    (job.keeps_input, job.freed) = (false, false);
                }
                kept
            })
            .await?;
        match changed {
            Some((job, true)) => self.free(&job).await,
            _ => Ok(()),
        }
    }

    /// Runs the job of a dead letter again, from its input and with the workflow that it began with;
    /// what its stages had handed to each other went when it failed.
    pub async fn redrive(&self, letter: &DeadLetter) -> Result<Redriven, BusError> {
        let run = &letter.task.run;
        let refused = |why: &str| Ok(Redriven::Refused(why.to_owned()));
        let Some(job) = self.job(&run.job).await? else {
            return refused("the job was removed: drop the letter");
        };
        if job.run != run.number || job.state != JobState::Failed {
            return refused("the job has been run again since: drop the letter");
        }
        if !self.has_input(&job).await? {
            return refused("the job's input is gone: send the song again");
        }
        let graph = self.graph(&job.workflow).await?;
        let changed = self
            .change_job(&run.job, |job| {
                let is_meant = job.run == run.number && job.state == JobState::Failed;
                if is_meant {
                    *job = next_run(job);
                }
                is_meant
            })
            .await?;
        let Some((job, true)) = changed else {
            return refused("the job was run again just now: drop the letter");
        };
        let begun = self.begin(job, &graph).await?.job().clone();
        self.forget_letters(&names::dead_of_run(run)).await?;
        Ok(Redriven::Begun(Box::new(begun)))
    }

    async fn has_input(&self, job: &Job) -> Result<bool, BusError> {
        use crate::object::ObjectError::{Bus, Damaged, Missing};
        let input = &job.input.object;
        match self.find(input.bucket, &input.name).await {
            Ok(found) => Ok(found.nuid == input.nuid),
            Err(Missing { .. } | Damaged { .. }) => Ok(false),
            Err(Bus(error)) => Err(error),
        }
    }

    async fn forget_letters(&self, subject: &str) -> Result<(), BusError> {
        purge(&self.dead().await?, subject).await
    }

    /// The next message of the dead on `subject`, a wildcard maybe, past that sequence.
    pub(crate) async fn next_of_the_dead(
        &self,
        subject: &str,
        after: u64,
    ) -> Result<Option<StreamMessage>, BusError> {
        let dead = self.dead().await?;
        next_message(&dead, subject, after).await
    }

    pub(crate) async fn dead(&self) -> Result<Stream<()>, BusError> {
        self.js.get_stream_no_info(names::DEAD_STREAM).await.during("open the stream of the dead")
    }
}

/// Dead letters of one run, one stage or one task.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    /// Of this job alone.
    pub job: Option<crate::JobId>,
    /// Of this stage alone.
    pub stage: Option<String>,
    /// Of this key alone.
    pub key: Option<String>,
}

impl LetterFilter {
    /// True for a letter that is meant.
    pub fn takes(&self, letter: &DeadLetter) -> bool {
        let RunId { job, .. } = &letter.task.run;
        self.job.as_ref().is_none_or(|wanted| wanted == job)
            && self.stage.as_ref().is_none_or(|wanted| *wanted == letter.task.stage)
            && self.key.as_ref().is_none_or(|wanted| *wanted == letter.task.key)
    }
}
