//! Any audio file to stereo at 44.1 kHz, as a stream: demux, mix down, resample.

use std::io::{self, Read, Seek};

use serde::{Deserialize, Serialize};
use symphonia::core::audio::Channels;
use symphonia::core::errors::Error;

use self::demux::{Block, Demux};
use self::mixdown::Mixdown;
use self::resample::{RATES, Resampler};
use self::source::Source;
use crate::{Tags, Waveform};

mod demux;
mod edits;
mod mixdown;
mod resample;
mod sniff;
mod source;
mod tags;
mod track;
mod trim;

/// Channels a source may have.
const MAX_CHANNELS: usize = 32;

/// Why a file did not become a song. The texts are for whoever sent it.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is no audio, or of a kind that is not decoded here.
    #[error("this is {0}; send an MP3, WAV, FLAC, OGG (Vorbis), M4A (AAC-LC or ALAC) or AIFF file")]
    Unsupported(String),
    /// There are no bytes, or no frame in them.
    #[error("the file holds no sound at all; send one that plays")]
    Empty,
    /// It began well, but cannot be made sense of; the text says what.
    #[error("the file is damaged ({0}); send one that plays")]
    Damaged(String),
    /// Its bytes could not be read; another attempt may succeed.
    #[error("failed to read the file: {0}")]
    Io(#[source] io::Error),
}

/// What is known of a song when all of it has been decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The length at 44.1 kHz.
    pub frames: u64,
    /// Frames per second of the file.
    pub source_rate: u32,
    /// Channels of the file.
    pub source_channels: usize,
    /// Source frames of encoder delay that were removed from the start.
    pub delay: u64,
    /// Source frames of encoder padding that were removed from the end.
    pub padding: u64,
    /// Parts of the file (packets) that did not decode and were left out.
    pub skipped: u64,
    /// Samples that were no number, infinite or absurd, and were made silent.
    pub silenced: u64,
    /// True if the file ends before its own header says.
    pub truncated: bool,
}

/// A song that is being decoded: an iterator over its blocks, all stereo at 44.1 kHz.
///
/// The same bytes give the same frames, however often they are decoded. Memory does not grow with
/// the length. After an error nothing more comes.
pub struct Song {
    tags: Tags,
    facts: Facts,
    demux: Demux,
    mixdown: Option<(Channels, Mixdown)>,
    resampler: Option<Resampler>,
    ended: bool,
}

impl Song {
    /// Recognizes the file by its content and reads up to its first samples.
    pub fn open<S>(file: S) -> Result<Self, DecodeError>
    where
        S: Read + Seek + Send + Sync + 'static,
    {
        let mut source = Source::new(file).map_err(DecodeError::Io)?;
        let failure = source.failure();
        if source.len() == 0 {
            return Err(DecodeError::Empty);
        }
        let head = source.head(sniff::SNIFFED).map_err(DecodeError::Io)?;
        let is_mp4 = head.get(4..8) == Some(b"ftyp");
        let edits = if is_mp4 { edits::edits(&mut source) } else { Vec::new() };
        source.rewind().map_err(DecodeError::Io)?;
        let mut demux = Demux::open(source, edits).map_err(|error| match failure.take() {
            // A failure to read explains everything that follows from it.
            Some(failure) => DecodeError::Io(failure),
            None => unsupported(&head, &error),
        })?;
        Ok(Self {
            tags: demux.tags(),
            facts: Facts::default(),
            demux,
            mixdown: None,
            resampler: None,
            ended: false,
        })
    }

    /// What the file says about its song.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// What is known so far; complete once the iterator has ended.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    fn advance(&mut self) -> Result<Option<Waveform>, DecodeError> {
        let Some(block) = self.demux.next(&mut self.facts)? else {
            return self.finish();
        };
        if self.facts.source_rate == 0 {
            if !RATES.contains(&block.rate) {
                return Err(DecodeError::Unsupported(format!("audio at {} Hz", block.rate)));
            }
            self.facts.source_rate = block.rate;
            self.facts.source_channels = block.channels.count();
            self.resampler = Resampler::new(block.rate);
        }
        let mix = mix(&mut self.mixdown, block)?;
        let ready = match &mut self.resampler {
            Some(resampler) => resampler.push(&mix),
            None => mix,
        };
        self.facts.frames += ready.frames() as u64;
        Ok(Some(ready))
    }

    fn finish(&mut self) -> Result<Option<Waveform>, DecodeError> {
        self.ended = true;
        let rest = self.resampler.as_mut().map(Resampler::finish).unwrap_or_default();
        self.facts.frames += rest.frames() as u64;
        if self.facts.frames == 0 {
            return Err(DecodeError::Empty);
        }
        Ok((!rest.is_empty()).then_some(rest))
    }
}

/// Mixes `block` down by the mixdown for its channels, which seldom change within a song.
fn mix(
    mixdown: &mut Option<(Channels, Mixdown)>,
    block: Block<'_>,
) -> Result<Waveform, DecodeError> {
    if let Some((channels, mixdown)) = mixdown
        && *channels == block.channels
    {
        return Ok(mixdown.apply(block.planes));
    }
    let count = block.channels.count();
    if !(1..=MAX_CHANNELS).contains(&count) {
        return Err(DecodeError::Unsupported(format!("audio of {count} channels")));
    }
    let new = Mixdown::new(&block.channels);
    let mix = new.apply(block.planes);
    *mixdown = Some((block.channels, new));
    Ok(mix)
}

impl Iterator for Song {
    type Item = Result<Waveform, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.advance() {
                Ok(Some(block)) if block.is_empty() => {}
                Ok(block) => return block.map(Ok),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Why nothing came out of a file that begins with `head`.
fn unsupported(head: &[u8], error: &Error) -> DecodeError {
    match (sniff::audio(head), error) {
        (None, _) => DecodeError::Unsupported(sniff::other(head).to_owned()),
        (Some(name), Error::Unsupported(what)) => {
            DecodeError::Unsupported(format!("{name} of a kind that is not known here ({what})"))
        }
        (Some(name), error) => DecodeError::Damaged(format!("{name}: {error}")),
    }
}
