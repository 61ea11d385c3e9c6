//! How a job stands, for those who sent it.

use jiff::Timestamp;
use separation::Manifest;
use serde::Serialize;
use workflow::{Graph, Job, JobError, JobId};

use super::{Desk, manifest, name};
use crate::error::ApiError;

/// How a job stands.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The job.
    pub hash: JobId,
    /// What the song is called.
    pub name: Option<String>,
    /// `queued`, the stage in its -ing form, `done`, `failed` or `cancelled`.
    pub state: String,
    /// 0 to 1.
    pub progress: f64,
    /// When the song was handed in.
    pub submitted: Timestamp,
    /// When the job came to its end.
    pub finished: Option<Timestamp>,
    /// From the one to the other, or to now.
    pub elapsed_seconds: f64,
    /// Every stage of the job's workflow, in its order.
    pub stages: Vec<StageStatus>,
    /// Why it failed.
    pub error: Option<JobError>,
    /// What came out.
    pub manifest: Option<Manifest>,
    /// Elapsed time by the song's length, once it is done: lower is faster.
    pub realtime_factor: Option<f64>,
}

/// How one stage of a job stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageStatus {
    /// The stage.
    pub name: String,
    /// How many tasks it has; 0 before it is known.
    pub tasks: usize,
    /// How many of them are done, the parts of running ones included.
    pub done: f64,
    /// From its release to its end, or to now.
    pub seconds: f64,
    /// True once all its tasks are done.
    pub finished: bool,
}

impl Desk {
    /// How the job stands that a client calls `hash`.
    pub async fn status(&self, hash: &str) -> Result<Status, ApiError> {
        let job = self.job(hash).await?;
        self.status_of(&job).await
    }

    /// How a job stands by this record of it.
    pub(crate) async fn status_of(&self, job: &Job) -> Result<Status, ApiError> {
        let graph = self.graph_of(job).await?;
        let now = Timestamp::now();
        let manifest = manifest(job);
        let elapsed_seconds = seconds(job.submitted, job.finished.unwrap_or(now));
        let song_seconds = manifest.as_ref().map(|manifest| manifest.seconds);
        let realtime_factor = song_seconds
            .filter(|seconds| *seconds > 0.0)
            .map(|seconds| round(elapsed_seconds / seconds, 4));
        Ok(Status {
            hash: job.hash.clone(),
            name: name(job).map(str::to_owned),
            state: job.state.to_string(),
            progress: round(graph.progress(&self.progress.of(job)), 4),
            submitted: job.submitted,
            finished: job.finished,
            elapsed_seconds,
            stages: self.stages(job, &graph, now),
            error: job.error.clone(),
            manifest,
            realtime_factor,
        })
    }

    fn stages(&self, job: &Job, graph: &Graph, now: Timestamp) -> Vec<StageStatus> {
        let progress = self.progress.of(job);
        // What did not end by itself ended with its job.
        let end = job.finished.unwrap_or(now);
        let status = |name: &String| {
            let times = job.stages.get(name);
            let progress = progress.get(name).copied().unwrap_or_default();
            StageStatus {
                name: name.clone(),
                tasks: progress.tasks,
                done: round(progress.done, 2),
                seconds: times
                    .map_or(0.0, |times| seconds(times.released, times.finished.unwrap_or(end))),
                finished: times.is_some_and(|times| times.finished.is_some()),
            }
        };
        graph.stages().iter().map(|stage| status(&stage.name)).collect()
    }
}

/// Clocks of several machines are behind these: a time may seem to go backwards a little.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    round(to.duration_since(from).as_secs_f64().max(0.0), 3)
}

fn round(number: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (number * scale).round() / scale
}
