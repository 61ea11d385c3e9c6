//! What follows from the facts of a run: which tasks are released, and when it is done.
//!
//! Everything here may be done any number of times, by any number of processes at once: a task
//! can be published only once, and a job changes by compare-and-set. So the worker that recorded
//! the last fact of a stage, the same worker after a crash, and the reconciler all call
//! [`Bus::advance`] and need not know of each other.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use opentelemetry::trace::FutureExt;
use serde_json::Value;

use crate::bus::{Bus, BusError};
use crate::graph::{Graph, StageSpec};
use crate::job::{Fact, Job, JobError, JobState, Lane, ONLY, RunId, StageTimes, TaskMessage};
use crate::names;
use crate::object::ObjectRef;
use crate::trace;

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
    /// The lane that it has moved what comes after it to.
    moved: Option<Lane>,
}

/// What is to be written into the job's record.
struct News<'a> {
    standings: BTreeMap<&'a str, Standing>,
    weight: Option<f64>,
    ending: Option<Ending>,
}

/// The facts of stages with one task per job, each read once at most.
struct Known<'a> {
    bus: &'a Bus,
    run: &'a RunId,
    facts: BTreeMap<String, Option<Fact>>,
}

impl Known<'_> {
    async fn fact(&mut self, stage: &str) -> Result<Option<&Fact>, BusError> {
        if !self.facts.contains_key(stage) {
            let fact = self.bus.fact(self.run, stage, ONLY).await?;
            self.facts.insert(stage.to_owned(), fact);
        }
        Ok(self.facts[stage].as_ref())
    }

    async fn keys(
        &mut self,
        graph: &Graph,
        stage: &StageSpec,
    ) -> Result<Result<Vec<String>, JobError>, BusError> {
        let Some(each) = &stage.each else { return Ok(Ok(vec![ONLY.to_owned()])) };
        for before in graph.ancestors(&stage.name).iter().rev() {
            if before.each.is_some() {
                continue;
            }
            let fact = self.fact(&before.name).await?;
            if let Some(keys) = fact.and_then(|fact| fact.lists.get(each)) {
                return Ok(Ok(keys.clone()));
            }
        }
        Ok(Err(JobError {
            code: "no-list".to_owned(),
            message: format!("no stage before `{}` gave the list `{each}`", stage.name),
            stage: stage.name.clone(),
        }))
    }
}

/// Where the tasks of a stage go. All that this depends on is settled before the first of them is
/// released: where the job began, and the facts of the stages before. So whoever releases a task,
/// and however often, it is always in the same lane, and never in both.
fn lane_of(
    job: &Job,
    graph: &Graph,
    stage: &StageSpec,
    moved: impl Fn(&str) -> Option<Lane>,
) -> Lane {
    let before = graph.ancestors(&stage.name);
    before.iter().filter_map(|before| moved(&before.name)).fold(job.lane, Lane::max)
}

/// Where the tasks of a stage are that has been released: what it depends on is in the record.
pub(crate) fn lane_of_released(job: &Job, graph: &Graph, stage: &StageSpec) -> Lane {
    lane_of(job, graph, stage, |before| job.stages.get(before)?.moved)
}

impl Bus {
    /// Releases every task of the run that nothing holds back any more, and ends the job if there
    /// is nothing left to do. Returns the job as it then stands; `None` if it is not there.
    pub async fn advance(&self, run: &RunId, graph: &Graph) -> Result<Option<Job>, BusError> {
        self.advance_by(run, graph, None, None).await
    }

    /// The same as a worker of the stage `from` does it, who may know what was recorded `last`: it
    /// releases only what follows its stage, and ends the job only if nothing does. Its user on the
    /// bus may do no more (`permissions.rs`), and need not: what a worker of another stage has left
    /// undone, its task comes again for.
    pub(crate) async fn advance_by(
        &self,
        run: &RunId,
        graph: &Graph,
        from: Option<&str>,
        last: Option<&Fact>,
    ) -> Result<Option<Job>, BusError> {
        let Some(job) = self.job(&run.job).await? else { return Ok(None) };
        if job.run != run.number || job.state.is_final() {
            return Ok(Some(job));
        }
        let recorded = self.recorded_of_run(run).await?;
        let count = |stage: &str| recorded.get(stage).map_or(0, Vec::len);
        let last = last.filter(|fact| fact.key == ONLY);
        let facts = last.map(|fact| (fact.stage.clone(), Some(fact.clone()))).into_iter().collect();
        let mut known = Known { bus: self, run, facts };
        let mut weight = None;
        let mut standings: BTreeMap<&str, Standing> = BTreeMap::new();
        for stage in graph.stages() {
            let is_complete =
                |name: &String| standings.get(name.as_str()).is_some_and(|before| before.complete);
            if !stage.after.iter().all(is_complete) {
                continue;
            }
            let keys = match known.keys(graph, stage).await? {
                Ok(keys) => keys,
                Err(error) => return self.fail(run, error, false).await,
            };
            let complete = count(&stage.name) >= keys.len();
            let noted = job.stages.get(&stage.name);
            if !complete && noted.is_none() {
                // Past a list without items, nobody else would come.
                let is_before = |name: &String| {
                    from == Some(name.as_str()) || standings[name.as_str()].tasks == 0
                };
                if from.is_some() && !stage.after.iter().any(is_before) {
                    continue;
                }
                let moved = |before: &str| standings.get(before)?.moved;
                let lane = lane_of(&job, graph, stage, moved);
                let context = trace::release(&job, &stage.name, keys.len());
                self.release(run, stage, lane, &keys).with_context(context).await?;
            }
            let mut moved = noted.and_then(|times| times.moved);
            let is_new = complete && noted.is_none_or(|times| times.finished.is_none());
            if is_new && stage.each.is_none() && !graph.is_last(&stage.name) {
                let fact = known.fact(&stage.name).await?;
                moved = fact.and_then(|fact| fact.lane);
                weight = weight.or(fact.and_then(|fact| fact.weight));
            }
            standings.insert(&stage.name, Standing { tasks: keys.len(), complete, moved });
        }
        let all_complete = standings.len() == graph.stages().len()
            && standings.values().all(|standing| standing.complete);
        let goes_on =
            |from| graph.successors(from).any(|next| standings[next.name.as_str()].tasks > 0);
        let ends = all_complete && !from.is_some_and(goes_on);
        let ending = if ends { Some(self.ending(run, graph).await?) } else { None };
        let news = News { standings, weight, ending };
        let Some(Ending { names, .. }) = &news.ending else {
            return self.note(run, graph, &news).await;
        };
        // The names come first: whoever reads that the job is done finds what it has made.
        self.give_names(run, names).await?;
        let job = self.note(run, graph, &news).await?;
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
        Known { bus: self, run, facts: BTreeMap::new() }.keys(graph, stage).await
    }

    async fn release(
        &self,
        run: &RunId,
        stage: &StageSpec,
        lane: Lane,
        keys: &[String],
    ) -> Result<(), BusError> {
        let of = keys.len();
        let publishes = futures::stream::iter(keys.to_vec()).map(|key| {
            let subject = names::task(&stage.name, lane, run, &key);
            let task = TaskMessage { run: run.clone(), stage: stage.name.clone(), key, of };
            async move { self.publish_once(subject, &task).await }
        });
        publishes.buffer_unordered(RELEASES).try_collect::<Vec<_>>().await?;
        tracing::debug!(%run, stage = stage.name, %lane, tasks = of, "released");
        Ok(())
    }

    /// What the last stages of the graph have to say.
    async fn ending(&self, run: &RunId, graph: &Graph) -> Result<Ending, BusError> {
        let (mut results, mut names) = (BTreeMap::new(), BTreeMap::new());
        for stage in graph.last_stages() {
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
        news: &News<'_>,
    ) -> Result<Option<Job>, BusError> {
        let now = Timestamp::now();
        let changed = self
            .change_run(run, |job| {
                let before = job.clone();
                for stage in graph.stages() {
                    let Some(standing) = news.standings.get(stage.name.as_str()) else { continue };
                    let times = job.stages.entry(stage.name.clone()).or_insert_with(|| {
                        job.state = JobState::Running(stage.state());
                        StageTimes {
                            tasks: standing.tasks,
                            released: now,
                            finished: None,
                            moved: None,
                        }
                    });
                    if standing.complete && times.finished.is_none() {
                        (times.finished, times.moved) = (Some(now), standing.moved);
                    }
                }
                job.weight = news.weight.or(job.weight);
                if let Some(Ending { results, names }) = &news.ending {
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
