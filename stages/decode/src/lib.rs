//! Any audio file to 44.1 kHz stereo, cut into shards.
//!
//! ```text
//! input object ─► temporary file ─► Song ─► Cutter ─► one WAV object per shard + Plan
//! ```

use std::time::Duration;

use audio::{Cutter, DecodeError, SAMPLE_RATE, Shard, Shards, Shifts, Song, Stats, WavWriter};
use separation::{AUDIO_SECONDS, Model, Plan, Source, Spec};
use workflow::{Bucket, Failure, Lane, Output, Stage, Task};

/// How much of a song goes into one shard: enough that moving it costs little beside separating
/// it, little enough that many workers can share a song and that a lost one loses little.
const SHARD_SECONDS: usize = 10;

/// A song that is longer goes on in the lane `batch`, if the environment does not say otherwise.
pub const LONG: Duration = Duration::from_secs(20 * 60);

/// The stage `decode`.
pub struct Decode {
    /// A song that is longer goes on in the lane `batch`: it is not to stand before short ones.
    pub long: Duration,
}

impl Stage for Decode {
    fn name(&self) -> &'static str {
        "decode"
    }

    fn unit(&self) -> Option<&'static str> {
        Some(AUDIO_SECONDS)
    }

    fn run(&self, task: &Task) -> Result<Output, Failure> {
        let spec: Spec = task.spec()?;
        let segments_per_shard = segments_per_shard(&spec)?;
        // As a file: some formats have to be read from their end.
        let mut song = Song::open(task.fetch(task.input())?).map_err(failure)?;
        let mut stats = Stats::default();
        let mut cutter = Cutter::new(shards(&spec, segments_per_shard)?);
        let mut keys = Vec::new();
        for block in song.by_ref() {
            let block = block.map_err(failure)?;
            stats.push(&block);
            cutter.push(&block);
            while let Some(shard) = cutter.ready() {
                keys.push(store(task, &shard)?);
            }
            task.check()?;
        }
        let frames = cutter.frames();
        for shard in cutter.finish() {
            keys.push(store(task, &shard)?);
        }
        let facts = song.facts();
        let plan = Plan {
            frames,
            segments_per_shard,
            mean: stats.mean(),
            std: stats.std(),
            source: Source {
                sample_rate: facts.source_rate,
                channels: facts.source_channels,
                delay_removed: facts.delay,
                padding_removed: facts.padding,
                damaged_packets: facts.skipped,
                truncated: facts.truncated,
            },
            tags: tags(song.tags()),
        };
        let seconds = plan.seconds();
        let output = Output::of(&plan)?.with_list("shard", keys).with_list("stem", spec.stems);
        Ok(output.weighing(seconds).with_amount(seconds).in_lane(self.lane(seconds)))
    }
}

impl Decode {
    fn lane(&self, seconds: f64) -> Lane {
        if seconds > self.long.as_secs_f64() { Lane::Batch } else { Lane::Interactive }
    }
}

fn segments_per_shard(spec: &Spec) -> Result<usize, Failure> {
    let stride = shards(spec, 1)?.grid().stride();
    Ok((SHARD_SECONDS * SAMPLE_RATE as usize / stride).max(1))
}

fn shards(spec: &Spec, segments_per_shard: usize) -> Result<Shards, Failure> {
    let Model { segment_frames, reach_frames, .. } = spec.model;
    let shards = Shards::cut(segment_frames, spec.overlap, segments_per_shard)
        .map_err(|error| Failure::permanent("bad-options", error.to_string()))?;
    Ok(shards.shifted(Shifts::times(spec.shifts)).reaching(reach_frames))
}

/// Stores a shard as the object that bears its key.
fn store(task: &Task, shard: &Shard) -> Result<String, Failure> {
    let key = format!("{:03}", shard.index);
    let frames = shard.audio.frames() as u64;
    let object = task.create(Bucket::Work, &format!("{key}.wav"));
    let mut wav = WavWriter::new(object, frames).map_err(write_failure)?;
    wav.write(&shard.audio).map_err(write_failure)?;
    wav.finish().map_err(write_failure)?.finish()?;
    Ok(key)
}

fn write_failure(error: impl std::fmt::Display) -> Failure {
    Failure::transient(format!("failed to store a shard: {error}"))
}

fn failure(error: DecodeError) -> Failure {
    let code = match error {
        DecodeError::Io(_) => return Failure::transient(error.to_string()),
        DecodeError::Unsupported(_) => "not-audio",
        DecodeError::Empty => "empty",
        DecodeError::Damaged(_) => "damaged",
    };
    Failure::permanent(code, error.to_string())
}

fn tags(tags: &audio::Tags) -> std::collections::BTreeMap<String, String> {
    let tags = serde_json::to_value(tags).and_then(serde_json::from_value);
    tags.expect("tags are a map of texts")
}
