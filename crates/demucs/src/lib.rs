//! Demucs v4, the model: a stereo [`Waveform`] in, one per source out.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mix = audio::Waveform::silence(1);
//! let demucs = demucs::Demucs::load("models/mini.safetensors".as_ref(), demucs::Device::Cpu)?;
//! let stems = demucs.separate(&mix, &demucs::Options::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! The same input, weights and options give what Demucs 4.1.0 for Python gives, to 1e-4 at every
//! sample; where the code follows a piece of it, its comment names the file and the function.
//!
//! From the outside in:
//! - here: a model file becomes a [`Demucs`], which separates whole songs and single shards;
//! - `apply`: segments are cut from a song, their results weighted and added;
//! - `htdemucs`: one segment through the network, on the parts in `hdemucs` (encoder and decoder
//!   layers), `dconv`, `transformer`, `layers` and `spectrogram`;
//! - `config`, on `options`: how the network is built, as the file says;
//! - `weights`: its tensors, as the file holds them.
//!
//! This is the only crate that knows libtorch. How a program links it is said in `build.rs`.

mod apply;
mod dconv;
mod device;
mod error;
mod hdemucs;
mod htdemucs;
mod layers;
mod spectrogram;
mod transformer;
mod weights;

use std::fs;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;

use audio::{Grid, Shard, Shards, Stats, Waveform};
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;

pub use apply::Mix;
pub use device::{Device, DeviceError};
pub use error::{LoadError, Mismatch, SeparateError};
pub use models::Refused;

use apply::Run;
use htdemucs::HtDemucs;
use models::Config;
use weights::Weights;

/// The class, in Demucs for Python, of the models that are implemented.
pub(crate) const HTDEMUCS: &str = "demucs.htdemucs.HTDemucs";

/// A model, loaded and ready.
///
/// It can move to another thread, and belongs to one at a time.
///
/// # Panics
/// Separation panics if libtorch itself fails in the middle of the network, for instance for want
/// of memory.
#[derive(Debug)]
pub struct Demucs {
    sources: Vec<String>,
    segment_frames: usize,
    on: Device,
    device: tch::Device,
    model: HtDemucs,
}

/// How a song is separated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The part of each segment that it shares with the next, at least 0 and less than 1.
    pub overlap: f64,
}

impl Default for Options {
    /// Those of Demucs.
    fn default() -> Self {
        Self { overlap: 0.25 }
    }
}

/// What a song was separated into: names and waveforms as long as the song, in the order of the
/// model.
#[derive(Clone, Debug, PartialEq)]
pub struct Stems(Vec<(String, Waveform)>);

impl Stems {
    /// The stem of this name.
    pub fn get(&self, name: &str) -> Option<&Waveform> {
        self.iter().find_map(|(stem, waveform)| (stem == name).then_some(waveform))
    }

    /// All stems.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Waveform)> {
        self.0.iter().map(|(name, waveform)| (name.as_str(), waveform))
    }
}

impl Demucs {
    /// Loads a model file in the form that Demucs 4.1 publishes: safetensors, in whose metadata
    /// stand the class and the arguments of its constructor.
    pub fn load(path: &Path, device: Device) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let bytes = fs::read(path).map_err(read)?;
        let on = device;
        let device = on.open()?;

        let config = config(&bytes)?;
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let mut weights = Weights::read(&file, device)?;
        let Config::HtDemucs(config) = config else {
            return Err(LoadError::Architecture("HDemucs".to_owned()));
        };
        let model = HtDemucs::new(&mut weights.root(), &config, device);
        weights.finish().map_err(LoadError::Weights)?;
        let segment_frames = config.segment as usize;
        Ok(Self { sources: config.sources, segment_frames, on, device, model })
    }

    /// What this model separates a mix into, in its order.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// How many frames this model takes at a time: what a [`Grid`] for it is made with.
    pub fn segment_frames(&self) -> usize {
        self.segment_frames
    }

    /// Where this model computes.
    pub fn device(&self) -> Device {
        self.on
    }

    /// Separates a whole song.
    ///
    /// This is what `demucs.api.Separator.separate_tensor` computes with `shifts=0`.
    pub fn separate(&self, mix: &Waveform, options: &Options) -> Result<Stems, SeparateError> {
        let mut stats = Stats::default();
        stats.push(mix);
        let grid = Grid::new(self.segment_frames, options.overlap)?;
        let all_in_one = Shards::new(grid, usize::MAX);
        let frames = mix.frames();
        let whole = Mix { frames, mean: stats.mean(), std: stats.std(), shards: all_in_one };

        let wanted: Vec<usize> = (0..self.sources.len()).collect();
        let run = Run::whole(&whole, mix);
        let mut stems =
            self.weighted_sums(&whole, &run, &wanted, |_, _| ControlFlow::Continue(()))?;
        let weights = grid.weight_sums(0..frames, frames);
        for plane in stems.iter_mut().flat_map(Waveform::planes_mut) {
            for (sample, weight) in plane.iter_mut().zip(&weights) {
                *sample /= weight;
            }
        }
        Ok(Stems(self.sources.iter().cloned().zip(stems).collect()))
    }

    /// Separates one shard of a song: for each source in `wanted`, in that order, the weighted
    /// sum of the results of the shard's segments, in the scale of the song. It covers
    /// [`Shards::output`]; [`audio::Join`] makes stems of such sums.
    ///
    /// `progress` is told after each segment how many of how many are done, and may break off.
    ///
    /// A segment gives the same bytes whichever shard it is in. Where no more than two segments
    /// overlap (`overlap` up to 1/2), so do the stems however a song is cut into shards; above
    /// that, sums of three and more are rounded in another order.
    ///
    /// # Errors
    /// [`SeparateError::Cancelled`] if `progress` broke off, and others if mix or shard are not
    /// made for this model, or for each other.
    pub fn separate_shard<Name: AsRef<str>>(
        &self,
        mix: &Mix,
        shard: &Shard,
        wanted: &[Name],
        progress: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<Waveform>, SeparateError> {
        let (expected, actual) = (self.segment_frames, mix.shards.grid().segment());
        if expected != actual {
            return Err(SeparateError::Segment { expected, actual });
        }
        let run = Run::of(mix, shard)?;
        let wanted: Result<Vec<usize>, _> =
            wanted.iter().map(|name| self.source(name.as_ref())).collect();
        self.weighted_sums(mix, &run, &wanted?, progress)
    }

    fn source(&self, name: &str) -> Result<usize, SeparateError> {
        let unknown =
            || SeparateError::Source { name: name.to_owned(), sources: self.sources.clone() };
        self.sources.iter().position(|source| source == name).ok_or_else(unknown)
    }
}

/// Sets how many threads share the work of one operation on the CPU.
///
/// It holds for the calling thread, and for threads that have not separated anything yet: call it
/// early, or on the thread that separates.
pub fn set_threads(threads: NonZero<u16>) {
    tch::set_num_threads(i32::from(threads.get()));
}

/// The options of the model in a file.
fn config(file: &[u8]) -> Result<Config, LoadError> {
    let (_, header) = SafeTensors::read_metadata(file).map_err(damaged)?;
    let metadata = header.metadata().as_ref();
    let entry = |name: &str| {
        let entry = metadata.and_then(|metadata| metadata.get(name));
        entry.ok_or_else(|| LoadError::Format(format!("its metadata have no {name:?}")))
    };
    let klass = entry("klass")?;
    if klass != HTDEMUCS {
        return Err(LoadError::Architecture(klass.clone()));
    }
    if entry("structure").is_ok() {
        return Err(LoadError::Architecture(format!("{klass} with quantized weights")));
    }
    let args = json(entry("args")?)?;
    let kwargs = json(entry("kwargs")?)?;
    Config::new(klass, args, kwargs).map_err(|error| match error {
        models::ConfigError::Class(class) => LoadError::Architecture(class),
        models::ConfigError::Options(refused) => LoadError::Options(refused),
    })
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, LoadError> {
    serde_json::from_str(text).map_err(damaged)
}

fn damaged(error: impl std::error::Error) -> LoadError {
    LoadError::Format(error.to_string())
}
