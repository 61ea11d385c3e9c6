//! The shards of one stem laid over each other, as a file.
//!
//! ```text
//! one WAV object per shard ─► Join ─► gain ─► StemWriter ─► temporary file ─► output object + StemFile
//! ```

use std::fs::File;
use std::io::{self, Seek};

use audio::{Join, Shards, Shifts, StemWriter, Tags, WavReader};
use separation::{AUDIO_SECONDS, Format, Plan, ShardPeaks, Spec, StemFile};
use workflow::{Bucket, Failure, Output, Stage, Task};

/// The stage `encode`.
pub struct Encode;

impl Stage for Encode {
    fn name(&self) -> &'static str {
        "encode"
    }

    fn concurrency(&self) -> usize {
        2
    }

    fn unit(&self) -> Option<&'static str> {
        Some(AUDIO_SECONDS)
    }

    fn run(&self, task: &Task) -> Result<Output, Failure> {
        let spec: Spec = task.spec()?;
        let plan: Plan = task.fact("decode")?.data()?;
        let stem = task.key();
        let file = format!("{stem}.wav");
        let mut loudest = 1.0_f32;
        let shards = task.facts_as("separate", |shard| {
            let ShardPeaks { peaks } = shard.data()?;
            loudest = peaks.into_values().fold(loudest, f32::max);
            shard.object(&file).cloned()
        })?;
        let gain = gain(&spec, loudest);

        let mut join = Join::new(cut(&spec, &plan)?, plan.frames);
        let mut out = open(&spec, &plan, stem)?;
        let mut peak = 0.0_f32;
        for (index, shard) in shards.iter().enumerate() {
            let mut wav = WavReader::new(task.open(shard)).map_err(transient)?;
            let sum = wav.read_all().map_err(transient)?;
            wav.finish().map_err(transient)?.finish()?;
            let mut ready = join.push(&sum).map_err(broken)?;
            ready.scale(gain);
            peak = peak.max(ready.peak());
            out.write(&ready).map_err(transient)?;
            task.check()?;
            task.progress((index + 1) as f64 / shards.len() as f64);
        }
        join.finish().map_err(broken)?;
        let mut file = out.finish().map_err(transient)?;

        let name = format!("{stem}.{}", spec.format.extension());
        let mut object = task.create(Bucket::Output, &name);
        file.rewind()?;
        io::copy(&mut file, &mut object)?;
        object.finish()?;
        let output = Output::of(&StemFile {
            stem: stem.to_owned(),
            file: name,
            media_type: spec.format.media_type().to_owned(),
            frames: plan.frames,
            gain,
            peak,
        })?;
        Ok(output.with_amount(plan.seconds()))
    }
}

fn cut(spec: &Spec, plan: &Plan) -> Result<Shards, Failure> {
    let shards = Shards::cut(spec.model.segment_frames, spec.overlap, plan.segments_per_shard);
    Ok(shards.map_err(broken)?.shifted(Shifts::times(spec.shifts)))
}

/// What every stem is multiplied with: less than 1 only if one of them would clip. Each stem's
/// task comes to the same number, so that their balance stays.
fn gain(spec: &Spec, loudest: f32) -> f32 {
    match spec.format {
        // Floating point does not clip.
        Format::Wav => 1.0,
        _ => 1.0 / loudest,
    }
}

fn open(spec: &Spec, plan: &Plan, stem: &str) -> Result<StemWriter<File>, Failure> {
    let format = audio::Format::new(spec.format.extension(), spec.bitrate).map_err(broken)?;
    let tags = serde_json::to_value(&plan.tags).and_then(serde_json::from_value);
    let tags: Tags = tags.map_err(broken)?;
    let file = tempfile::tempfile()?;
    StemWriter::new(format, plan.frames as u64, &tags.for_stem(stem), file).map_err(transient)
}

fn transient(error: impl ToString) -> Failure {
    Failure::transient(error.to_string())
}

/// What the stages before this one have left does not fit together.
fn broken(error: impl ToString) -> Failure {
    Failure::permanent("broken-shards", error.to_string())
}
