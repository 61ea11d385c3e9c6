//! Sound as Stemflow knows it.
//!
//! A [`Waveform`] is stereo at 44.1 kHz, always. A [`Grid`] says how a song is cut into the
//! segments that the model sees and how their results are laid over each other again.
//!
//! "Frame" is one sample of each channel; lengths are counted in frames everywhere.

mod check;
mod cut;
mod decode;
mod encode;
mod grid;
mod join;
mod stats;
mod tags;
mod wav;
mod waveform;

pub use check::{Contract, ContractError, Report};
pub use cut::{Cutter, Shard};
pub use decode::{DecodeError, Facts, Song};
pub use encode::{EncodeError, Format, FormatError, StemWriter};
pub use grid::{Grid, GridError, Shards, Window};
pub use join::{Join, JoinError};
pub use stats::Stats;
pub use tags::Tags;
pub use wav::{WAV_MAX_FRAMES, WavError, WavReader, WavWriter};
pub use waveform::{CHANNELS, SAMPLE_RATE, Waveform};
