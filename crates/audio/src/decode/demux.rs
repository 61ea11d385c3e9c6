//! Bytes to blocks of samples, at the rate and with the channels of the file.

use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::default::{get_codecs, get_probe};

use super::edits::Edit;
use super::source::{Failure, Source};
use super::track::{Timeline, codec, is_mpeg};
use super::{DecodeError, Facts, tags};
use crate::Tags;

type Result<T, E = Error> = std::result::Result<T, E>;

/// A sample beyond this (+120 dB over full scale) is no sound but a broken file.
const LOUDEST: f32 = 1_048_576.0;

/// The audio track of a file, as it comes out of its decoder.
pub(super) struct Demux {
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    timeline: Timeline,
    edits: Vec<Edit>,
    failure: Failure,
    planes: Vec<Vec<f32>>,
    /// Packets that gave samples.
    good: u64,
    /// The frame of the timeline up to which there are samples.
    reached: i64,
}

/// Samples of one packet, trimmed.
pub(super) struct Block<'a> {
    pub(super) rate: u32,
    pub(super) channels: Channels,
    /// One plane for each channel, equally long.
    pub(super) planes: &'a [Vec<f32>],
}

impl Demux {
    pub(super) fn open(
        source: Source<impl Read + Seek + Send + Sync + 'static>,
        edits: Vec<Edit>,
    ) -> Result<Self> {
        let failure = source.failure();
        let stream = MediaSourceStream::new(Box::new(source), Default::default());
        let reader = guarded(|| {
            let (format, metadata) = (FormatOptions::default(), MetadataOptions::default());
            get_probe().probe(&Hint::new(), stream, format, metadata)
        })?;
        let (timeline, decoder) = start(&*reader, &edits)?;
        let planes = Vec::new();
        Ok(Self { reader, decoder, timeline, edits, failure, planes, good: 0, reached: 0 })
    }

    /// What the file says about its song.
    pub(super) fn tags(&mut self) -> Tags {
        tags::read(self.reader.metadata())
    }

    /// The next packet's samples, or `None` after the last.
    ///
    /// A packet that does not decode is passed over and counted, as players do.
    pub(super) fn next(&mut self, facts: &mut Facts) -> Result<Option<Block<'_>>, DecodeError> {
        loop {
            let Some(packet) = self.packet(facts)? else {
                self.end(facts)?;
                return Ok(None);
            };
            match self.decode(&packet, facts) {
                Ok((rate, channels)) if facts.source_rate == 0 || facts.source_rate == rate => {
                    self.good += 1;
                    return Ok(Some(Block { rate, channels, planes: &self.planes }));
                }
                _ => facts.skipped += 1,
            }
        }
    }

    /// The next packet of the track.
    fn packet(&mut self, facts: &mut Facts) -> Result<Option<Packet>, DecodeError> {
        loop {
            match guarded(|| self.reader.next_packet()) {
                Ok(Some(packet)) if packet.track_id == self.timeline.track => {
                    return Ok(Some(packet));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                // One stream of a chain has ended and the next begins.
                Err(Error::ResetRequired) => {
                    (self.timeline, self.decoder) = start(&*self.reader, &self.edits)
                        .map_err(|error| DecodeError::Damaged(error.to_string()))?;
                    self.reached = 0;
                }
                Err(_) => {
                    facts.truncated = true;
                    return Ok(None);
                }
            }
        }
    }

    /// Decodes `packet` into the planes, without delay, padding and what is no sound.
    fn decode(&mut self, packet: &Packet, facts: &mut Facts) -> Result<(u32, Channels)> {
        let (decoder, planes) = (&mut self.decoder, &mut self.planes);
        let (rate, channels) = guarded(|| {
            let samples = decoder.decode(packet)?;
            samples.copy_to_vecs_planar(planes);
            Ok((samples.spec().rate(), samples.spec().channels().clone()))
        })?;
        let frames = planes.first().map_or(0, Vec::len);
        let at = self.timeline.frame_at(packet.pts.get(), rate);
        self.reached = self.reached.max(at.saturating_add(frames as i64));
        let [song, beyond] = self.timeline.trim.kept(at, frames);
        for plane in planes {
            plane.truncate(beyond.end);
            plane.drain(song.end..beyond.start);
            plane.drain(..song.start);
            facts.silenced += silence_what_is_no_sound(plane);
        }
        facts.delay += song.start as u64;
        facts.padding += (beyond.start - song.end + frames - beyond.end) as u64;
        if self.timeline.decoder_trims {
            facts.delay += packet.trim_start.get();
            facts.padding += packet.trim_end.get();
        }
        Ok((rate, channels))
    }

    /// Judges the file when nothing more comes.
    fn end(&mut self, facts: &mut Facts) -> Result<(), DecodeError> {
        if let Some(error) = self.failure.take() {
            return Err(DecodeError::Io(error));
        }
        facts.truncated |= self.reached < self.timeline.promised;
        if facts.skipped > self.good {
            let parts = facts.skipped + self.good;
            let what = format!("{} of its {parts} parts do not decode", facts.skipped);
            return Err(DecodeError::Damaged(what));
        }
        Ok(())
    }
}

/// The track to be heard, and a decoder for it.
fn start(reader: &dyn FormatReader, edits: &[Edit]) -> Result<(Timeline, Box<dyn AudioDecoder>)> {
    let track = reader.default_track(TrackType::Audio);
    let track = track.ok_or(Error::Unsupported("no track of a known codec"))?;
    let codec = codec(track).ok_or(Error::Unsupported("no track of a known codec"))?;
    let options = AudioDecoderOptions::default().gapless(!is_mpeg(codec));
    let decoder = guarded(|| get_codecs().make_audio_decoder(codec, &options))?;
    Ok((Timeline::new(track, codec, edits), decoder))
}

/// NaN, infinities and absurd values would poison every sample the model computes. They become
/// silence, and are counted.
fn silence_what_is_no_sound(plane: &mut [f32]) -> u64 {
    let mut count = 0;
    for sample in plane {
        if !(-LOUDEST..=LOUDEST).contains(sample) {
            *sample = 0.0;
            count += 1;
        }
    }
    count
}

/// Runs a decoder over bytes that may be made to hurt: a panic becomes an error.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::DecodeError("the decoder failed on it")))
}
