//! Bytes to blocks of samples, at the rate and with the channels of the file.

use std::io::{Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::audio::Channels;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::{MetadataOptions, StandardTag, Tag};
use symphonia::core::packet::Packet;
use symphonia::core::units::TimeBase;
use symphonia::default::{get_codecs, get_probe};

use super::edits::Edit;
use super::source::{Failure, Source};
use super::trim::Trim;
use super::{DecodeError, Facts};
use crate::tags::{self, Tags};

type Result<T, E = Error> = std::result::Result<T, E>;

/// A sample beyond this (+120 dB over full scale) is no sound but a broken file.
const LOUDEST: f32 = 1_048_576.0;

/// The audio track of a file, as it comes out of its decoder.
pub(super) struct Demux {
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    time_base: Option<TimeBase>,
    /// True for MP1, MP2 and MP3, which are trimmed here; other decoders trim their packets.
    mpeg: bool,
    trim: Trim,
    edits: Vec<Edit>,
    failure: Failure,
    planes: Vec<Vec<f32>>,
    /// Packets that gave samples.
    good: u64,
    /// The frame up to which there are samples, and up to which there should be.
    reached: i64,
    promised: i64,
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
        let (track, decoder) = start(&*reader)?;
        let mut demux = Self {
            track: track.id,
            time_base: track.time_base,
            mpeg: false,
            trim: Trim::nothing(),
            promised: 0,
            reader,
            decoder,
            edits,
            failure,
            planes: Vec::new(),
            good: 0,
            reached: 0,
        };
        demux.measure(&track);
        Ok(demux)
    }

    /// What the file says about its song.
    pub(super) fn tags(&mut self) -> Tags {
        let mut tags = Tags::default();
        let mut log = self.reader.metadata();
        loop {
            if let Some(revision) = log.current() {
                let of_tracks = revision.per_track.iter().map(|track| &track.metadata);
                let all = std::iter::once(&revision.media).chain(of_tracks);
                all.flat_map(|part| &part.tags).for_each(|tag| note(&mut tags, tag));
            }
            // The newest revision stays in the log.
            if log.pop().is_none() {
                return tags;
            }
        }
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
                Err(Error::LimitError(what) | Error::Unsupported(what)) if self.good == 0 => {
                    return Err(DecodeError::Damaged(what.to_owned()));
                }
                _ => facts.skipped += 1,
            }
        }
    }

    /// The next packet of the track.
    fn packet(&mut self, facts: &mut Facts) -> Result<Option<Packet>, DecodeError> {
        loop {
            match guarded(|| self.reader.next_packet()) {
                Ok(Some(packet)) if packet.track_id == self.track => return Ok(Some(packet)),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                // One stream of a chain has ended and the next begins.
                Err(Error::ResetRequired) => {
                    let (track, decoder) =
                        start(&*self.reader).map_err(|error| self.refuse(&error))?;
                    (self.track, self.time_base, self.decoder) =
                        (track.id, track.time_base, decoder);
                    self.measure(&track);
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
        let decoder = &mut self.decoder;
        let planes = &mut self.planes;
        let (rate, channels) = guarded(|| {
            let samples = decoder.decode(packet)?;
            samples.copy_to_vecs_planar(planes);
            Ok((samples.spec().rate(), samples.spec().channels().clone()))
        })?;
        let frames = self.planes.first().map_or(0, Vec::len);
        let at = frame_at(packet.pts.get(), self.time_base, rate);
        self.reached = self.reached.max(at.saturating_add(frames as i64));
        let kept = self.trim.kept(at, frames);
        facts.delay += kept[0].start as u64;
        facts.padding += (frames - kept[0].len() - kept[1].len() - kept[0].start) as u64;
        if !self.mpeg {
            facts.delay += packet.trim_start.get();
            facts.padding += packet.trim_end.get();
        }
        for plane in &mut self.planes {
            plane.truncate(kept[1].end.max(kept[0].end));
            plane.drain(kept[0].end..kept[1].start.max(kept[0].end));
            plane.drain(..kept[0].start);
            facts.silenced += silence_what_is_no_sound(plane);
        }
        Ok((rate, channels))
    }

    /// Finds out which frames of `track` are the song.
    fn measure(&mut self, track: &Track) {
        let Some(CodecParameters::Audio(codec)) = &track.codec_params else { return };
        let rate = codec.sample_rate.unwrap_or_default();
        (self.reached, self.promised) = (0, 0);
        self.mpeg = is_mpeg(codec);
        if self.mpeg {
            // Without the encoder's word the length is a guess from the bit rate. Believing it
            // would cut songs short.
            if let (Some(padding), Some(frames)) = (track.padding, track.num_frames) {
                let end = i64::try_from(frames).unwrap_or(i64::MAX);
                self.promised = end;
                let padding = end..end.saturating_add(i64::from(padding));
                self.trim = Trim { start: 0, padding };
            }
            return;
        }
        self.promised = track.num_frames.and_then(|frames| frames.try_into().ok()).unwrap_or(0);
        if let Some(edit) = self.edits.iter().find(|edit| edit.track == track.id) {
            self.trim = edited(edit, track, rate);
        }
    }

    /// Judges the file when nothing more comes.
    fn end(&mut self, facts: &mut Facts) -> Result<(), DecodeError> {
        if let Some(error) = self.failure.take() {
            return Err(DecodeError::Io(error));
        }
        facts.truncated |= self.reached < self.promised;
        if facts.skipped > self.good {
            let all = facts.skipped + self.good;
            return Err(DecodeError::Damaged(format!("{} of {all} parts", facts.skipped)));
        }
        Ok(())
    }

    fn refuse(&self, error: &Error) -> DecodeError {
        match self.failure.take() {
            Some(error) => DecodeError::Io(error),
            None => DecodeError::Damaged(error.to_string()),
        }
    }
}

/// The track to be heard and a decoder for it.
fn start(reader: &dyn FormatReader) -> Result<(Track, Box<dyn AudioDecoder>)> {
    let track =
        reader.default_track(TrackType::Audio).or_else(|| reader.first_track(TrackType::Audio));
    let Some(track) = track.cloned() else {
        return Err(Error::Unsupported("no audio track"));
    };
    let Some(CodecParameters::Audio(codec)) = &track.codec_params else {
        return Err(Error::Unsupported("no known codec"));
    };
    let options = AudioDecoderOptions::default().gapless(!is_mpeg(codec));
    let decoder = guarded(|| get_codecs().make_audio_decoder(codec, &options))?;
    Ok((track, decoder))
}

fn is_mpeg(codec: &AudioCodecParameters) -> bool {
    [CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3].contains(&codec.codec)
}

/// What `edit` leaves of `track`.
fn edited(edit: &Edit, track: &Track, rate: u32) -> Trim {
    let start = frame_at(i64::try_from(edit.start).unwrap_or(i64::MAX), track.time_base, rate);
    let length = u128::from(edit.duration) * u128::from(rate) / u128::from(edit.movie_rate.max(1));
    let mut end = start.saturating_add(i64::try_from(length).unwrap_or(i64::MAX));
    // The movie counts in coarse ticks, often milliseconds; the track's own length is exact.
    let tick = i64::from(rate / edit.movie_rate.max(1)) + 1;
    let whole = track.duration.and_then(|ticks| i64::try_from(ticks.get()).ok());
    let whole = whole.map(|ticks| frame_at(ticks, track.time_base, rate));
    if let Some(whole) =
        whole.filter(|whole| edit.duration == 0 || whole.abs_diff(end) <= tick as u64)
    {
        end = whole;
    }
    Trim { start, padding: end..i64::MAX }
}

/// The frame at which a tick of the track's clock falls.
fn frame_at(tick: i64, time_base: Option<TimeBase>, rate: u32) -> i64 {
    let Some(base) = time_base else { return tick };
    let scaled = i128::from(tick) * i128::from(base.numer.get()) * i128::from(rate);
    let denominator = i128::from(base.denom.get());
    let rounded = (scaled + denominator / 2).div_euclid(denominator);
    i64::try_from(rounded).unwrap_or(if tick < 0 { i64::MIN } else { i64::MAX })
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

fn note(tags: &mut Tags, tag: &Tag) {
    let Some(standard) = &tag.std else { return };
    let (field, value) = match standard {
        StandardTag::TrackTitle(title) => (&mut tags.title, title.to_string()),
        StandardTag::Artist(artist) => (&mut tags.artist, artist.to_string()),
        StandardTag::Album(album) => (&mut tags.album, album.to_string()),
        StandardTag::TrackNumber(number) => (&mut tags.track, number.to_string()),
        StandardTag::ReleaseDate(date) | StandardTag::RecordingDate(date) => {
            (&mut tags.date, date.to_string())
        }
        StandardTag::ReleaseYear(year) | StandardTag::RecordingYear(year) => {
            (&mut tags.date, year.to_string())
        }
        StandardTag::Genre(genre) => (&mut tags.genre, genre.to_string()),
        _ => return,
    };
    if let Some(value) = tags::clean(&value) {
        *field = Some(value);
    }
}

/// Runs a decoder over bytes that may be made to hurt: a panic becomes an error.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::DecodeError("the decoder failed on it")))
}
