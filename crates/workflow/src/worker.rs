//! A worker: takes tasks of one stage, and hands over what becomes of them.
//!
//! The order of the hand-over, which everything else relies on, stands here and nowhere else:
//!
//! 1. the objects are stored (by the stage, through [`Task`]),
//! 2. the fact is written; the first writer wins,
//! 3. the facts of the stage are counted on the stream's leader,
//! 4. if it was the last, the next stages are released, or the job is done,
//! 5. the task is acknowledged, and the acknowledgement confirmed.
//!
//! A crash before 5 means that the task is delivered again, and each step before it can be
//! repeated. This is the only file that acknowledges; `attempt.rs` renews the lease meanwhile.

mod attempt;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::{AckKind, Message};
use futures::StreamExt;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::attempt::Attempt;
use crate::bus::{Bus, BusError, During, Once, from_json};
use crate::config::Config;
use crate::event::TaskProgress;
use crate::graph::Graph;
use crate::job::{Job, JobError, RunId, TaskMessage};
use crate::names;
use crate::stage::{Failure, Stage, lock};

/// How long one request for a task waits at the server, and so how long a worker may wait in vain
/// after the server has lost it. Not with the library's heartbeats: its batch (0.51) goes to sleep
/// on the first of them and leaves a task that comes later lying until the request expires.
const PULL_EXPIRES: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);
const CONNECT_RETRY: Duration = Duration::from_secs(1);

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
    let Some((bus, consumer)) = open(stage.name(), config, &shutdown).await else { return Ok(()) };
    let slots = config.concurrency.unwrap_or(stage.concurrency());
    tracing::info!(stage = stage.name(), slots, "ready");
    let worker = Arc::new(Worker {
        bus,
        consumer,
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
    let _ = worker.bus.client.flush().await;
    Ok(())
}

type PullConsumer = Consumer<pull::Config>;

/// Connects, and waits for the consumer, which `stemflow init` or the gateway makes.
async fn open(
    stage: &str,
    config: &Config,
    shutdown: &CancellationToken,
) -> Option<(Bus, PullConsumer)> {
    let mut told = false;
    loop {
        let opened = tokio::select! {
            () = shutdown.cancelled() => return None,
            opened = try_open(stage, config) => opened,
        };
        match opened {
            Ok(opened) => return Some(opened),
            Err(error) if !told => {
                tracing::warn!(stage, %error, "not set up yet, waiting: `stemflow init` or the gateway makes it");
                told = true;
            }
            Err(error) => tracing::debug!(stage, %error, "still waiting"),
        }
        sleep(CONNECT_RETRY).await;
    }
}

async fn try_open(stage: &str, config: &Config) -> Result<(Bus, PullConsumer), BusError> {
    let bus = Bus::open(config).await?;
    let consumer = bus.js.get_consumer_from_stream(stage, names::STREAM).await;
    Ok((bus, consumer.during(format!("open the consumer `{stage}`"))?))
}

struct Worker<S> {
    bus: Bus,
    consumer: PullConsumer,
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
                pulled = self.pull() => pulled,
            };
            match pulled {
                Ok(Some(message)) => self.handle(&message).await?,
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "no task could be asked for");
                    sleep(CONNECT_RETRY).await;
                }
            }
        }
    }

    async fn pull(&self) -> Result<Option<Message>, BusError> {
        let what = || format!("ask for a task of `{}`", self.stage.name());
        let request = self.consumer.batch().max_messages(1).expires(PULL_EXPIRES);
        let mut messages = request.messages().await.during(what())?;
        messages.next().await.transpose().during(what())
    }

    /// Does one task, whatever comes of it. An error means that the process must end.
    async fn handle(&self, message: &Message) -> Result<(), BusError> {
        let task: TaskMessage = match from_json("a task", &message.payload) {
            Ok(task) => task,
            Err(error) => {
                tracing::error!(subject = %message.subject, %error, "a task that cannot be read");
                self.confirm(message, AckKind::Term).await;
                return Ok(());
            }
        };
        let attempt = message.info().map_or(1, |info| u32::try_from(info.delivered).unwrap_or(1));
        match self.attempt_and_hand_over(message, &task, attempt).await {
            Ok(()) => Ok(()),
            Err(Trouble::Bus(error)) => {
                tracing::warn!(run = %task.run, key = task.key, %error, "hand-over failed, will retry");
                self.release_later(message, attempt).await;
                Ok(())
            }
            Err(Trouble::Stuck(error)) => Err(error),
        }
    }

    async fn attempt_and_hand_over(
        &self,
        message: &Message,
        task: &TaskMessage,
        attempt: u32,
    ) -> Result<(), Trouble> {
        let run = &task.run;
        let Some(job) = self.live_job(run).await? else {
            self.confirm(message, AckKind::Ack).await;
            return Ok(());
        };
        let graph = self.graph(&job.workflow).await?;
        let Some(spec) = graph.stage(&task.stage) else {
            let reason = "the job's workflow has no such stage";
            return Ok(self.bury(message, task, "no-stage", reason).await?);
        };
        // An attempt before this one may have died between its fact and its acknowledgement.
        let known = attempt > 1 && self.bus.fact(run, &task.stage, &task.key).await?.is_some();
        if known {
            return Ok(self.finish(message, task, &graph, true).await?);
        }
        if attempt > spec.attempts {
            let reason =
                format!("gave up after {} attempts: the worker was lost each time", spec.attempts);
            return Ok(self.bury(message, task, "lost-worker", &reason).await?);
        }
        match self.attempt(message, task, job, spec, attempt).await? {
            Attempt::Done(fact) => {
                if self.bus.record(run, &fact).await? == Once::Existed {
                    self.discard(fact.objects.into_values()).await;
                }
                Ok(self.finish(message, task, &graph, attempt > 1).await?)
            }
            Attempt::Failed(Failure::Permanent { code, message: reason }) => {
                Ok(self.bury(message, task, &code, &reason).await?)
            }
            Attempt::Failed(Failure::Transient(reason)) if attempt == spec.attempts => {
                let reason = format!("gave up after {attempt} attempts: {reason}");
                Ok(self.bury(message, task, "gave-up", &reason).await?)
            }
            Attempt::Failed(Failure::Transient(reason)) => {
                tracing::warn!(%run, stage = task.stage, key = task.key, attempt, reason, "task failed, will retry");
                self.release_later(message, attempt).await;
                Ok(())
            }
            Attempt::Moot => {
                self.confirm(message, AckKind::Ack).await;
                Ok(())
            }
            Attempt::Interrupted => {
                self.confirm(message, AckKind::Nak(None)).await;
                Ok(())
            }
        }
    }

    /// The job of a run that is still to be worked on.
    async fn live_job(&self, run: &RunId) -> Result<Option<Job>, BusError> {
        let job = self.bus.job(&run.job).await?;
        Ok(job.filter(|job| job.run == run.number && !job.state.is_final()))
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

    /// Steps 3 to 5 of the hand-over.
    async fn finish(
        &self,
        message: &Message,
        task: &TaskMessage,
        graph: &Graph,
        again: bool,
    ) -> Result<(), BusError> {
        let TaskMessage { run, stage, key, of } = task;
        let progress =
            TaskProgress { run: run.clone(), stage: stage.clone(), key: key.clone(), done: 1.0 };
        self.bus.tell_progress(&progress).await;
        let last = *of == 1 || self.bus.recorded_of(run, stage).await? >= *of;
        let job = if last { self.bus.advance(run, graph).await? } else { None };
        self.confirm(message, AckKind::Ack).await;
        if let Some(job) = job.filter(|job| job.state.is_final()) {
            self.free(&job).await;
        }
        tracing::debug!(%run, stage, key, again, "task done");
        Ok(())
    }

    /// The end of a task that will not be tried again: its job fails, and the task is laid where
    /// it can be looked at.
    async fn bury(
        &self,
        message: &Message,
        task: &TaskMessage,
        code: &str,
        reason: &str,
    ) -> Result<(), BusError> {
        tracing::error!(run = %task.run, stage = task.stage, key = task.key, code, reason, "task is dead");
        self.bus.bury(task, code, reason).await?;
        let error = JobError {
            code: code.to_owned(),
            message: reason.to_owned(),
            stage: task.stage.clone(),
        };
        let job = self.bus.fail(&task.run, error).await?;
        self.confirm(message, AckKind::Term).await;
        if let Some(job) = job.filter(|job| job.run == task.run.number) {
            self.free(&job).await;
        }
        Ok(())
    }

    /// What this does not manage, the reconciler does.
    async fn free(&self, job: &Job) {
        if let Err(error) = self.bus.free(job).await {
            tracing::warn!(run = %job.run_id(), %error, "not all of an ended run was freed");
        }
    }

    async fn discard(&self, objects: impl IntoIterator<Item = crate::ObjectRef>) {
        for object in objects {
            if let Err(error) = self.bus.delete(&object).await {
                tracing::warn!(name = object.name, %error, "an object of no use was not deleted");
            }
        }
    }

    /// Gives the task back, to be delivered again after a while that doubles each time.
    async fn release_later(&self, message: &Message, attempt: u32) {
        let delay = FIRST_RETRY * 2_u32.saturating_pow(attempt.saturating_sub(1));
        let delay = delay.min(LAST_RETRY);
        if let Err(error) = message.ack_with(AckKind::Nak(Some(delay))).await {
            tracing::debug!(%error, "a task was not given back, its lease will run out");
        }
    }

    /// Acknowledges and waits until the server has taken note. If it has not, the task comes again
    /// and is found done. (The library's `double_ack` takes "no responders" for a yes.)
    async fn confirm(&self, message: &Message, kind: AckKind) {
        let Some(reply) = message.reply.clone() else { return };
        if let Err(error) = self.bus.client.request(reply, kind.into()).await {
            tracing::debug!(%error, "an acknowledgement was not confirmed");
        }
    }
}

/// Why a hand-over did not go through.
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
