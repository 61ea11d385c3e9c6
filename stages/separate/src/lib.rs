//! A shard of a song to one weighted partial sum per stem.
//!
//! ```text
//! shard's WAV object ─► Demucs, segment by segment ─► one WAV object per stem + ShardPeaks
//! ```

mod config;
mod metrics;
mod model_threads;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use audio::{Shard, Shards, Shifts, WavReader, WavWriter, Waveform};
use demucs::{Mix, SeparateError};
use separation::{AUDIO_SECONDS, Model, Plan, ShardPeaks, Spec};
use workflow::{Bucket, Failure, Output, Stage, Task};

pub use config::StartError;

use config::Config;
use model_threads::{Job, JobError, ModelThreads};

/// The stage `separate`.
pub struct Separate {
    model: ModelThreads,
}

impl Separate {
    /// Reads the environment and loads the first model of the catalogue.
    pub fn from_env() -> Result<Self, StartError> {
        Ok(Self { model: ModelThreads::start(Config::from_env()?)? })
    }
}

impl Stage for Separate {
    fn name(&self) -> &'static str {
        "separate"
    }

    fn concurrency(&self) -> usize {
        self.model.threads()
    }

    fn unit(&self) -> Option<&'static str> {
        Some(AUDIO_SECONDS)
    }

    fn run(&self, task: &Task) -> Result<Output, Failure> {
        let spec: Spec = task.spec()?;
        let decoded = task.fact("decode")?;
        let plan: Plan = decoded.data()?;
        let mix = mix(&spec, &plan)?;
        let index = task.key().parse().map_err(permanent)?;
        if index >= mix.shards.count(mix.frames) {
            return Err(permanent(format!("the song has no shard {index}")));
        }
        let mut wav = WavReader::new(task.open(decoded.object(&format!("{}.wav", task.key()))?))
            .map_err(transient)?;
        let audio = wav.read_all().map_err(transient)?;
        wav.finish().map_err(transient)?.finish()?;

        let start = mix.shards.input(index, mix.frames).start;
        let shard = Shard { index, start, audio };
        let sums = self.separate(task, &spec, &mix, shard)?;

        let parts = mix.shards.parts(index, mix.frames);
        let mut peaks = BTreeMap::new();
        for (stem, sum) in spec.stems.iter().zip(&sums) {
            peaks.insert(stem.clone(), peak(sum, &parts)?);
            store(task, stem, sum)?;
        }
        let part = plan.seconds() / mix.shards.count(mix.frames) as f64;
        Ok(Output::of(&ShardPeaks { peaks })?.with_amount(part))
    }
}

impl Separate {
    fn separate(
        &self,
        task: &Task,
        spec: &Spec,
        mix: &Mix,
        shard: Shard,
    ) -> Result<Vec<Waveform>, Failure> {
        let progress = task.reporter();
        let job = Job {
            model: spec.model.clone(),
            mix: *mix,
            shard,
            stems: spec.stems.clone(),
            progress: Box::new(move |done, total| {
                progress.tell(done as f64 / total as f64);
                if progress.is_stopped() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            }),
        };
        self.model.separate(job).map_err(|error| match error {
            JobError::Separate(SeparateError::Cancelled) => transient("stopped"),
            JobError::Separate(error) => permanent(error),
            error => transient(error),
        })
    }
}

fn mix(spec: &Spec, plan: &Plan) -> Result<Mix, Failure> {
    let Plan { frames, segments_per_shard, mean, std, .. } = *plan;
    let Model { segment_frames, reach_frames, .. } = spec.model;
    let shards =
        Shards::cut(segment_frames, spec.overlap, segments_per_shard).map_err(permanent)?;
    let shards = shards.shifted(Shifts::times(spec.shifts)).reaching(reach_frames);
    Ok(Mix { frames, mean, std, shards })
}

/// The greatest absolute sample of the stem that `sum` is a part of. Where the shard overlaps its
/// neighbours it is a bound: a weighted mean is nowhere greater than the greatest of its parts.
fn peak(sum: &Waveform, parts: &[f32]) -> Result<f32, Failure> {
    let mut peak = 0.0_f32;
    for plane in sum.planes() {
        for (sample, part) in plane.iter().zip(parts) {
            // Where silence stands before the song, a shard may have no part in its first frames.
            let sample = if *part == 0.0 { 0.0 } else { (sample / part).abs() };
            if !sample.is_finite() {
                return Err(transient("the model gave a sample that is not finite"));
            }
            peak = peak.max(sample);
        }
    }
    Ok(peak)
}

fn store(task: &Task, stem: &str, sum: &Waveform) -> Result<(), Failure> {
    let object = task.create(Bucket::Work, &format!("{stem}.wav"));
    let mut wav = WavWriter::new(object, sum.frames() as u64).map_err(transient)?;
    wav.write(sum).map_err(transient)?;
    wav.finish().map_err(transient)?.finish()?;
    Ok(())
}

fn transient(error: impl ToString) -> Failure {
    Failure::transient(error.to_string())
}

fn permanent(error: impl ToString) -> Failure {
    Failure::permanent("bad-shard", error.to_string())
}
