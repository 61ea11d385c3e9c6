use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use workflow::ObjectRef;

/// What decode has found out about a song, and how it is cut. The list `shard` beside it has one
/// key per shard, `stem` one per wanted stem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The song's length at 44.1 kHz.
    pub frames: usize,
    /// Segments of the model in one shard; the last shard may have fewer.
    pub segments_per_shard: usize,
    /// Mean of the mono mix: the model sees the song without it.
    pub mean: f64,
    /// Standard deviation of the mono mix: the model sees the song divided by it.
    pub std: f64,
    /// What the song was before it was decoded.
    pub source: Source,
    /// Title, artist, album: they travel into the stems.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What the stages count their work in: seconds of audio, as they would play.
pub const AUDIO_SECONDS: &str = "audio_seconds";

impl Plan {
    /// How long the song plays.
    pub fn seconds(&self) -> f64 {
        self.frames as f64 / 44_100.0
    }
}

/// A song as it came in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Frames per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: usize,
    /// Frames of encoder delay that were removed from its start.
    pub delay_removed: u64,
    /// Frames of padding that were removed from its end.
    pub padding_removed: u64,
    /// Packets that could not be decoded and were passed over.
    pub damaged_packets: u64,
    /// True if the file ends before its own header says.
    #[serde(default)]
    pub truncated: bool,
}

/// What separate says of one shard. Its partial sums are the objects `<stem>.wav`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardPeaks {
    /// The greatest absolute sample of each stem, or where the shard overlaps its neighbours a
    /// bound of it.
    pub peaks: BTreeMap<String, f32>,
}

/// What encode says of one stem. The file is its one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StemFile {
    /// The stem.
    pub stem: String,
    /// The file's name, `vocals.mp3`.
    pub file: String,
    /// What HTTP calls its form.
    pub media_type: String,
    /// Its length.
    pub frames: usize,
    /// What all stems were multiplied with, so that none clips.
    pub gain: f32,
    /// The greatest absolute sample that went into the file.
    pub peak: f32,
}

/// What publish has checked: the result of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The length of the song and of each stem.
    pub frames: usize,
    /// The same in seconds.
    pub seconds: f64,
    /// Frames per second of each stem.
    pub sample_rate: u32,
    /// The name of the model.
    pub model: String,
    /// The model's identity: SHA-256 of its weights.
    pub model_sha256: String,
    /// What all stems were multiplied with, so that none clips; 1 for most songs.
    pub gain: f32,
    /// What the song was before it was decoded.
    pub source: Source,
    /// Title, artist, album.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The stems, in the order of the model's sources.
    pub stems: Vec<ManifestStem>,
}

/// One stem of a [`Manifest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestStem {
    /// The stem.
    pub stem: String,
    /// The file's name, `vocals.mp3`; in the bucket `output` it is `<hash>/vocals.mp3`.
    pub file: String,
    /// What HTTP calls its form.
    pub media_type: String,
    /// The greatest absolute sample of the decoded file.
    pub peak: f32,
    /// Where it lies.
    pub object: ObjectRef,
    /// True once someone has removed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

impl Manifest {
    /// The stem that a client calls `track`: `vocals`, `vocals.mp3`, or `base` for `bass`.
    pub fn stem(&self, track: &str) -> Option<&ManifestStem> {
        let name = track.split_once('.').map_or(track, |(name, _)| name);
        let stem = self.stems.iter().find(|stem| stem.stem == crate::canonical_stem(name))?;
        (name == track || stem.file.ends_with(&track[name.len()..])).then_some(stem)
    }

    /// True while no stem has been removed.
    pub fn is_whole(&self) -> bool {
        self.stems.iter().all(|stem| !stem.removed)
    }

    /// The name of a stem's file in the bucket `output`.
    pub fn output_name(job: &workflow::JobId, file: &str) -> String {
        format!("{job}/{file}")
    }
}
