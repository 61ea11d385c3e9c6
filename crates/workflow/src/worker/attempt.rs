//! One attempt at a task: the stage at work on a thread of its own, and what is kept meanwhile: the
//! lease, an ear for the end of the job, the clock.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{
    Instant, MissedTickBehavior, interval, interval_at, sleep, sleep_until, timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Delivery, Trouble, Worker};
use crate::bus::BusError;
use crate::event::{self, TaskProgress};
use crate::graph::StageSpec;
use crate::job::{Fact, Job, RunId, TaskMessage};
use crate::jobs::Standing;
use crate::layout::HEARTBEAT;
use crate::metrics;
use crate::names;
use crate::stage::{Failure, Output, Stage, Task, lock};

/// How often progress is told while a task runs.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// How long a stage may take to notice that it should stop. After that the process has to go, for
/// nothing else ends a thread.
const STOP_GRACE: Duration = Duration::from_secs(60);

/// What became of one attempt.
pub(super) enum Attempt {
    Done(Box<Fact>),
    Failed(Failure),
    /// There was no room for what it wanted to store.
    NoRoom(String),
    /// Its job has ended without it.
    Moot,
    /// The process has to end first.
    Interrupted,
}

impl<S: Stage> Worker<S> {
    /// Lets the stage do the task, and keeps the lease, the listeners and the clock in the meantime.
    pub(super) async fn attempt(
        &self,
        delivery: &Delivery,
        job: Job,
        spec: &StageSpec,
        attempt: u32,
    ) -> Result<Attempt, Trouble> {
        let task = &delivery.task;
        let _working = metrics::at_work(self.stage.name());
        let stop = CancellationToken::new();
        let (progress, told) = watch::channel(0.0);
        let context = Task {
            bus: self.bus.clone(),
            message: task.clone(),
            job,
            attempt,
            started: Timestamp::now(),
            stop: stop.clone(),
            progress: Arc::new(progress),
            objects: Arc::default(),
            names: Mutex::default(),
            no_room: Arc::default(),
            runtime: Handle::current(),
            trace: opentelemetry::Context::current(),
        };
        let objects = Arc::clone(&context.objects);
        let no_room = Arc::clone(&context.no_room);
        let stage = Arc::clone(&self.stage);
        let log = tracing::Span::current();
        let mut running = tokio::task::spawn_blocking(move || {
            let output = log.in_scope(|| stage.run(&context))?;
            output.check()?;
            Ok((context, output))
        });
        let ended = tokio::select! {
            result = &mut running => Ok(result),
            reason = self.watch_over(delivery, spec, told) => Err(reason),
        };
        let (result, reason) = match ended {
            Ok(result) => (result, None),
            Err(reason) => {
                stop.cancel();
                let Ok(result) = timeout(STOP_GRACE, running).await else {
                    let error = format!("{}: `{}` does not stop", task.run, task.stage);
                    return Err(Trouble::Stuck(BusError::new("stop a task", error)));
                };
                (result, Some(reason))
            }
        };
        let outcome = match outcome(result, reason) {
            Attempt::Failed(Failure::Transient(reason)) if no_room.load(Ordering::Relaxed) => {
                Attempt::NoRoom(reason)
            }
            outcome => outcome,
        };
        if !matches!(outcome, Attempt::Done(_)) {
            let left: Vec<_> = std::mem::take(&mut *lock(&objects)).into_values().collect();
            for object in &left {
                self.discard(object).await;
            }
        }
        Ok(outcome)
    }

    /// Renews the lease and tells progress, until there is a reason to stop the task.
    async fn watch_over(
        &self,
        delivery: &Delivery,
        spec: &StageSpec,
        mut told: watch::Receiver<f64>,
    ) -> Reason {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        let mut report = interval(PROGRESS_EVERY);
        report.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let deadline = sleep_until(Instant::now() + spec.deadline);
        tokio::pin!(deadline);
        let grace = async {
            self.shutdown.cancelled().await;
            sleep(self.grace).await;
        };
        tokio::pin!(grace);
        let ended = self.job_ended(&delivery.task.run);
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = &mut deadline => return Reason::Deadline(spec.deadline),
                () = &mut grace => return Reason::Shutdown,
                () = &mut ended => return Reason::JobEnded,
                _ = heartbeat.tick() => delivery.renew_lease().await,
                _ = report.tick(), if told.has_changed().unwrap_or(false) => {
                    let done = *told.borrow_and_update();
                    let TaskMessage { run, stage, key, .. } = delivery.task.clone();
                    self.bus.tell_progress(&TaskProgress { run, stage, key, done }).await;
                }
            }
        }
    }

    /// Returns when the job has ended or begun anew: at once by its event, and should that be
    /// lost, with the next look at its record.
    async fn job_ended(&self, run: &RunId) {
        let events = self.bus.client.subscribe(names::event(&run.job, event::STATE)).await;
        let mut look = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        let Ok(mut events) = events else { return std::future::pending().await };
        let is_other = |job: &Job| job.run != run.number || job.state.is_final();
        loop {
            tokio::select! {
                Some(event) = events.next() => {
                    if serde_json::from_slice(&event.payload).is_ok_and(|job| is_other(&job)) {
                        return;
                    }
                }
                _ = look.tick() => {
                    if matches!(self.bus.standing(run).await, Ok(Standing::Over)) {
                        return;
                    }
                }
            }
        }
    }
}

/// Why a task is stopped.
enum Reason {
    Deadline(Duration),
    JobEnded,
    Shutdown,
}

type Joined = Result<Result<(Task, Output), Failure>, tokio::task::JoinError>;

fn outcome(result: Joined, reason: Option<Reason>) -> Attempt {
    match (result, reason) {
        (_, Some(Reason::JobEnded)) => Attempt::Moot,
        (Ok(Ok((task, output))), _) => Attempt::Done(Box::new(task.into_fact(output))),
        (_, Some(Reason::Shutdown)) => Attempt::Interrupted,
        (_, Some(Reason::Deadline(limit))) => {
            let message = format!("took longer than its deadline of {}s", limit.as_secs());
            Attempt::Failed(Failure::Transient(message))
        }
        (Ok(Err(failure)), None) => Attempt::Failed(failure),
        (Err(panic), None) => Attempt::Failed(Failure::transient(panic_message(panic))),
    }
}

fn panic_message(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "the task was aborted".to_owned() };
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("no message"))
}
