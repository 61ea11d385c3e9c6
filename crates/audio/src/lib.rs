//! Sound as Stemflow knows it.
//!
//! A [`Waveform`] is stereo at 44.1 kHz, always; "frame" is one sample of each channel, and
//! lengths are counted in frames everywhere. In the order in which a song passes through:
//!
//! - [`Song`] decodes whatever was uploaded, [`Stats`] measures it on the way;
//! - [`Cutter`] cuts it into shards, by a [`Grid`] of the segments that the model sees;
//! - [`WavWriter`] and [`WavReader`] carry shards from stage to stage;
//! - [`Join`] lays what the model made of them over each other again;
//! - [`StemWriter`] makes the file that people download, and [`Contract`] checks it.
//!
//! All of it streams: memory does not grow with the length of the song.

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
pub use grid::{Grid, GridError, Piece, Shards, Shifts};
pub use join::{Join, JoinError};
pub use stats::Stats;
pub use tags::Tags;
pub use wav::{WAV_MAX_FRAMES, WavError, WavReader, WavWriter};
pub use waveform::{CHANNELS, SAMPLE_RATE, Waveform};
