use symphonia::core::audio::{ChannelLabel, Channels, Position};

use crate::Waveform;

/// -3 dB: what ITU-R BS.775 gives the centre and the surround channels.
const MINUS_3_DB: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// Any channels to left and right.
///
/// Stereo stays as it is, mono goes to both sides, surround is mixed by the matrix of ITU-R
/// BS.775: left + 0.71·centre + 0.71·left surround, without the low-frequency effects. The sum is
/// not scaled down: a song keeps its loudness, f32 holds what exceeds full scale, and whether a
/// file format forces a gain is decided once, for all stems together.
pub(super) struct Mixdown {
    /// What each source channel adds to left and right.
    gains: Vec<[f32; 2]>,
}

impl Mixdown {
    pub(super) fn new(channels: &Channels) -> Self {
        let gains = match channels.count() {
            1 => vec![[1.0, 1.0]],
            2 => vec![[1.0, 0.0], [0.0, 1.0]],
            _ => positions(channels).into_iter().map(gain).collect(),
        };
        Self { gains }
    }

    /// Mixes equally long `planes`, one for each source channel.
    pub(super) fn apply(&self, planes: &[Vec<f32>]) -> Waveform {
        let mut mix = Waveform::silence(planes.first().map_or(0, Vec::len));
        for (plane, gains) in planes.iter().zip(&self.gains) {
            for (side, gain) in mix.planes_mut().into_iter().zip(gains) {
                if *gain != 0.0 {
                    side.iter_mut().zip(plane).for_each(|(sum, sample)| *sum += gain * sample);
                }
            }
        }
        mix
    }
}

/// Where each channel stands, `None` if that is not known.
fn positions(channels: &Channels) -> Vec<Option<Position>> {
    match channels {
        Channels::Positioned(positions) => positions.iter().map(Some).collect(),
        Channels::Custom(labels) => labels
            .iter()
            .map(|label| match label {
                ChannelLabel::Positioned(position) => Some(*position),
                _ => None,
            })
            .collect(),
        _ => vec![None; channels.count()],
    }
}

fn gain(position: Option<Position>) -> [f32; 2] {
    match position {
        Some(Position::LFE1 | Position::LFE2) => [0.0, 0.0],
        Some(Position::FRONT_LEFT | Position::FRONT_LEFT_CENTER | Position::FRONT_LEFT_WIDE) => {
            [1.0, 0.0]
        }
        Some(Position::FRONT_RIGHT | Position::FRONT_RIGHT_CENTER | Position::FRONT_RIGHT_WIDE) => {
            [0.0, 1.0]
        }
        Some(
            Position::REAR_LEFT
            | Position::SIDE_LEFT
            | Position::TOP_FRONT_LEFT
            | Position::TOP_REAR_LEFT
            | Position::TOP_SIDE_LEFT
            | Position::BOTTOM_FRONT_LEFT,
        ) => [MINUS_3_DB, 0.0],
        Some(
            Position::REAR_RIGHT
            | Position::SIDE_RIGHT
            | Position::TOP_FRONT_RIGHT
            | Position::TOP_REAR_RIGHT
            | Position::TOP_SIDE_RIGHT
            | Position::BOTTOM_FRONT_RIGHT,
        ) => [0.0, MINUS_3_DB],
        Some(Position::FRONT_CENTER) => [MINUS_3_DB, MINUS_3_DB],
        // One speaker behind or above stands for a pair at -3 dB: half to each side. A channel
        // of unknown place is heard in the middle rather than lost.
        _ => [0.5, 0.5],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out if only one channel sounds, at 1.0.
    fn heard(channels: &Channels, channel: usize) -> [f32; 2] {
        let mut planes = vec![vec![0.0]; channels.count()];
        planes[channel][0] = 1.0;
        let mix = Mixdown::new(channels).apply(&planes);
        [mix.left()[0], mix.right()[0]]
    }

    #[test]
    fn mono_is_heard_on_both_sides_and_stereo_is_untouched() {
        for mono in [Channels::Positioned(Position::FRONT_CENTER), Channels::Discrete(1)] {
            assert_eq!(heard(&mono, 0), [1.0, 1.0]);
        }
        let stereo = Channels::Positioned(Position::FRONT_LEFT | Position::FRONT_RIGHT);
        for stereo in [stereo, Channels::Discrete(2)] {
            assert_eq!([heard(&stereo, 0), heard(&stereo, 1)], [[1.0, 0.0], [0.0, 1.0]]);
        }
    }

    #[test]
    fn the_voice_in_the_centre_of_5_1_is_kept() {
        let surround = Position::from_wave_channel_count(6).expect("six positions exist");
        let surround = Channels::Positioned(surround);
        let m = MINUS_3_DB;
        let heard: Vec<_> = (0..6).map(|channel| heard(&surround, channel)).collect();
        assert_eq!(heard, [[1.0, 0.0], [0.0, 1.0], [m, m], [0.0, 0.0], [m, 0.0], [0.0, m]]);
    }

    #[test]
    fn channels_without_a_place_are_not_lost() {
        for channel in 0..5 {
            assert_eq!(heard(&Channels::Discrete(5), channel), [0.5, 0.5]);
        }
        let odd = ChannelLabel::Discrete(7);
        let labels = vec![Position::REAR_LEFT.into(), odd, Position::LFE1.into()];
        assert_eq!(heard(&Channels::from(labels.clone()), 0), [MINUS_3_DB, 0.0]);
        assert_eq!(heard(&Channels::from(labels.clone()), 1), [0.5, 0.5]);
        assert_eq!(heard(&Channels::from(labels), 2), [0.0, 0.0]);
    }
}
