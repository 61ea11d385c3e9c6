//! Stereo out: what can go wrong in every writer of this crate.

use std::io;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The caller broke its promise about the length; the file is not to be used.
    #[error("{expected} frames were announced, {actual} were written")]
    Length {
        /// Frames announced before the first block.
        expected: u64,
        /// Frames that came.
        actual: u64,
    },
    /// The format's own fields cannot hold that many frames.
    #[error("{frames} frames do not fit into a {format} file, which holds {limit} at most")]
    TooLong {
        /// The format that ran out of bits.
        format: &'static str,
        /// Frames announced.
        frames: u64,
        /// Frames the format can hold.
        limit: u64,
    },
    /// The output did not take the bytes; another attempt may succeed.
    #[error("failed to write the file: {0}")]
    Io(#[from] io::Error),
}
