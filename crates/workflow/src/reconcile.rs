//! The reconciler: sees through what a crash left half done. Every gateway replica runs one; they
//! need not agree, since everything they do can be done twice.

use std::time::Duration;

use async_nats::jetstream::stream::RawMessageErrorKind;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::advance::lane_of_released;
use crate::backlog::Backlog;
use crate::bus::{Bus, BusError, During, from_json};
use crate::dead::DeadLetter;
use crate::graph::Graph;
use crate::job::{Job, Lane, TaskMessage};
use crate::jobs::Standing;
use crate::names;
use crate::write::last_message;

/// How often a reconciler makes its rounds, and whom it visits.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// From the end of one round to the next.
    pub every: Duration,
    /// A job that has not moved for this long is looked at.
    pub still: Duration,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { every: Duration::from_secs(30), still: Duration::from_secs(60) }
    }
}

/// Looks after all jobs until `shutdown`.
pub async fn reconcile(bus: Bus, rounds: Rounds, shutdown: CancellationToken) {
    let mut tick = interval(rounds.every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let Err(error) = round(&bus, rounds.still).await {
            tracing::warn!(%error, "could not look after all jobs");
        }
    }
}

async fn round(bus: &Bus, still: Duration) -> Result<(), BusError> {
    bus.heed_advisories().await?;
    let now = Timestamp::now();
    for job in bus.all_jobs().await? {
        if now.duration_since(job.updated).unsigned_abs() < still {
            continue;
        }
        // One job that cannot be looked after must not stand before all others.
        if let Err(error) = bus.look_after(&job).await {
            tracing::warn!(job = %job.hash, %error, "could not look after a job");
        }
    }
    Ok(())
}

/// What the server tells when it will not deliver a message again.
#[derive(Deserialize)]
struct Advisory {
    stream_seq: u64,
}

impl Bus {
    /// Does what is due for a job, whoever should have done it: frees it if it has ended, releases
    /// what can be released if it has not, and fails it if nothing can come of it any more.
    pub async fn look_after(&self, job: &Job) -> Result<(), BusError> {
        if job.state.is_final() {
            return self.free(job).await;
        }
        let graph = self.graph(&job.workflow).await?;
        match self.advance(&job.run_id(), &graph).await? {
            Some(now) if now.run != job.run => Ok(()),
            Some(now) if now.state.is_final() => self.free(&now).await,
            // What was released only now may not have come round yet.
            Some(now) if now.updated == job.updated => self.see_to_tasks(&now, &graph).await,
            _ => Ok(()),
        }
    }

    /// Looks at the tasks of a job that does not move.
    async fn see_to_tasks(&self, job: &Job, graph: &Graph) -> Result<(), BusError> {
        let run = job.run_id();
        for stage in graph.stages() {
            let Some(times) = job.stages.get(&stage.name) else { continue };
            // First the backlog, then the facts: a task that ends in between is found recorded.
            let lane = lane_of_released(job, graph, stage);
            let backlog = self.backlog_of(&stage.name, lane).await?;
            if times.finished.is_some() || !backlog.is_empty() {
                continue;
            }
            let Ok(keys) = self.keys(&run, graph, stage).await? else { continue };
            let mut recorded = self.recorded_of_run(&run).await?;
            let recorded = recorded.remove(&stage.name).unwrap_or_default();
            for key in keys.into_iter().filter(|key| !recorded.contains(key)) {
                let (run, stage) = (run.clone(), stage.name.clone());
                let task = TaskMessage { run, stage, key, of: times.tasks };
                if self.is_given_up(&task, lane, &backlog).await? {
                    return self.give_up(&task).await;
                }
            }
        }
        Ok(())
    }

    /// True for a task without a fact, of a stage with nothing waiting and nothing in hand, that
    /// the server has delivered as often as it will: its advisory was lost. A task past the last
    /// one that was delivered has only not been come to: another reconciler has released it since
    /// the look at the backlog, or the consumer's server was away and lags behind. A task that is
    /// not there at all is released again.
    async fn is_given_up(
        &self,
        task: &TaskMessage,
        lane: Lane,
        backlog: &Backlog,
    ) -> Result<bool, BusError> {
        let subject = names::task(&task.stage, lane, &task.run, &task.key);
        let Some(message) = last_message(&self.control, &subject).await? else {
            self.publish_once(subject, task).await?;
            return Ok(false);
        };
        Ok(message.sequence <= backlog.delivered)
    }

    /// Fails the jobs whose tasks the server tells that it has given up on. What is heeded is
    /// deleted: what remains of it is the dead letter.
    pub(crate) async fn heed_advisories(&self) -> Result<(), BusError> {
        let mut after = 0;
        while let Some(message) = self.next_of_the_dead(names::ADVISORIES, after).await? {
            after = message.sequence;
            if let Ok(Advisory { stream_seq }) = from_json("an advisory", &message.payload) {
                self.heed(stream_seq).await?;
            }
            let deleted = self.dead().await?.delete_message(after).await;
            if let Err(error) = deleted {
                // Another replica may have been quicker.
                tracing::debug!(%error, "an advisory was not deleted");
            }
        }
        Ok(())
    }

    async fn heed(&self, sequence: u64) -> Result<(), BusError> {
        let message = match self.control.get_raw_message(sequence).await {
            Ok(message) => message,
            // The run has been freed since.
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(()),
            Err(error) => return Err(error).during(format!("read the message {sequence}")),
        };
        let Some((run, stage, key)) = names::run_stage_and_key(&message.subject) else {
            return Ok(());
        };
        let Standing::Live(job) = self.standing(&run).await? else { return Ok(()) };
        if self.fact(&run, stage, key).await?.is_some() {
            return Ok(());
        }
        // By its subject: the message itself may be what no worker could read.
        let of = job.stages.get(stage).map_or(1, |times| times.tasks);
        let task = TaskMessage { run, stage: stage.to_owned(), key: key.to_owned(), of };
        self.give_up(&task).await
    }

    async fn give_up(&self, task: &TaskMessage) -> Result<(), BusError> {
        match self.bury(&DeadLetter::undelivered(task)).await? {
            Some(job) if job.run == task.run.number && job.state.is_final() => {
                self.free(&job).await
            }
            _ => Ok(()),
        }
    }
}
