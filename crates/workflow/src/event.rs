//! Events: what is told while it happens, over core NATS, and never stored. A listener that was
//! away looks at the record of the job instead.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::bus::{Bus, BusError, During};
use crate::graph::StageProgress;
use crate::job::{Job, JobId, RunId};
use crate::names;

/// The kind of event that carries a whole [`Job`] each time its record has changed.
pub const STATE: &str = "state";
/// The kind of event that carries a [`TaskProgress`].
pub const PROGRESS: &str = "progress";

/// How far a running task has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskProgress {
    /// The run.
    pub run: RunId,
    /// The stage.
    pub stage: String,
    /// The task.
    pub key: String,
    /// 0 to 1.
    pub done: f64,
}

impl Bus {
    /// Tells that a job's record has changed. Nobody may be listening, so nothing can fail.
    pub(crate) async fn tell_state(&self, job: &Job) {
        tracing::info!(job = %job.hash, run = job.run, state = %job.state, "job");
        self.tell(names::event(&job.hash, STATE), job).await;
    }

    pub(crate) async fn tell_progress(&self, progress: &TaskProgress) {
        self.tell(names::event(&progress.run.job, PROGRESS), progress).await;
    }

    async fn tell(&self, subject: String, event: &impl Serialize) {
        let Ok(payload) = serde_json::to_vec(event) else { return };
        if let Err(error) = self.client.publish(subject, payload.into()).await {
            tracing::debug!(%error, "an event was not sent");
        }
    }

    /// The events of all jobs, for as long as the connection lives.
    pub async fn events(&self) -> Result<async_nats::Subscriber, BusError> {
        self.client.subscribe(names::EVENTS).await.during("listen to events")
    }

    /// The events of one job, for as long as the connection lives.
    pub async fn events_of(&self, id: &JobId) -> Result<async_nats::Subscriber, BusError> {
        self.client.subscribe(names::event(id, "*")).await.during("listen to a job's events")
    }
}

/// How far the running tasks of all live jobs have come, from what their workers tell.
#[derive(Clone, Default)]
pub struct LiveProgress {
    tasks: Arc<Mutex<Tasks>>,
}

type Tasks = HashMap<RunId, BTreeMap<String, BTreeMap<String, f64>>>;

impl LiveProgress {
    /// Listens until the connection ends.
    pub async fn follow(self, bus: Bus) -> Result<(), BusError> {
        let mut events = bus.events().await?;
        self.catch_up(&bus).await?;
        while let Some(event) = events.next().await {
            if let Ok(progress) = serde_json::from_slice::<TaskProgress>(&event.payload) {
                self.note(progress);
            } else if let Ok(job) = serde_json::from_slice::<Job>(&event.payload)
                && job.state.is_final()
            {
                self.lock().remove(&job.run_id());
            }
        }
        Ok(())
    }

    /// Of the tasks that were done before anyone listened, the facts tell.
    async fn catch_up(&self, bus: &Bus) -> Result<(), BusError> {
        let jobs = bus.all_jobs().await?;
        for job in jobs.iter().filter(|job| !job.state.is_final()) {
            for (stage, keys) in bus.recorded_of_run(&job.run_id()).await? {
                for key in keys {
                    let (run, stage) = (job.run_id(), stage.clone());
                    self.note(TaskProgress { run, stage, key, done: 1.0 });
                }
            }
        }
        Ok(())
    }

    fn note(&self, progress: TaskProgress) {
        let TaskProgress { run, stage, key, done } = progress;
        self.lock().entry(run).or_default().entry(stage).or_default().insert(key, done);
    }

    /// How far a job has come in each of its released stages.
    pub fn of(&self, job: &Job) -> BTreeMap<String, StageProgress> {
        let tasks = self.lock();
        let live = tasks.get(&job.run_id());
        let mut stages = BTreeMap::new();
        for (stage, times) in &job.stages {
            let told = live.and_then(|stages| stages.get(stage));
            let done = match (&times.finished, told) {
                (Some(_), _) => times.tasks as f64,
                (None, Some(tasks)) => tasks.values().sum(),
                (None, None) => 0.0,
            };
            stages.insert(stage.clone(), StageProgress { tasks: times.tasks, done });
        }
        stages
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
