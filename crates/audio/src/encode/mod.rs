//! A stem to the file that people download: MP3, FLAC or WAV, as a stream.

use std::fmt;
use std::io::{self, Seek, Write};

use crate::{Tags, WavWriter, Waveform};

use self::flac::FlacWriter;
use self::mp3::Mp3Writer;

mod flac;
mod id3;
mod mp3;

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
    /// A sample is NaN or infinite, which no file may hold.
    #[error("a sample at or after frame {frame} is not finite")]
    NotFinite {
        /// Where the block with the sample begins.
        frame: u64,
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
    /// The MP3 encoder gave up; the text says where.
    #[error("the MP3 encoder failed: {0}")]
    Mp3(String),
    /// The output did not take the bytes; another attempt may succeed.
    #[error("failed to write the file: {0}")]
    Io(#[from] io::Error),
}

/// What kind of file a stem becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// MP3 of variable bit rate at LAME's quality 2: about 190 kbit/s, hard to tell from the
    /// original.
    #[default]
    Mp3,
    /// MP3 of a constant rate out of [`Format::BITRATES`].
    Mp3At(u16),
    /// FLAC of 24 bits.
    Flac,
    /// WAV of 32-bit floats: what the model gave, sample for sample.
    Wav,
}

/// Why there is no such [`Format`]. The texts are for whoever asked for it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FormatError {
    /// No format has that name.
    #[error("there is no format {0:?}; choose mp3, flac or wav")]
    Name(String),
    /// MP3 is not made at that rate.
    #[error("there is no MP3 of {0} kbit/s; choose one of {list:?}, or none", list = Format::BITRATES)]
    Bitrate(u16),
    /// Only MP3 has a bit rate.
    #[error("{0} is lossless and takes no bitrate; leave it out")]
    Lossless(Format),
}

impl Format {
    /// Constant rates of MP3 files, in kbit/s.
    pub const BITRATES: [u16; 8] = [96, 112, 128, 160, 192, 224, 256, 320];

    /// The format called `name`, in any case, at `bitrate` kbit/s if that is asked for.
    pub fn new(name: &str, bitrate: Option<u16>) -> Result<Self, FormatError> {
        let format = match name.to_lowercase().as_str() {
            "mp3" => Self::Mp3,
            "flac" => Self::Flac,
            "wav" => Self::Wav,
            _ => return Err(FormatError::Name(name.to_owned())),
        };
        match (format, bitrate) {
            (_, None) => Ok(format),
            (Self::Mp3, Some(rate)) if Self::BITRATES.contains(&rate) => Ok(Self::Mp3At(rate)),
            (Self::Mp3, Some(rate)) => Err(FormatError::Bitrate(rate)),
            (_, Some(_)) => Err(FormatError::Lossless(format)),
        }
    }

    /// The ending of its file names.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp3 | Self::Mp3At(_) => "mp3",
            Self::Flac => "flac",
            Self::Wav => "wav",
        }
    }

    /// Its media type, as HTTP says it.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Mp3 | Self::Mp3At(_) => "audio/mpeg",
            Self::Flac => "audio/flac",
            Self::Wav => "audio/wav",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// Writes one stem of a length known beforehand.
///
/// `out` has to seek, because MP3 and FLAC say at their beginning what is known at their end; a
/// temporary file serves. Memory does not grow with the length. The decoded file has exactly the
/// frames that were written, without delay or padding.
pub struct StemWriter<W: Write + Seek> {
    writer: Writer<W>,
    frames: u64,
    written: u64,
}

enum Writer<W: Write + Seek> {
    Mp3(Box<Mp3Writer<W>>),
    Flac(Box<FlacWriter<W>>),
    Wav(WavWriter<W>),
}

impl<W: Write + Seek> StemWriter<W> {
    /// Starts a file of exactly `frames` frames where `out` stands.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] if `format` cannot hold that many.
    pub fn new(format: Format, frames: u64, tags: &Tags, out: W) -> Result<Self, EncodeError> {
        let writer = match format {
            Format::Mp3 => Writer::Mp3(Box::new(Mp3Writer::new(None, tags, out)?)),
            Format::Mp3At(rate) => Writer::Mp3(Box::new(Mp3Writer::new(Some(rate), tags, out)?)),
            Format::Flac => Writer::Flac(Box::new(FlacWriter::new(frames, tags, out)?)),
            Format::Wav => Writer::Wav(WavWriter::with_tags(out, frames, tags)?),
        };
        Ok(Self { writer, frames, written: 0 })
    }

    /// Appends `block`. Samples beyond full scale are kept by WAV and lost by the others: scale
    /// them before.
    ///
    /// # Errors
    /// [`EncodeError::NotFinite`] if a sample is none.
    pub fn write(&mut self, block: &Waveform) -> Result<(), EncodeError> {
        if !block.peak().is_finite() {
            return Err(EncodeError::NotFinite { frame: self.written });
        }
        self.written += block.frames() as u64;
        if self.written > self.frames {
            return Err(self.wrong_length());
        }
        match &mut self.writer {
            Writer::Mp3(writer) => writer.write(block),
            Writer::Flac(writer) => writer.write(block),
            Writer::Wav(writer) => writer.write(block),
        }
    }

    /// Completes the file and gives the output back, flushed and standing at the file's end.
    ///
    /// # Errors
    /// [`EncodeError::Length`] if not all announced frames have come.
    pub fn finish(self) -> Result<W, EncodeError> {
        if self.written != self.frames {
            return Err(self.wrong_length());
        }
        match self.writer {
            Writer::Mp3(writer) => writer.finish(),
            Writer::Flac(writer) => writer.finish(),
            Writer::Wav(writer) => writer.finish(),
        }
    }

    fn wrong_length(&self) -> EncodeError {
        EncodeError::Length { expected: self.frames, actual: self.written }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_chosen_by_name_and_rate() {
        assert_eq!(Format::new("MP3", None), Ok(Format::Mp3));
        assert_eq!(Format::new("mp3", Some(192)), Ok(Format::Mp3At(192)));
        assert_eq!(Format::new("flac", None), Ok(Format::Flac));
        assert_eq!(Format::new("ogg", None), Err(FormatError::Name("ogg".into())));
        assert_eq!(Format::new("mp3", Some(7)), Err(FormatError::Bitrate(7)));
        let error = Format::new("wav", Some(192)).unwrap_err();
        assert_eq!(error.to_string(), "wav is lossless and takes no bitrate; leave it out");
    }
}
