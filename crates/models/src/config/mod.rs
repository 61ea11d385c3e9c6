//! How a network is built: the arguments that Demucs called its constructor with, under the names
//! they have there, with the defaults of Demucs 4.1.
//!
//! Each option is read, or makes no difference to a finished model, or is refused by name. None is
//! passed over. What is refused is what no published model uses.

mod demucs;
mod hdemucs;
mod htdemucs;

use std::fmt;

use serde_json::{Map, Value, json};

use crate::options::{Options, Refused};

pub use demucs::Demucs;
pub use hdemucs::HDemucs;
pub use htdemucs::HtDemucs;

/// Channels of the sound that every published model takes and gives.
pub const CHANNELS: i64 = 2;

/// Frames per second of that sound.
pub const SAMPLE_RATE: i64 = 44_100;

/// Heads of the local attention inside residual branches.
pub const LOCAL_HEADS: i64 = 4;

/// A longer segment would not fit the memory of any machine.
pub(crate) const MAX_SEGMENT_SECONDS: i64 = 600;

/// The options of one network, of any of the three architectures.
#[derive(Clone, Debug, PartialEq)]
pub enum Config {
    /// Hybrid Transformer Demucs (`demucs/htdemucs.py: HTDemucs`).
    HtDemucs(HtDemucs),
    /// Hybrid Demucs (`demucs/hdemucs.py: HDemucs`).
    HDemucs(HDemucs),
    /// Demucs over the waveform alone (`demucs/demucs.py: Demucs`).
    Demucs(Demucs),
}

/// Why a network cannot be built.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigError {
    /// It is of a class that is not implemented.
    Class(String),
    /// Its options ask for what is not implemented, or make no sense.
    Options(Vec<Refused>),
}

/// How many frames a network looks at, to separate a chunk of a song
/// (`demucs/apply.py: apply_model` with `split=False`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// A whole segment, however short the chunk.
    Segment,
    /// The least of `rest + step`, `rest + 2·step`, … that holds the chunk.
    Steps {
        /// From one length to the next.
        step: usize,
        /// What is left of each after its steps.
        rest: usize,
    },
}

impl Config {
    /// Reads the options from the call `class(*args, **kwargs)`; `class` is a full name, as
    /// `demucs.htdemucs.HTDemucs`.
    pub fn new(
        class: &str,
        args: Vec<Value>,
        kwargs: Map<String, Value>,
    ) -> Result<Self, ConfigError> {
        let config = match class {
            "demucs.htdemucs.HTDemucs" => HtDemucs::new(args, kwargs).map(Self::HtDemucs),
            "demucs.hdemucs.HDemucs" => HDemucs::new(args, kwargs).map(Self::HDemucs),
            "demucs.demucs.Demucs" => Demucs::new(args, kwargs).map(Self::Demucs),
            other => return Err(ConfigError::Class(other.to_owned())),
        };
        config.map_err(ConfigError::Options)
    }

    /// What a mix is separated into, in the order of the network's output.
    pub fn sources(&self) -> &[String] {
        match self {
            Self::HtDemucs(config) => &config.sources,
            Self::HDemucs(config) => &config.sources,
            Self::Demucs(config) => &config.sources,
        }
    }

    /// Frames of a segment, if nobody asks for another: what the network was trained with, or
    /// works best with.
    pub fn segment(&self) -> usize {
        let segment = match self {
            Self::HtDemucs(config) => config.segment,
            Self::HDemucs(config) => config.segment,
            Self::Demucs(config) => config.segment,
        };
        segment as usize
    }

    /// Frames of the longest segment that the network can take.
    pub fn longest_segment(&self) -> usize {
        match self {
            Self::HtDemucs(config) => config.segment as usize,
            Self::HDemucs(_) | Self::Demucs(_) => (MAX_SEGMENT_SECONDS * SAMPLE_RATE) as usize,
        }
    }

    /// How many frames the network looks at.
    pub fn fit(&self) -> Fit {
        match self {
            Self::HtDemucs(_) => Fit::Segment,
            Self::HDemucs(_) => Fit::Steps { step: 1, rest: 0 },
            Self::Demucs(config) => config.fit(),
        }
    }
}

impl Fit {
    /// The frames that are looked at for a chunk of `chunk` frames, where segments are of
    /// `segment`.
    pub fn length(self, chunk: usize, segment: usize) -> usize {
        match self {
            Self::Segment => segment,
            Self::Steps { step, rest } => {
                rest + step * chunk.saturating_sub(rest).div_ceil(step).max(1)
            }
        }
    }

    /// The most frames that are looked at before a chunk and after it, where segments are of
    /// `segment`. A chunk that is shorter than its segment ends with the song.
    pub fn reach(self, segment: usize) -> [usize; 2] {
        match self {
            Self::Segment => [segment / 2, 0],
            Self::Steps { step, rest } => {
                let most = (rest + step - 1) / 2;
                [most, (rest + step) / 2]
            }
        }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Class(class) => write!(
                f,
                "{class} is not implemented: demucs.htdemucs.HTDemucs, demucs.hdemucs.HDemucs and \
                 demucs.demucs.Demucs are"
            ),
            Self::Options(refused) => {
                let refused: Vec<String> = refused.iter().map(Refused::to_string).collect();
                write!(f, "this model cannot be built: {}", refused.join(", "))
            }
        }
    }
}

/// The residual branches inside layers (`demucs/demucs.py: DConv`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DConv {
    /// Whether encoder layers have one.
    pub in_encoder: bool,
    /// Whether decoder layers have one.
    pub in_decoder: bool,
    /// Its layers.
    pub depth: i64,
    /// Channels outside per channel inside.
    pub compress: i64,
}

impl DConv {
    fn read(options: &mut Options, default_compress: i64) -> Self {
        let mode = options.integer("dconv_mode", 1, 0..=3);
        Self {
            in_encoder: mode & 1 != 0,
            in_decoder: mode & 2 != 0,
            depth: options.integer("dconv_depth", 2, 1..=16),
            compress: options.integer("dconv_comp", default_compress, 1..=4096),
        }
    }

    fn refuse_misfits(&self, options: &mut Options, least_channels: i64) {
        if self.compress > least_channels {
            let accepted = format!("the outermost layer has {least_channels} channels");
            options.refuse("dconv_comp", self.compress.into(), &accepted);
        }
    }
}

/// Layers from which on something more is in them, the outermost being 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deeper {
    /// Group norms after each convolution.
    pub norm: i64,
    /// The groups of these norms.
    pub norm_groups: i64,
    /// An LSTM inside the residual branches.
    pub lstm: i64,
    /// Local attention inside the residual branches.
    pub attention: i64,
}

impl Deeper {
    fn read(options: &mut Options) -> Self {
        Self {
            norm: options.integer("norm_starts", 4, 0..=i64::MAX),
            norm_groups: options.integer("norm_groups", 4, 1..=4096),
            lstm: options.integer("dconv_lstm", 4, 0..=i64::MAX),
            attention: options.integer("dconv_attn", 4, 0..=i64::MAX),
        }
    }

    /// The groups of the norms of layer `layer`, if it has any.
    pub fn norm_groups_of(&self, layer: i64) -> Option<i64> {
        (layer >= self.norm).then_some(self.norm_groups)
    }

    /// Refuses groups and heads that do not divide their channels; `channels` tells those of each
    /// of the layers.
    fn refuse_misfits(
        &self,
        options: &mut Options,
        dconv: &DConv,
        channels: impl Fn(i64) -> i64,
        layers: i64,
    ) {
        let mut deep = (0..layers).map(|layer| (layer, channels(layer)));
        let normed =
            |(layer, channels): (i64, i64)| layer >= self.norm && channels % self.norm_groups != 0;
        if deep.clone().any(normed) {
            let accepted = "has to divide the channels of each layer with norms";
            options.refuse("norm_groups", self.norm_groups.into(), accepted);
        }
        let attending = |(layer, channels): (i64, i64)| {
            layer >= self.attention && channels / dconv.compress % LOCAL_HEADS != 0
        };
        if deep.any(attending) {
            let accepted = "channels inside have to be a multiple of 4, the heads of attention";
            options.refuse("dconv_comp", dconv.compress.into(), accepted);
        }
    }
}

/// Refuses sound of another kind.
fn refuse_other_sound(options: &mut Options) {
    options.only("audio_channels", CHANNELS);
    options.only("samplerate", SAMPLE_RATE);
}

/// The names of the sources. They become names of files and of streams: no other characters.
fn sources(options: &mut Options) -> Vec<String> {
    let value = options.take("sources").unwrap_or_default();
    let sources: Vec<String> = serde_json::from_value(value.clone()).unwrap_or_default();
    let plain = |name: &String| {
        let of_names = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !name.is_empty() && name.chars().all(of_names)
    };
    let unique = |name: &String| sources.iter().filter(|other| *other == name).count() == 1;
    if sources.is_empty() || !sources.iter().all(|name| plain(name) && unique(name)) {
        options.refuse("sources", value, "has to be a list of different plain names");
    }
    sources
}

/// The segment in frames, from seconds given as a number or an exact fraction.
fn segment(options: &mut Options, default_seconds: i64) -> i64 {
    let value = options.take("segment").unwrap_or_else(|| json!(default_seconds));
    match frames(&value) {
        Some(frames) if (1..=MAX_SEGMENT_SECONDS * SAMPLE_RATE).contains(&frames) => frames,
        _ => {
            let accepted = format!("has to be seconds, at most {MAX_SEGMENT_SECONDS}");
            options.refuse("segment", value, &accepted);
            SAMPLE_RATE
        }
    }
}

fn frames(seconds: &Value) -> Option<i64> {
    if seconds["_type"] != "fraction" {
        return seconds.as_f64().map(|seconds| (seconds * SAMPLE_RATE as f64) as i64);
    }
    let [numerator, denominator] = ["numerator", "denominator"].map(|key| seconds[key].as_i64());
    let scaled = numerator?.checked_mul(SAMPLE_RATE)?;
    scaled.checked_div(denominator?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_three_classes_are_known() {
        let error = Config::new("demucs.wdemucs.WDemucs", Vec::new(), Map::new()).unwrap_err();
        assert_eq!(error, ConfigError::Class("demucs.wdemucs.WDemucs".to_owned()));
    }

    #[test]
    fn a_fit_holds_the_chunk_and_stays_in_reach() {
        let fits = [Fit::Segment, Fit::Steps { step: 1, rest: 0 }, Fit::Steps { step: 8, rest: 5 }];
        for fit in fits {
            for chunk in 1..=100 {
                let length = fit.length(chunk, 100);
                assert!(length >= chunk, "{fit:?} {chunk}");
                let [before, after] = fit.reach(100);
                let missing = length - chunk;
                assert!(missing / 2 <= before, "{fit:?} {chunk}");
                // After the end of the song there is only silence to be looked at.
                assert!(fit == Fit::Segment || missing - missing / 2 <= after, "{fit:?} {chunk}");
            }
        }
        assert_eq!(Fit::Steps { step: 1, rest: 0 }.reach(100), [0, 0]);
    }
}
