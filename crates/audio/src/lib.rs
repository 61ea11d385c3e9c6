//! Sound as Stemflow knows it.
//!
//! A [`Waveform`] is stereo at 44.1 kHz, always. A [`Grid`] says how a song is cut into the
//! segments that the model sees and how their results are laid over each other again.
//!
//! "Frame" is one sample of each channel; lengths are counted in frames everywhere.

mod grid;
mod waveform;

pub use grid::{Grid, GridError, Shards, Window};
pub use waveform::{CHANNELS, SAMPLE_RATE, Waveform};
