//! A worker: takes tasks of one stage, and hands over what becomes of them.
//!
//! The order of the hand-over, which everything else relies on, stands here and nowhere else:
//!
//! 1. the objects are stored (by the stage, through [`Task`](crate::Task)),
//! 2. the fact is written; the first writer wins, and who comes after the run's end loses,
//! 3. the facts of the stage are counted on the stream's leader,
//! 4. if it was the last, the next stages are released, or the job is done,
//! 5. the task is acknowledged, and the acknowledgement confirmed.
//!
//! A crash before 5 means that the task is delivered again, and each step before it can be
//! repeated. This is the only file that acknowledges; `attempt.rs` renews the lease meanwhile.

mod attempt;
mod pull;
mod tell;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use bytes::Bytes;
use jiff::Timestamp;
use telemetry::Readiness;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::attempt::Attempt;
use self::pull::{Pull, open};
use crate::bus::{Bus, BusError, During, from_json};
use crate::config::Config;
use crate::dead::DeadLetter;
use crate::event::TaskProgress;
use crate::graph::{Graph, StageSpec};
use crate::job::{Fact, Job, JobState, TaskMessage};
use crate::jobs::Standing;
use crate::layout::HEARTBEAT;
use crate::metrics::{self, Outcome};
use crate::object::ObjectRef;
use crate::stage::{Failure, Stage, lock};
use crate::write::{Fence, Once, patiently};

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Room comes when other jobs end, or when someone makes some.
const FIRST_RETRY_FOR_ROOM: Duration = Duration::from_secs(30);
const LAST_RETRY: Duration = Duration::from_secs(300);
const CONNECT_RETRY: Duration = Duration::from_secs(1);
/// How long a worker goes on to hand over what it has done, while NATS does not take it.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(5 * 60);
/// A job is written down before its first task is. If there is no record of it, either it was
/// removed, or whoever answers has lost its office and not noticed: that takes 20 s at most.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// Works on tasks of `stage` until `shutdown`; then finishes what is in hand, for as long as
/// `config.grace` allows, and returns.
///
/// # Errors
/// If a task could not be stopped: the process must end, so that its thread does.
pub async fn work(
    stage: impl Stage,
    config: &Config,
    shutdown: CancellationToken,
) -> Result<(), BusError> {
    work_ready(stage, config, shutdown, &Readiness::default()).await
}

/// The same, and `readiness` tells from when on it takes tasks.
pub(crate) async fn work_ready(
    stage: impl Stage,
    config: &Config,
    shutdown: CancellationToken,
    readiness: &Readiness,
) -> Result<(), BusError> {
    readiness.waits("waiting for NATS, and for the consumer that `stemflow init` makes there");
    let Some(bus) = open(stage.name(), config, &shutdown).await else { return Ok(()) };
    let slots = config.concurrency.unwrap_or(stage.concurrency());
    metrics::begin(stage.name(), slots, stage.unit());
    let connection = bus.clone();
    readiness.ready_while(move || {
        let lost = "the connection to NATS is lost, connecting again";
        if connection.is_connected() { Ok(()) } else { Err(lost) }
    });
    tracing::info!(stage = stage.name(), slots, "ready");
    let worker = Arc::new(Worker {
        pull: Pull::new(bus.clone(), stage.name(), config.batch_share),
        bus,
        stage: Arc::new(stage),
        graphs: Mutex::default(),
        grace: config.grace,
        shutdown,
    });
    let mut running = JoinSet::new();
    for _ in 0..slots {
        running.spawn(Arc::clone(&worker).slot());
    }
    while let Some(ended) = running.join_next().await {
        ended.during("run a worker")??;
    }
    worker.bus.flush().await;
    Ok(())
}

struct Worker<S> {
    bus: Bus,
    pull: Pull,
    stage: Arc<S>,
    graphs: Mutex<Vec<Arc<Graph>>>,
    grace: Duration,
    shutdown: CancellationToken,
}

impl<S: Stage> Worker<S> {
    /// Takes one task after the other. It asks for the next only when it is free, so that no task
    /// waits here while another worker is idle.
    async fn slot(self: Arc<Self>) -> Result<(), BusError> {
        loop {
            let pulled = tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                pulled = self.pull.task() => pulled,
            };
            match pulled {
                Ok(Some(message)) => self.handle(message).await?,
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "no task could be asked for");
                    sleep(CONNECT_RETRY).await;
                }
            }
        }
    }

    /// Does one task, whatever comes of it. An error means that the process must end.
    async fn handle(&self, message: Message) -> Result<(), BusError> {
        let task: TaskMessage = match from_json("a task", &message.payload) {
            Ok(task) => task,
            Err(error) => {
                // The server tells of it, and the reconciler fails the job.
                tracing::error!(subject = %message.subject, %error, "a task that cannot be read");
                metrics::handled(self.stage.name(), Outcome::Failed);
                self.confirm(&message, AckKind::Term).await;
                return Ok(());
            }
        };
        let delivery = Delivery::of(message, task);
        let told = delivery.told(self.stage.name());
        let ended = told.over(self.bring_to_end(&delivery)).await;
        told.end(*ended.as_ref().unwrap_or(&Outcome::Interrupted));
        ended.map(drop)
    }

    async fn bring_to_end(&self, delivery: &Delivery) -> Result<Outcome, BusError> {
        match self.work_on(delivery).await {
            Ok(outcome) => Ok(outcome),
            Err(Trouble::Bus(error)) => {
                let TaskMessage { run, stage, key, .. } = &delivery.task;
                tracing::warn!(%run, stage, key, %error, "NATS did not do its part, will retry");
                tell::failed(&Failure::Transient(error.to_string()));
                self.excuse(delivery).await;
                self.release_later(delivery, 1).await;
                Ok(Outcome::Retry)
            }
            Err(Trouble::Stuck(error)) => Err(error),
        }
    }

    async fn work_on(&self, delivery: &Delivery) -> Result<Outcome, Trouble> {
        let task = &delivery.task;
        let job = match self.bus.standing(&task.run).await? {
            Standing::Live(job) => *job,
            Standing::Unheard if delivery.age < HEARD_WITHIN => {
                tracing::debug!(run = %task.run, "a task of a run that nobody knows of, yet");
                self.release_later(delivery, delivery.number).await;
                return Ok(Outcome::Retry);
            }
            Standing::Over | Standing::Unheard => return Ok(self.leave(delivery).await?),
        };
        let graph = self.graph(&job.workflow).await?;
        let Some(spec) = graph.stage(&task.stage) else {
            let letter = DeadLetter::new(task, "no-stage", "the job's workflow has no such stage");
            return Ok(self.bury(delivery, &letter).await?);
        };
        // An attempt before this one may have died between its fact and its acknowledgement.
        let known = delivery.number > 1
            && self.bus.fact(&task.run, &task.stage, &task.key).await?.is_some();
        if known {
            return Ok(self.finish(delivery, &graph, None).await?);
        }
        let attempt = job.attempt(task, delivery.number);
        if attempt > spec.attempts {
            let letter = DeadLetter::lost_worker(task, spec.attempts);
            return Ok(self.bury(delivery, &letter).await?);
        }
        let outcome = self.attempt(delivery, job, spec, attempt).await?;
        if let Attempt::Failed(failure) = &outcome {
            tell::failed(failure);
        }
        let until = Instant::now() + HAND_OVER_LIMIT;
        let mut pause = FIRST_RETRY;
        // What has been done is not done again because a server was away for a while.
        loop {
            let error = match self.hand_over(delivery, &graph, spec, attempt, &outcome).await {
                Ok(ended) => {
                    if let (Outcome::Ok, Attempt::Done(fact)) = (ended, &outcome) {
                        metrics::worked(self.stage.name(), self.stage.unit(), fact.amount);
                    }
                    return Ok(ended);
                }
                Err(error) => error,
            };
            if self.shutdown.is_cancelled() || Instant::now() > until {
                return Err(error.into());
            }
            tracing::warn!(run = %task.run, stage = task.stage, key = task.key, %error, "hand-over failed, trying on");
            delivery.renew_lease().await;
            sleep(pause).await;
            pause = (2 * pause).min(HEARTBEAT);
        }
    }

    async fn hand_over(
        &self,
        delivery: &Delivery,
        graph: &Graph,
        spec: &StageSpec,
        attempt: u32,
        outcome: &Attempt,
    ) -> Result<Outcome, BusError> {
        let Delivery { message, task, .. } = delivery;
        match outcome {
            Attempt::Done(fact) => match self.bus.record(&task.run, fact, &delivery.fence()).await?
            {
                Once::Stored => self.finish(delivery, graph, Some(fact)).await,
                Once::Existed => {
                    self.discard_loser(task, fact).await?;
                    self.finish(delivery, graph, None).await.map(|_| Outcome::Moot)
                }
                Once::Late => {
                    self.discard_late(task, fact).await?;
                    self.leave(delivery).await
                }
            },
            Attempt::Failed(Failure::Permanent { code, message: reason }) => {
                self.bury(delivery, &DeadLetter::new(task, code, reason).after(attempt)).await
            }
            Attempt::Failed(Failure::Transient(reason)) | Attempt::NoRoom(reason)
                if attempt >= spec.attempts =>
            {
                self.bury(delivery, &DeadLetter::gave_up(task, attempt, reason)).await
            }
            Attempt::Failed(Failure::Transient(reason)) => {
                let TaskMessage { run, stage, key, .. } = task;
                tracing::warn!(%run, stage, key, attempt, reason, "task failed, will retry");
                self.release_later(delivery, attempt).await;
                Ok(Outcome::Retry)
            }
            Attempt::NoRoom(reason) => {
                let TaskMessage { run, stage, key, .. } = task;
                tracing::warn!(%run, stage, key, attempt, reason, "no room, will retry");
                self.release_after(delivery, FIRST_RETRY_FOR_ROOM, attempt).await;
                Ok(Outcome::Retry)
            }
            Attempt::Moot => self.leave(delivery).await,
            Attempt::Interrupted => {
                self.excuse(delivery).await;
                self.confirm(message, AckKind::Nak(None)).await;
                Ok(Outcome::Interrupted)
            }
        }
    }

    async fn graph(&self, digest: &str) -> Result<Arc<Graph>, BusError> {
        let find = |graphs: &[Arc<Graph>]| {
            graphs.iter().find(|graph| graph.digest() == digest).map(Arc::clone)
        };
        if let Some(graph) = find(&lock(&self.graphs)) {
            return Ok(graph);
        }
        let graph = Arc::new(self.bus.graph(digest).await?);
        lock(&self.graphs).push(Arc::clone(&graph));
        Ok(graph)
    }

    /// Steps 3 to 5 of the hand-over; `fact` if it is known that it was the first.
    async fn finish(
        &self,
        delivery: &Delivery,
        graph: &Graph,
        fact: Option<&Fact>,
    ) -> Result<Outcome, BusError> {
        let TaskMessage { run, stage, key, of } = &delivery.task;
        let progress =
            TaskProgress { run: run.clone(), stage: stage.clone(), key: key.clone(), done: 1.0 };
        self.bus.tell_progress(&progress).await;
        let last = *of == 1 || self.bus.recorded_of(run, stage).await? >= *of;
        let job =
            if last { self.bus.advance_by(run, graph, Some(stage), fact).await? } else { None };
        self.confirm(&delivery.message, AckKind::Ack).await;
        if let Some(job) = job.filter(|job| job.run == run.number && job.state.is_final()) {
            self.free(&job).await;
        }
        tracing::debug!(%run, stage, key, delivery = delivery.number, "task done");
        Ok(Outcome::Ok)
    }

    /// The end of a task that will not be tried again: its job fails, and the task is laid where
    /// it can be looked at.
    async fn bury(&self, delivery: &Delivery, letter: &DeadLetter) -> Result<Outcome, BusError> {
        let job = self.bus.bury(letter).await?;
        self.confirm(&delivery.message, AckKind::Term).await;
        if let Some(job) = job.filter(|job| job.run == delivery.task.run.number) {
            self.free(&job).await;
        }
        Ok(if letter.redrivable { Outcome::Dead } else { Outcome::Failed })
    }

    /// The end of a task whose run has ended. It may have been released after the others of the run
    /// had been deleted.
    async fn leave(&self, delivery: &Delivery) -> Result<Outcome, BusError> {
        self.confirm(&delivery.message, AckKind::Ack).await;
        self.bus.purge(delivery.message.subject.as_str()).await?;
        // Whoever had it before may have ended the run, and died before it was freed.
        let run = &delivery.task.run;
        let job = if delivery.number > 1 { self.bus.job(&run.job).await? } else { None };
        if let Some(job) = job.filter(|job| job.run == run.number && job.state.is_final()) {
            self.free(&job).await;
        }
        Ok(Outcome::Moot)
    }

    /// What this does not manage, the reconciler does. A done job that was removed is left to whoever
    /// does that: only the last stages may look names up.
    async fn free(&self, job: &Job) {
        if job.state != JobState::Done && !job.names.is_empty() {
            return;
        }
        if let Err(error) = self.bus.free(job).await {
            tracing::warn!(run = %job.run_id(), %error, "not all of an ended run was freed");
        }
    }

    /// Deletes what another attempt was quicker to store. The fact may be ours all the same: of an
    /// earlier try, the answer to which was lost.
    async fn discard_loser(&self, task: &TaskMessage, fact: &Fact) -> Result<(), BusError> {
        let winner = self.bus.fact(&task.run, &task.stage, &task.key).await?;
        let kept = winner.map(|fact| fact.objects).unwrap_or_default();
        for object in fact.objects.values() {
            if !kept.values().any(|other| other == object) {
                self.discard(object).await;
            }
        }
        Ok(())
    }

    /// Deletes what comes after the end of its run. The run may have ended with it all the same: the
    /// fact was stored by an earlier try, and another worker went on from there.
    async fn discard_late(&self, task: &TaskMessage, fact: &Fact) -> Result<(), BusError> {
        let job = self.bus.job(&task.run.job).await?;
        let job = job.filter(|job| job.run == task.run.number);
        let kept = job.map(|job| job.names).unwrap_or_default();
        for object in fact.objects.values() {
            if !kept.values().any(|other| other.nuid == object.nuid) {
                self.discard(object).await;
            }
        }
        Ok(())
    }

    /// What this does not manage goes with the run.
    async fn discard(&self, object: &ObjectRef) {
        if let Err(error) = self.bus.delete(object).await {
            tracing::warn!(name = object.name, %error, "an object of no use was not deleted");
        }
    }

    /// A delivery that was no attempt is not to count as one. If this cannot be noted, it counts.
    async fn excuse(&self, delivery: &Delivery) {
        if let Err(error) = self.bus.excuse(&delivery.task).await {
            tracing::debug!(%error, "a delivery that was no attempt counts as one");
        }
    }

    /// Gives the task back, to be delivered again after a while that doubles each time.
    async fn release_later(&self, delivery: &Delivery, attempt: u32) {
        self.release_after(delivery, FIRST_RETRY, attempt).await;
    }

    async fn release_after(&self, delivery: &Delivery, first: Duration, attempt: u32) {
        let delay = first * 2_u32.saturating_pow(attempt.saturating_sub(1));
        let delay = delay.min(LAST_RETRY);
        if let Err(error) = delivery.message.ack_with(AckKind::Nak(Some(delay))).await {
            tracing::debug!(%error, "a task was not given back, its lease will run out");
        }
    }

    /// Acknowledges and waits until the server has taken note. If it has not, the task comes again
    /// and is found done. (The library's `double_ack` takes "no responders" for a yes.)
    async fn confirm(&self, message: &Message, kind: AckKind) {
        let Some(reply) = message.reply.clone() else { return };
        let payload: Bytes = kind.into();
        let confirm = || self.bus.client.request(reply.clone(), payload.clone());
        if let Err(error) = patiently(|| "confirm an acknowledgement".to_owned(), confirm).await {
            tracing::debug!(%error, "a task will come again");
        }
    }
}

/// Gives back at once a task that came after its worker had found another.
async fn decline(bus: &Bus, message: Message) {
    if let Ok(task) = from_json("a task", &message.payload)
        && let Err(error) = bus.excuse(&task).await
    {
        tracing::debug!(%error, "a delivery that was no attempt counts as one");
    }
    if let Err(error) = message.ack_with(AckKind::Nak(None)).await {
        tracing::debug!(%error, "a task was not given back, its lease will run out");
    }
}

/// A task, as it was handed to this worker.
struct Delivery {
    message: Message,
    task: TaskMessage,
    /// 1 for the first time that anyone has it.
    number: u32,
    sequence: u64,
    age: Duration,
}

impl Delivery {
    fn of(message: Message, task: TaskMessage) -> Self {
        let (number, sequence, age) = message.info().map_or((1, 0, Duration::ZERO), |info| {
            (info.delivered, info.stream_sequence, age(info.published.unix_timestamp_nanos()))
        });
        Self { message, task, number: u32::try_from(number).unwrap_or(1), sequence, age }
    }

    /// Stands for as long as the task has not been deleted with its run.
    fn fence(&self) -> Fence {
        Fence { subject: self.message.subject.to_string(), sequence: self.sequence }
    }

    async fn renew_lease(&self) {
        if let Err(error) = self.message.ack_with(AckKind::Progress).await {
            tracing::debug!(%error, "a lease was not renewed");
        }
    }
}

/// How long ago that was, in nanoseconds since 1970. Clocks differ: never less than nothing.
fn age(published: i128) -> Duration {
    let age = Timestamp::now().as_nanosecond() - published;
    u64::try_from(age).map_or(Duration::ZERO, Duration::from_nanos)
}

/// Why a task was not brought to an end.
enum Trouble {
    /// It can be repeated.
    Bus(BusError),
    /// The stage's thread cannot be ended.
    Stuck(BusError),
}

impl From<BusError> for Trouble {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}
