//! Demucs: a stereo [`Waveform`] of music in, one per source out.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let song = audio::Waveform::silence(1);
//! use demucs::{Demucs, Device, Options};
//!
//! let demucs = Demucs::load("models/mini.safetensors".as_ref(), Device::Cpu)?;
//! let stems = demucs.separate(&song, &Options::default())?;
//! let voice = stems.get("vocals").expect("this model has vocals");
//! # Ok(())
//! # }
//! ```
//!
//! All models that Demucs 4.1 for Python publishes can be loaded, of each of its three
//! architectures: Hybrid Transformer Demucs, Hybrid Demucs, and Demucs over the waveform alone; as
//! single networks and as bags; in the form of safetensors and in the older one, quantized or not.
//! The same input, weights and options give what Python gives, to 1e-4 at every sample. Where the
//! code follows a piece of it, its comment names the file and the function.
//!
//! # A song that does not fit into memory
//!
//! [`Demucs::stream`] takes a song block by block, and gives its stems as they become ready. What
//! it has to know beforehand, the length and the loudness, is gathered by reading the song once:
//!
//! ```no_run
//! # use audio::{Stats, Waveform};
//! # use demucs::{Demucs, Device, Options};
//! # fn song() -> Vec<Waveform> { Vec::new() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let demucs = Demucs::load("models/mini.safetensors".as_ref(), Device::Cpu)?;
//! let mut stats = Stats::default();
//! for block in song() {
//!     stats.push(&block);
//! }
//! let mut stream = demucs.stream(&stats, &["vocals"], &Options::default())?;
//! for block in song() {
//!     let stems = stream.push(&block)?;
//!     // … what is ready of the vocals …
//! }
//! let rest = stream.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! Only what is wanted is computed: of a bag in which one network knows about vocals, that one.
//!
//! # A song on several machines
//!
//! [`audio::Shards`] cuts a song into runs of whole segments, [`Demucs::separate_shard`] separates
//! one of them, wherever, and [`audio::Join`] makes a stem of the results, the same bytes as those
//! of the whole song.
//!
//! # How fast, and how exactly
//!
//! - On the CPU, segments are computed side by side, each by a thread of its own
//!   ([`Options::threads`]); a thread holds about half a gigabyte with a network of the size of
//!   `htdemucs`. The result does not depend on their number.
//! - On a GPU, segments go through the network in batches ([`Options::batch`]), in numbers of 16
//!   bits ([`Precision`]).
//! - [`Options::shifts`] trades time for a little quality: the same seed gives the same bytes.
//!
//! `scripts/bench-demucs` holds it against Python.
//!
//! # How it is built
//!
//! From the outside in: `load`, a model's files become a [`Demucs`]; [`Stream`], blocks become
//! segments and segments stems; `apply`, what a segment is shown and what it has to say; `workers`,
//! who computes; `net`, one stretch of sound through one network. What is read from files, and how
//! a network is built, is in the crate [`models`], which knows nothing of libtorch.
//!
//! This is the only crate that does. How a program links it is said in `build.rs`.

mod apply;
mod device;
mod error;
mod load;
mod net;
mod options;
mod precision;
mod stream;
mod workers;

use std::num::NonZero;
use std::ops::ControlFlow;

use audio::{Shard, Stats, Waveform};
use models::Fit;

pub use device::{Device, DeviceError};
pub use error::{LoadError, Mismatch, SeparateError};
pub use options::Options;
pub use precision::{Precision, UnknownPrecision};
pub use stream::{Mix, Stream};

use apply::Run;
use net::Net;
use workers::Workers;

/// A model, loaded and ready: a network, or a bag of several.
///
/// It can move to another thread, and belongs to one at a time. Its clones share their weights.
///
/// # Panics
/// Separation panics if libtorch itself fails in the middle of a network, for instance for want
/// of memory.
#[derive(Clone, Debug)]
pub struct Demucs {
    sources: Vec<String>,
    segment_frames: usize,
    longest_segment: usize,
    on: Device,
    device: tch::Device,
    nets: Vec<Voice>,
}

/// A network of a bag.
#[derive(Clone, Debug)]
struct Voice {
    net: Net,
    fit: Fit,
    /// How much it has to say about each source: over all networks this adds up to 1.
    say: Vec<f32>,
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
    /// What this model separates a mix into, in its order.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// How many frames this model takes at a time, unless it is asked for others.
    pub fn segment_frames(&self) -> usize {
        self.segment_frames
    }

    /// The most frames that this model can take at a time.
    pub fn longest_segment(&self) -> usize {
        self.longest_segment
    }

    /// Where this model computes.
    pub fn device(&self) -> Device {
        self.on
    }

    /// Separates a whole song into all sources.
    ///
    /// This is what `demucs.api.Separator.separate_tensor` computes.
    pub fn separate(&self, mix: &Waveform, options: &Options) -> Result<Stems, SeparateError> {
        let mut stats = Stats::default();
        stats.push(mix);
        let mut stream = self.stream(&stats, &self.sources, options)?;
        let mut stems = stream.push(mix)?;
        let rest = stream.finish()?;
        for ((_, stem), (_, rest)) in stems.0.iter_mut().zip(&rest.0) {
            stem.extend(rest);
        }
        Ok(stems)
    }

    /// Separates a song while it comes, into the sources in `wanted`, in that order, without ever
    /// holding it. Its length, mean and deviation have to be known: they are gathered by reading it
    /// once before.
    pub fn stream<Name: AsRef<str>>(
        &self,
        stats: &Stats,
        wanted: &[Name],
        options: &Options,
    ) -> Result<Stream<'_>, SeparateError> {
        Stream::new(self, stats, self.indices(wanted)?, options)
    }

    /// Separates one shard of a song, on the thread that asks: for each source in `wanted`, in that
    /// order, what the shard's segments have to give to it, in the scale of the song. It covers
    /// [`Shards::output`](audio::Shards::output); [`audio::Join`] makes stems of such sums.
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
        self.refuse_longer(mix.shards.grid().segment())?;
        let wanted = self.indices(wanted)?;
        let run = Run::new(self, mix, shard)?;
        let workers = match self.on {
            Device::Cpu => Workers::HERE,
            Device::Cuda(_) => Options::default().workers(self.on),
        };
        self.sums(&run, &wanted, &workers, progress)
    }

    fn refuse_longer(&self, segment: usize) -> Result<(), SeparateError> {
        let longest = self.longest_segment;
        if segment > longest {
            return Err(SeparateError::Segment { longest, actual: segment });
        }
        Ok(())
    }

    fn indices<Name: AsRef<str>>(&self, wanted: &[Name]) -> Result<Vec<usize>, SeparateError> {
        wanted.iter().map(|name| self.index(name.as_ref())).collect()
    }

    fn index(&self, name: &str) -> Result<usize, SeparateError> {
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
