use std::io::{self, Read, Seek};

use crate::{CHANNELS, DecodeError, SAMPLE_RATE, Song};

/// What every result has to be before anyone may download it: stereo at 44.1 kHz, exactly as long
/// as the song, all of it decodable, all of it finite. Silence is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contract {
    /// The length of the song.
    pub frames: u64,
}

/// A result that keeps the [`Contract`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Its length, decoded.
    pub frames: u64,
    /// Its greatest absolute sample.
    pub peak: f32,
}

/// The line of the [`Contract`] that a result breaks.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// It is longer or shorter than the song.
    #[error("{actual} frames instead of {expected}")]
    Frames {
        /// The length of the song.
        expected: u64,
        /// The length of the result, decoded.
        actual: u64,
    },
    /// It has another sample rate.
    #[error("{actual} Hz instead of {SAMPLE_RATE}")]
    Rate {
        /// Frames per second of the file.
        actual: u32,
    },
    /// It has more or fewer channels.
    #[error("{actual} channels instead of {CHANNELS}")]
    Channels {
        /// Channels of the file.
        actual: usize,
    },
    /// It holds samples that are no number, infinite or absurd.
    #[error("{samples} samples are not finite")]
    NotFinite {
        /// How many of them.
        samples: u64,
    },
    /// It ends too early, or parts of it do not decode.
    #[error("the file is incomplete: {skipped} broken parts, truncated: {truncated}")]
    Incomplete {
        /// Parts that do not decode.
        skipped: u64,
        /// True if it ends before its header says.
        truncated: bool,
    },
    /// It does not decode at all.
    #[error("the file does not decode: {0}")]
    Undecodable(#[source] DecodeError),
    /// Its bytes could not be read; another attempt may succeed.
    #[error("failed to read the file: {0}")]
    Io(#[source] io::Error),
}

impl Contract {
    /// Decodes `file` to its end and compares.
    pub fn check<S>(&self, file: S) -> Result<Report, ContractError>
    where
        S: Read + Seek + Send + Sync + 'static,
    {
        let mut song = Song::open(file).map_err(undecodable)?;
        let mut peak = 0.0_f32;
        for block in song.by_ref() {
            peak = peak.max(block.map_err(undecodable)?.peak());
        }
        let facts = song.facts();
        if facts.source_rate != SAMPLE_RATE {
            return Err(ContractError::Rate { actual: facts.source_rate });
        }
        if facts.source_channels != CHANNELS {
            return Err(ContractError::Channels { actual: facts.source_channels });
        }
        if facts.skipped > 0 || facts.truncated {
            let (skipped, truncated) = (facts.skipped, facts.truncated);
            return Err(ContractError::Incomplete { skipped, truncated });
        }
        if facts.silenced > 0 {
            return Err(ContractError::NotFinite { samples: facts.silenced });
        }
        if facts.frames != self.frames {
            let (expected, actual) = (self.frames, facts.frames);
            return Err(ContractError::Frames { expected, actual });
        }
        Ok(Report { frames: facts.frames, peak })
    }
}

fn undecodable(error: DecodeError) -> ContractError {
    match error {
        DecodeError::Io(error) => ContractError::Io(error),
        error => ContractError::Undecodable(error),
    }
}
