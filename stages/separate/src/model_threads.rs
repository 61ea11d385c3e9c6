//! The threads that own the model, a clone each: a tensor may move between threads, but not be
//! shared. Clones share their weights.
//!
//! On the CPU each computes with itself alone, and there are as many as shards are to be separated
//! at a time. That wastes nothing on waiting for each other within a layer, and a shard has the
//! same bytes whatever the number of threads. On a GPU there is one.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use audio::{Shard, Waveform};
use demucs::{Demucs, Mix, SeparateError};
use separation::Model;

use crate::config::{Config, StartError};
use crate::metrics;

/// A shard to be separated.
pub(crate) struct Job {
    pub(crate) model: Model,
    pub(crate) mix: Mix,
    pub(crate) shard: Shard,
    pub(crate) stems: Vec<String>,
    pub(crate) progress: Box<dyn FnMut(usize, usize) -> ControlFlow<()> + Send>,
}

/// Why a shard was not separated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error(
        "this worker's catalogue has no model `{0}` with the weights that the job started with"
    )]
    NotHere(String),
    #[error(transparent)]
    Load(StartError),
    #[error(transparent)]
    Separate(SeparateError),
    #[error("the model panicked: it may be out of memory")]
    Panicked,
    #[error("the model's thread is gone")]
    Gone,
}

type Answer = Result<Vec<Waveform>, JobError>;

type Inbox = Arc<Mutex<Receiver<(Job, SyncSender<Answer>)>>>;

/// The way to the model.
pub(crate) struct ModelThreads {
    jobs: Sender<(Job, SyncSender<Answer>)>,
    threads: usize,
}

impl ModelThreads {
    /// Loads the catalogue's first model, and starts the threads that own it from then on.
    pub(crate) fn start(config: Config) -> Result<Self, StartError> {
        let threads = config.threads();
        metrics::device(config.device, config.precision);
        let first = load(&config, &config.catalogue.models()[0])?;
        tracing::info!(model = first.model.name, threads, "model loaded");
        let shelf = Arc::new(Shelf { config, loaded: Mutex::new(Some(first)) });
        let (jobs, inbox) = channel();
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..threads {
            let owner = Owner { shelf: Arc::clone(&shelf), taken: None };
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || owner.work(&inbox));
        }
        Ok(Self { jobs, threads })
    }

    /// How many shards can be separated at a time.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Separates a shard; waits for those before it.
    pub(crate) fn separate(&self, job: Job) -> Answer {
        let (answer, answered) = sync_channel(1);
        self.jobs.send((job, answer)).map_err(|_| JobError::Gone)?;
        answered.recv().map_err(|_| JobError::Gone)?
    }
}

fn next(inbox: &Inbox) -> Option<(Job, SyncSender<Answer>)> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[derive(Clone)]
struct Loaded {
    model: Model,
    demucs: Demucs,
}

/// Where the threads take the model from. One is kept: two may not fit on a GPU.
struct Shelf {
    config: Config,
    loaded: Mutex<Option<Loaded>>,
}

struct Owner {
    shelf: Arc<Shelf>,
    taken: Option<Loaded>,
}

impl Owner {
    fn work(mut self, inbox: &Inbox) {
        // What libtorch would split among threads of its own, this thread does alone.
        demucs::set_threads(NonZero::<u16>::MIN);
        while let Some((job, answer)) = next(inbox) {
            let separated = catch_unwind(AssertUnwindSafe(|| self.separate(job)));
            let separated = separated.unwrap_or_else(|_| {
                // Another model may have been half loaded: the next job takes it anew.
                self.taken = None;
                Err(JobError::Panicked)
            });
            // A task that was stopped no longer listens.
            let _ = answer.send(separated);
        }
    }

    fn separate(&mut self, job: Job) -> Answer {
        let Job { model, mix, shard, stems, progress } = job;
        let demucs = self.model(&model)?;
        demucs.separate_shard(&mix, &shard, &stems, progress).map_err(JobError::Separate)
    }

    /// The model, taken from the shelf now if another one was in use.
    fn model(&mut self, wanted: &Model) -> Result<&Demucs, JobError> {
        if self.taken.as_ref().is_none_or(|taken| taken.model.sha256 != wanted.sha256) {
            self.taken = None;
            self.taken = Some(self.shelf.take(wanted)?);
        }
        let taken = self.taken.as_ref().expect("it has just been taken");
        Ok(&taken.demucs)
    }
}

impl Shelf {
    /// A clone of the model, loaded now if another one is on the shelf.
    fn take(&self, wanted: &Model) -> Result<Loaded, JobError> {
        let known = self.config.catalogue.find(&wanted.name);
        let known = known.filter(|model| model.sha256 == wanted.sha256);
        let known = known.ok_or_else(|| JobError::NotHere(wanted.name.clone()))?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.as_ref().is_none_or(|loaded| loaded.model.sha256 != wanted.sha256) {
            *loaded = None;
            *loaded = Some(load(&self.config, known).map_err(JobError::Load)?);
        }
        Ok(loaded.clone().expect("it has just been loaded"))
    }
}

fn load(config: &Config, model: &Model) -> Result<Loaded, StartError> {
    let path = config.catalogue.verified_weights(model)?;
    let fail = |reason: String| StartError::Load { name: model.name.clone(), reason };
    let began = Instant::now();
    let files = models::Model::find(&path, None).map_err(|error| fail(error.to_string()))?;
    let demucs = Demucs::load_model(&files, config.device, config.precision)
        .map_err(|error| fail(error.to_string()))?;
    metrics::loaded(&model.name, began.elapsed());
    Ok(Loaded { model: model.clone(), demucs })
}
