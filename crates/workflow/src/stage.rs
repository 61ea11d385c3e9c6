//! What a stage is, and what it is given to do its work.
//!
//! A stage is plain blocking code: it reads objects through [`std::io::Read`], writes them through
//! [`std::io::Write`], and returns what it has to say. That tasks are leased, renewed, repeated
//! and acknowledged is the worker's business alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError};
use crate::job::{Fact, Job, JobId, Lane, ONLY, RunId, TaskMessage};
use crate::names;
use crate::object::{Bucket, ObjectError, ObjectReader, ObjectRef, ObjectWriter};
use crate::trace;

/// One step of a workflow.
pub trait Stage: Send + Sync + 'static {
    /// The name of the step in `workflow.toml`.
    fn name(&self) -> &'static str;

    /// How many tasks one process works on at a time, if its environment does not say.
    fn concurrency(&self) -> usize {
        1
    }

    /// What its tasks count their work in, such as `audio_seconds`: as `stemflow_<unit>_total` it is
    /// a metric, to which each task adds what it says with [`Output::with_amount`].
    fn unit(&self) -> Option<&'static str> {
        None
    }

    /// Does one task. May be called again for the same task after a crash, with the same result.
    ///
    /// Runs on a thread of its own; a panic counts as [`Failure::Transient`].
    fn run(&self, task: &Task) -> Result<Output, Failure>;
}

/// Why a task has no result. There is no third kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The input is at fault: trying again gives the same. The job fails, and its user reads this.
    #[error("{message}")]
    Permanent {
        /// A short stable word for programs, such as `not-audio`.
        code: String,
        /// A sentence for people, with a next step.
        message: String,
    },
    /// The circumstances are at fault: it is tried again, `attempts` times in all.
    #[error("{0}")]
    Transient(String),
}

impl Failure {
    /// The input is at fault.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Permanent { code: code.into(), message: message.into() }
    }

    /// The circumstances are at fault.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::Transient(message.into())
    }
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Transient(error.to_string())
    }
}

/// What a task gives to the stages after it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    pub(crate) data: Value,
    pub(crate) lists: BTreeMap<String, Vec<String>>,
    pub(crate) lane: Option<Lane>,
    pub(crate) weight: Option<f64>,
    pub(crate) amount: f64,
}

impl Output {
    /// Nothing but that it is done.
    pub fn none() -> Self {
        Self::default()
    }

    /// A record in the stage's own words.
    ///
    /// # Errors
    /// If `data` has no form as JSON, such as a map with keys that are no strings.
    pub fn of(data: &impl Serialize) -> Result<Self, Failure> {
        let data = serde_json::to_value(data)
            .map_err(|error| Failure::transient(format!("failed to write the result: {error}")))?;
        Ok(Self { data, ..Self::default() })
    }

    /// Adds a list that later stages have one task each for. Only stages with one task per job
    /// can give lists. The keys are made of a-z, 0-9 and `-`.
    #[must_use]
    pub fn with_list(mut self, name: &str, keys: Vec<String>) -> Self {
        self.lists.insert(name.to_owned(), keys);
        self
    }

    /// Moves the job to another lane for all that comes after this task. Only stages with one task
    /// per job can, and what is in the lane `batch` stays there.
    #[must_use]
    pub fn in_lane(mut self, lane: Lane) -> Self {
        self.lane = Some(lane);
        self
    }

    /// Says how much work the job is, for those who have to know what is still to be done. Only
    /// stages with one task per job can.
    #[must_use]
    pub fn weighing(mut self, weight: f64) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Says how much has been done, in the stage's [`unit`](Stage::unit).
    #[must_use]
    pub fn with_amount(mut self, amount: f64) -> Self {
        self.amount = amount;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Failure> {
        for key in self.lists.values().flatten() {
            if !names::is_token(key) {
                let message = format!("`{key}` cannot be a task's key: use 1 to 32 of a-z, 0-9, -");
                return Err(Failure::permanent("bad-key", message));
            }
        }
        Ok(())
    }
}

/// A task in the hands of a stage.
pub struct Task {
    pub(crate) bus: Bus,
    pub(crate) message: TaskMessage,
    pub(crate) job: Job,
    pub(crate) attempt: u32,
    pub(crate) started: Timestamp,
    pub(crate) stop: CancellationToken,
    pub(crate) progress: Arc<watch::Sender<f64>>,
    pub(crate) objects: Arc<Mutex<BTreeMap<String, ObjectRef>>>,
    pub(crate) names: Mutex<BTreeMap<String, ObjectRef>>,
    /// True once there was no room for what it wanted to store.
    pub(crate) no_room: Arc<AtomicBool>,
    pub(crate) runtime: Handle,
    pub(crate) trace: opentelemetry::Context,
}

impl Task {
    /// The job that the task belongs to.
    pub fn job(&self) -> &JobId {
        &self.message.run.job
    }

    /// The run of the job.
    pub fn run(&self) -> &RunId {
        &self.message.run
    }

    /// Which of the stage's tasks it is: `0`, or an item of the stage's list.
    pub fn key(&self) -> &str {
        &self.message.key
    }

    /// 1 for the first attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What the job is about.
    ///
    /// # Errors
    /// Permanent if the job was written in words that this stage does not know.
    pub fn spec<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_value(self.job.spec.clone()).map_err(|error| {
            Failure::permanent(
                "bad-spec",
                format!("this job's options are not understood: {error}"),
            )
        })
    }

    /// What the job started from.
    pub fn input(&self) -> &ObjectRef {
        &self.job.input.object
    }

    /// What a stage with one task per job has produced.
    pub fn fact(&self, stage: &str) -> Result<Fact, Failure> {
        let fact = self.runtime.block_on(self.bus.fact(self.run(), stage, ONLY))?;
        let fact =
            fact.ok_or_else(|| Failure::transient(format!("the fact of `{stage}` is not there")))?;
        trace::link(&self.trace, &fact);
        Ok(fact)
    }

    /// What all tasks of a stage have produced, in the order of their keys.
    pub fn facts(&self, stage: &str) -> Result<Vec<Fact>, Failure> {
        self.facts_as(stage, Ok)
    }

    /// What `look` makes of each of them, for stages of which there are thousands: few are held at
    /// a time.
    pub fn facts_as<T>(
        &self,
        stage: &str,
        mut look: impl FnMut(Fact) -> Result<T, Failure>,
    ) -> Result<Vec<T>, Failure> {
        self.runtime.block_on(self.bus.facts_as(self.run(), stage, |fact| {
            trace::link(&self.trace, &fact);
            look(fact)
        }))
    }

    /// Opens an object. What is read is whole and right once the end has been reached without an
    /// error, not before.
    pub fn open(&self, object: &ObjectRef) -> Reader {
        Reader {
            object: self.bus.get(object),
            chunk: Bytes::new(),
            stop: self.stop.clone(),
            runtime: self.runtime.clone(),
        }
    }

    /// An object as a temporary file, for those who have to seek in it. All of it is known to be
    /// right.
    pub fn fetch(&self, object: &ObjectRef) -> io::Result<File> {
        let mut file = tempfile::tempfile()?;
        io::copy(&mut self.open(object), &mut file)?;
        file.rewind()?;
        Ok(file)
    }

    /// Begins an object, which the stages after this one find in the fact under `name`.
    pub fn create(&self, bucket: Bucket, name: &str) -> Writer {
        let run = self.run();
        let TaskMessage { stage, key, .. } = &self.message;
        let full_name = format!("{run}/{stage}/{key}/{}/{name}", self.bus.unique());
        let _runtime = self.runtime.enter();
        Writer {
            object: self.bus.put(bucket, full_name, Some(run)),
            name: name.to_owned(),
            objects: Arc::clone(&self.objects),
            no_room: Arc::clone(&self.no_room),
            stop: self.stop.clone(),
            runtime: self.runtime.clone(),
        }
    }

    /// Says by which name people are to find an object of the bucket `output`. It has that name
    /// once the job is done; what has none is not kept. For a workflow's last stages.
    ///
    /// # Errors
    /// Permanent if either bucket is another: the others are emptied when the job has ended.
    pub fn link(&self, bucket: Bucket, name: &str, target: &ObjectRef) -> Result<(), Failure> {
        if (bucket, target.bucket) != (Bucket::Output, Bucket::Output) {
            let message = format!("`{name}` cannot be kept: only the bucket `output` is");
            return Err(Failure::permanent("bad-name", message));
        }
        lock(&self.names).insert(name.to_owned(), target.clone());
        Ok(())
    }

    /// Tells how far the task has come, 0 to 1.
    pub fn progress(&self, done: f64) {
        self.progress.send_replace(done);
    }

    /// What another thread needs that does the work in the task's name.
    pub fn reporter(&self) -> Reporter {
        Reporter { progress: Arc::clone(&self.progress), stop: self.stop.clone() }
    }

    /// An error if the task should be left: its job was cancelled, its time is up, the process
    /// has to end. Call it between pieces of work.
    pub fn check(&self) -> Result<(), Failure> {
        if self.stop.is_cancelled() { Err(stopped()) } else { Ok(()) }
    }

    pub(crate) fn into_fact(self, output: Output) -> Fact {
        let TaskMessage { stage, key, .. } = self.message;
        let objects = std::mem::take(&mut *lock(&self.objects));
        Fact {
            stage,
            key,
            data: output.data,
            lists: output.lists,
            lane: output.lane,
            weight: output.weight,
            objects,
            names: self.names.into_inner().unwrap_or_else(PoisonError::into_inner),
            amount: output.amount,
            trace: trace::name(&self.trace),
            attempt: self.attempt,
            started: self.started,
            finished: Timestamp::now(),
        }
    }
}

/// Tells a task's progress, and hears that it should stop, from any thread.
#[derive(Clone)]
pub struct Reporter {
    progress: Arc<watch::Sender<f64>>,
    stop: CancellationToken,
}

impl Reporter {
    /// Tells how far the task has come, 0 to 1.
    pub fn tell(&self, done: f64) {
        self.progress.send_replace(done);
    }

    /// True if the task should be left.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}

impl Fact {
    /// What the stage has to say, in its own words.
    ///
    /// # Errors
    /// Permanent if it is said in words that the reader does not know.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_value(self.data.clone()).map_err(|error| {
            let message = format!("the fact of `{}` is not understood: {error}", self.stage);
            Failure::permanent("bad-fact", message)
        })
    }

    /// The object that the task stored under `name`.
    pub fn object(&self, name: &str) -> Result<&ObjectRef, Failure> {
        self.objects.get(name).ok_or_else(|| {
            let message = format!("the fact of `{}` has no object `{name}`", self.stage);
            Failure::permanent("bad-fact", message)
        })
    }
}

fn stopped() -> Failure {
    Failure::transient("stopped before it was done")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn interrupted(stop: &CancellationToken) -> io::Result<()> {
    if stop.is_cancelled() { Err(io::Error::other(stopped())) } else { Ok(()) }
}

/// An object that a stage reads.
pub struct Reader {
    object: ObjectReader,
    chunk: Bytes,
    stop: CancellationToken,
    runtime: Handle,
}

impl io::Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            interrupted(&self.stop)?;
            let next = self.runtime.block_on(self.object.next()).map_err(io::Error::other)?;
            let Some(chunk) = next else { return Ok(0) };
            self.chunk = chunk;
        }
        let length = into.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

impl Reader {
    /// Reads what is left, so that the whole object has been verified.
    pub fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink()).map(drop)
    }
}

/// Takes note of it if there was no room.
fn noting<T>(no_room: &AtomicBool, stored: Result<T, BusError>) -> Result<T, BusError> {
    if stored.as_ref().is_err_and(|error| error.full().is_some()) {
        no_room.store(true, Ordering::Relaxed);
    }
    stored
}

/// An object that a stage writes.
pub struct Writer {
    object: ObjectWriter,
    name: String,
    objects: Arc<Mutex<BTreeMap<String, ObjectRef>>>,
    no_room: Arc<AtomicBool>,
    stop: CancellationToken,
    runtime: Handle,
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        interrupted(&self.stop)?;
        let written = self.runtime.block_on(self.object.write(bytes));
        noting(&self.no_room, written).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// Stores the last bytes. An object that is not finished is as if it had never been begun.
    pub fn finish(self) -> Result<ObjectRef, Failure> {
        let object = noting(&self.no_room, self.runtime.block_on(self.object.finish()))?;
        lock(&self.objects).insert(self.name, object.clone());
        Ok(object)
    }
}
