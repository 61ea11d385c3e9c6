//! What is written down: jobs, tasks and facts. All of it JSON, all of it readable with `nats`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::object::ObjectRef;

/// A job's name: 32 hex digits, made from what the job is about, so that the same work has the
/// same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct JobId(String);

/// The text is not 32 lower-case hex digits.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("not a job's hash: 32 hex digits are")]
pub struct NotAJobId;

impl JobId {
    /// The name of the work that `identity` describes.
    pub fn of(identity: impl AsRef<[u8]>) -> Self {
        Self(hex::encode(&Sha256::digest(identity)[..16]))
    }
}

impl FromStr for JobId {
    type Err = NotAJobId;

    fn from_str(text: &str) -> Result<Self, NotAJobId> {
        let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if text.len() != 32 || !text.bytes().all(is_hex) {
            return Err(NotAJobId);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One run of a job, written `<job>-<number>`. A job that failed and is sent again gets the next
/// number, so that nothing late from an earlier run can be taken for its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId {
    /// The job.
    pub job: JobId,
    /// 1 for the first run.
    pub number: u32,
}

impl RunId {
    /// The first run of a job.
    pub fn first(job: JobId) -> Self {
        Self { job, number: 1 }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.job, self.number)
    }
}

/// The text is not `<job>-<number>`.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("not a run: <job>-<number> is")]
pub struct NotARunId;

impl FromStr for RunId {
    type Err = NotARunId;

    fn from_str(text: &str) -> Result<Self, NotARunId> {
        let (job, number) = text.split_once('-').ok_or(NotARunId)?;
        let job = job.parse().map_err(|_| NotARunId)?;
        let number = number.parse().map_err(|_| NotARunId)?;
        Ok(Self { job, number })
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Which tasks come first. Whoever waits for a song at the screen is not to wait for a night's work.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Comes first.
    #[default]
    Interactive,
    /// Has what the other leaves, and a share in any case.
    Batch,
}

impl Lane {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Batch];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

/// The text is not the name of a lane.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("not a lane: use interactive or batch")]
pub struct NotALane;

impl FromStr for Lane {
    type Err = NotALane;

    fn from_str(text: &str) -> Result<Self, NotALane> {
        Self::ALL.into_iter().find(|lane| lane.as_str() == text).ok_or(NotALane)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a job stands. `Running` holds the name of the stage's state, such as `decoding`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum JobState {
    /// Written down; no task has been released yet.
    Queued,
    /// In the stage that was released last.
    Running(String),
    /// Finished: the results are there.
    Done,
    /// Given up: `error` says why.
    Failed,
    /// Stopped at someone's wish.
    Cancelled,
}

impl JobState {
    /// True for `done`, `failed` and `cancelled`: nothing more will happen.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl From<JobState> for String {
    fn from(state: JobState) -> Self {
        state.to_string()
    }
}

impl From<String> for JobState {
    fn from(state: String) -> Self {
        match state.as_str() {
            "queued" => Self::Queued,
            "done" => Self::Done,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => Self::Running(state),
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Running(state) => state,
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A job's record in the KV bucket `jobs`, changed by compare-and-set only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The job's name, and its key.
    pub hash: JobId,
    /// The number of its current run.
    pub run: u32,
    /// Where it stands.
    pub state: JobState,
    /// Digest of the workflow that it started with.
    pub workflow: String,
    /// What it is about, in the words of the stages; the runtime does not look inside.
    pub spec: Value,
    /// What the first stages read.
    pub input: Input,
    /// The lane it began in; a stage may move what comes after it, see [`Job::lane_now`].
    #[serde(default)]
    pub lane: Lane,
    /// How much work it is, in the words of its stages; once one of them has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The span that all its work goes below, as W3C `traceparent`, if it is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// When it was sent; of the current run.
    pub submitted: Timestamp,
    /// When this record changed last.
    pub updated: Timestamp,
    /// When it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// The stages that have been released.
    #[serde(default)]
    pub stages: BTreeMap<String, StageTimes>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
    /// What the last stages of the graph gave, by stage; once done.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub results: BTreeMap<String, Value>,
    /// What people find in the bucket `output`; written before they can: with `results`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, ObjectRef>,
    /// Deliveries of tasks, as `<stage>/<key>`, that were no attempts: given back unharmed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub excused: BTreeMap<String, u32>,
    /// True if it failed by circumstances: its input stays, to be run again from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_input: bool,
    /// Who wants to be told of its end, in the words of those who tell; the runtime does not look
    /// inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub callbacks: Vec<Value>,
    /// True once there is a notice for each of them, if there was anyone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub called: bool,
    /// True once everything that only served the run has been deleted.
    #[serde(default)]
    pub freed: bool,
}

impl Job {
    /// The name of the current run.
    pub fn run_id(&self) -> RunId {
        RunId { job: self.hash.clone(), number: self.run }
    }

    /// The lane of what is yet to come.
    pub fn lane_now(&self) -> Lane {
        self.stages.values().filter_map(|times| times.moved).fold(self.lane, Lane::max)
    }

    /// Which attempt at a task its `delivery`-th delivery is.
    pub(crate) fn attempt(&self, task: &TaskMessage, delivery: u32) -> u32 {
        let excused = self.excused.get(&task.place()).copied().unwrap_or(0);
        delivery.saturating_sub(excused).max(1)
    }
}

/// The object that a job starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Where it lies.
    pub object: ObjectRef,
    /// True if it was stored for this job alone and goes when the job has ended.
    pub owned: bool,
}

/// When a stage of a job began and ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTimes {
    /// How many tasks it has.
    pub tasks: usize,
    /// When the last of them had been published.
    pub released: Timestamp,
    /// When the last of them was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// The lane that it has moved what comes after it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Lane>,
}

/// Why a job failed, for its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// A short stable word, such as `not-audio`.
    pub code: String,
    /// A sentence that says what to do.
    pub message: String,
    /// Where it happened.
    pub stage: String,
}

/// The message that a worker takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskMessage {
    /// The run it belongs to.
    pub run: RunId,
    /// The stage that does it.
    pub stage: String,
    /// Which of the stage's tasks: `0`, or an item of the stage's list.
    pub key: String,
    /// How many tasks the stage has in this run.
    pub of: usize,
}

impl TaskMessage {
    /// Which task of its run it is.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}", self.stage, self.key)
    }
}

/// The key of the only task of a stage without `each`.
pub(crate) const ONLY: &str = "0";

/// What a task produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// The stage that recorded it.
    pub stage: String,
    /// The task's key.
    pub key: String,
    /// What the stage has to say, in its own words.
    #[serde(default)]
    pub data: Value,
    /// The lists that later stages have one task each for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lists: BTreeMap<String, Vec<String>>,
    /// The lane that what comes after it goes to, if that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// How much work the job is, if it can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The objects that the task stored, by the names it gave them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objects: BTreeMap<String, ObjectRef>,
    /// The names under which people are to find objects in the bucket `output`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, ObjectRef>,
    /// How much has been done, in the stage's unit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub amount: f64,
    /// The span of the attempt, as W3C `traceparent`, if it is traced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Which attempt it was.
    pub attempt: u32,
    /// When that attempt began.
    pub started: Timestamp,
    /// When it had its result.
    pub finished: Timestamp,
}

fn is_zero(amount: &f64) -> bool {
    *amount == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let run = RunId { job: JobId::of("x"), number: 12 };
        assert_eq!(run.to_string().parse(), Ok(run));
        for text in ["", "abc", &"G".repeat(32), &"a".repeat(33), "..", "*"] {
            assert_eq!(text.parse::<JobId>(), Err(NotAJobId), "{text}");
        }
        assert!(format!("{}-x", "a".repeat(32)).parse::<RunId>().is_err());
    }

    #[test]
    fn states_travel_as_their_names() {
        for (state, name) in [
            (JobState::Queued, "\"queued\""),
            (JobState::Running("decoding".into()), "\"decoding\""),
            (JobState::Done, "\"done\""),
            (JobState::Failed, "\"failed\""),
            (JobState::Cancelled, "\"cancelled\""),
        ] {
            assert_eq!(serde_json::to_string(&state).unwrap(), name);
            assert_eq!(serde_json::from_str::<JobState>(name).unwrap(), state);
        }
    }
}
