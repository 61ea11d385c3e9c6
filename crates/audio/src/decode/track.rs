use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};
use symphonia::core::formats::Track;
use symphonia::core::units::TimeBase;

use super::edits::Edit;
use super::trim::Trim;

/// Where the frames of the track that is heard belong.
pub(super) struct Timeline {
    pub(super) track: u32,
    time_base: Option<TimeBase>,
    /// What is left out here.
    pub(super) trim: Trim,
    /// True if the decoder leaves out by itself what its packets say.
    pub(super) decoder_trims: bool,
    /// The length that the file declares; 0 if it does not.
    pub(super) promised: i64,
}

impl Timeline {
    pub(super) fn new(track: &Track, codec: &AudioCodecParameters, edits: &[Edit]) -> Self {
        let mut timeline = Self {
            track: track.id,
            time_base: track.time_base,
            trim: Trim::nothing(),
            decoder_trims: !is_mpeg(codec),
            promised: 0,
        };
        let declared = track.num_frames.and_then(|frames| i64::try_from(frames).ok());
        if is_mpeg(codec) {
            // Without the encoder's word the length is a guess from the bit rate. Believing it,
            // as the decoder would, cuts songs short.
            if let (Some(padding), Some(end)) = (track.padding, declared) {
                timeline.promised = end;
                let padding = end..end.saturating_add(i64::from(padding));
                timeline.trim = Trim { start: 0, padding };
            }
            return timeline;
        }
        timeline.promised = declared.unwrap_or(0);
        let edit = edits.iter().find(|edit| edit.track == track.id);
        if let (Some(edit), Some(rate)) = (edit, codec.sample_rate) {
            timeline.trim = timeline.edited(edit, track, rate);
        }
        timeline
    }

    /// The frame at which a tick of the track's clock falls.
    pub(super) fn frame_at(&self, tick: i64, rate: u32) -> i64 {
        let Some(base) = self.time_base else { return tick };
        let scaled = i128::from(tick) * i128::from(base.numer.get()) * i128::from(rate);
        let denominator = i128::from(base.denom.get());
        let rounded = (scaled + denominator / 2).div_euclid(denominator);
        i64::try_from(rounded).unwrap_or(if tick < 0 { i64::MIN } else { i64::MAX })
    }

    /// What `edit` leaves of the track.
    fn edited(&self, edit: &Edit, track: &Track, rate: u32) -> Trim {
        let frame_at = |ticks: u64| self.frame_at(i64::try_from(ticks).unwrap_or(i64::MAX), rate);
        let start = frame_at(edit.start);
        let movie_rate = edit.movie_rate.max(1);
        let length = u128::from(edit.duration) * u128::from(rate) / u128::from(movie_rate);
        let end = start.saturating_add(i64::try_from(length).unwrap_or(i64::MAX));
        // The movie counts in coarse ticks, often milliseconds; the track's own length is exact.
        let tick = u64::from(rate / movie_rate) + 1;
        let whole = track.duration.map(|ticks| frame_at(ticks.get()));
        let exact = whole.filter(|whole| edit.duration == 0 || whole.abs_diff(end) <= tick);
        Trim { start, padding: exact.unwrap_or(end)..i64::MAX }
    }
}

/// True for MP1, MP2 and MP3, of which the decoder trims more than it should.
pub(super) fn is_mpeg(codec: &AudioCodecParameters) -> bool {
    [CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3].contains(&codec.codec)
}

/// The codec of an audio track.
pub(super) fn codec(track: &Track) -> Option<&AudioCodecParameters> {
    track.codec_params.as_ref().and_then(CodecParameters::audio)
}
