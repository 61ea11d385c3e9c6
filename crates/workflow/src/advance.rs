//! What follows from the facts of a run: which tasks are released, and when it is done.
//!
//! Everything here may be done any number of times, by any number of processes at once: a task
//! can be published only once, and a job changes by compare-and-set. So the worker that recorded
//! the last fact of a stage, the same worker after a crash, and the reconciler all call
//! [`Bus::advance`] and need not know of each other.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde_json::Value;

use crate::bus::{Bus, BusError};
use crate::graph::{Graph, StageSpec};
use crate::job::{Fact, Job, JobError, JobState, ONLY, RunId, StageTimes, TaskMessage};
use crate::names;
use crate::object::ObjectRef;

/// Tasks of a fan-out that are published at a time.
const RELEASES: usize = 64;

/// What a run ends with.
struct Ending {
    results: BTreeMap<String, Value>,
    names: BTreeMap<String, ObjectRef>,
}

/// What `advance` found out about one stage.
struct Standing {
    tasks: usize,
    complete: bool,
}

impl Bus {
    /// Releases every task of the run that nothing holds back any more, and ends the job if there
    /// is nothing left to do. Returns the job as it then stands; `None` if it is not there.
    pub async fn advance(&self, run: &RunId, graph: &Graph) -> Result<Option<Job>, BusError> {
        let Some(job) = self.job(&run.job).await? else { return Ok(None) };
        if job.run != run.number || job.state.is_final() {
            return Ok(Some(job));
        }
        let recorded = self.recorded_of_run(run).await?;
        let count = |stage: &str| recorded.get(stage).map_or(0, Vec::len);
        let mut standings: BTreeMap<&str, Standing> = BTreeMap::new();
        for stage in graph.stages() {
            let is_complete =
                |name: &String| standings.get(name.as_str()).is_some_and(|before| before.complete);
            if !stage.after.iter().all(is_complete) {
                continue;
            }
            let keys = match self.keys(run, graph, stage).await? {
                Ok(keys) => keys,
                Err(error) => return self.fail(run, error, false).await,
            };
            let complete = count(&stage.name) >= keys.len();
            let released = job.stages.contains_key(&stage.name);
            if !complete && !released {
                self.release(run, stage, &keys).await?;
            }
            standings.insert(&stage.name, Standing { tasks: keys.len(), complete });
        }
        let all_complete = standings.len() == graph.stages().len()
            && standings.values().all(|standing| standing.complete);
        let ending = if all_complete { Some(self.ending(run, graph).await?) } else { None };
        let Some(Ending { names, .. }) = &ending else {
            return self.note(run, graph, &standings, None).await;
        };
        // The names come first: whoever reads that the job is done finds what it has made.
        self.give_names(run, names).await?;
        let job = self.note(run, graph, &standings, ending.as_ref()).await?;
        let is_ours = |job: &Job| job.run == run.number && job.state == JobState::Done;
        if !job.as_ref().is_some_and(is_ours) {
            self.take_names(names).await?;
        }
        Ok(job)
    }

    /// The keys of a stage's tasks: the items of its list, or the one of a stage without.
    pub(crate) async fn keys(
        &self,
        run: &RunId,
        graph: &Graph,
        stage: &StageSpec,
    ) -> Result<Result<Vec<String>, JobError>, BusError> {
        let Some(each) = &stage.each else { return Ok(Ok(vec![ONLY.to_owned()])) };
        for before in graph.ancestors(&stage.name).iter().rev() {
            if before.each.is_some() {
                continue;
            }
            let fact = self.fact(run, &before.name, ONLY).await?;
            if let Some(keys) = fact.and_then(|mut fact| fact.lists.remove(each)) {
                return Ok(Ok(keys));
            }
        }
        Ok(Err(JobError {
            code: "no-list".to_owned(),
            message: format!("no stage before `{}` gave the list `{each}`", stage.name),
            stage: stage.name.clone(),
        }))
    }

    async fn release(
        &self,
        run: &RunId,
        stage: &StageSpec,
        keys: &[String],
    ) -> Result<(), BusError> {
        let of = keys.len();
        let publishes = futures::stream::iter(keys.to_vec()).map(|key| {
            let subject = names::task(&stage.name, run, &key);
            let task = TaskMessage { run: run.clone(), stage: stage.name.clone(), key, of };
            async move { self.publish_once(subject, &task).await }
        });
        publishes.buffer_unordered(RELEASES).try_collect::<Vec<_>>().await?;
        tracing::debug!(%run, stage = stage.name, tasks = of, "released");
        Ok(())
    }

    /// What the last stages of the graph have to say.
    async fn ending(&self, run: &RunId, graph: &Graph) -> Result<Ending, BusError> {
        let is_last =
            |name: &String| !graph.stages().iter().any(|stage| stage.after.contains(name));
        let (mut results, mut names) = (BTreeMap::new(), BTreeMap::new());
        for stage in graph.stages().iter().filter(|stage| is_last(&stage.name)) {
            let mut facts = self.facts(run, &stage.name).await?;
            for fact in &mut facts {
                names.append(&mut fact.names);
            }
            let mut data: Vec<Value> = facts.into_iter().map(|fact: Fact| fact.data).collect();
            let value = match (&stage.each, data.pop()) {
                (None, Some(only)) => only,
                (_, last) => data.into_iter().chain(last).collect(),
            };
            results.insert(stage.name.clone(), value);
        }
        Ok(Ending { results, names })
    }

    /// Writes into the job's record what has happened. With an ending it is done: the one
    /// compare-and-set that makes it visible.
    async fn note(
        &self,
        run: &RunId,
        graph: &Graph,
        standings: &BTreeMap<&str, Standing>,
        ending: Option<&Ending>,
    ) -> Result<Option<Job>, BusError> {
        let now = Timestamp::now();
        let changed = self
            .change_run(run, |job| {
                let before = job.clone();
                for stage in graph.stages() {
                    let Some(standing) = standings.get(stage.name.as_str()) else { continue };
                    let times = job.stages.entry(stage.name.clone()).or_insert_with(|| {
                        job.state = JobState::Running(stage.state());
                        StageTimes { tasks: standing.tasks, released: now, finished: None }
                    });
                    if standing.complete && times.finished.is_none() {
                        times.finished = Some(now);
                    }
                }
                if let Some(Ending { results, names }) = ending {
                    job.results = results.clone();
                    job.names = names.clone();
                    job.state = JobState::Done;
                    job.finished = Some(now);
                }
                *job != before
            })
            .await?;
        self.told(changed).await
    }

    /// Ends a run as failed; the first reason stays. With `keeps_input` it can be run again.
    pub(crate) async fn fail(
        &self,
        run: &RunId,
        error: JobError,
        keeps_input: bool,
    ) -> Result<Option<Job>, BusError> {
        let changed = self
            .change_run(run, |job| {
                job.state = JobState::Failed;
                job.keeps_input = keeps_input;
                job.error = Some(error.clone());
                job.finished = Some(Timestamp::now());
                true
            })
            .await?;
        self.told(changed).await
    }

    /// Tells whoever listens if the record changed.
    pub(crate) async fn told(&self, changed: Option<(Job, bool)>) -> Result<Option<Job>, BusError> {
        let Some((job, changed)) = changed else { return Ok(None) };
        if changed {
            self.tell_state(&job).await;
        }
        Ok(Some(job))
    }
}
