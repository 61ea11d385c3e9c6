use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{Fft, FixedSync, Resampler as _};

use crate::{CHANNELS, SAMPLE_RATE, Waveform};

/// Source rates that can be brought to 44.1 kHz: from telephone to the finest recorders.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;

/// The least length of the filter in source frames: passes up to 0.97 of the band, and lets
/// nothing through above it.
const FILTER_FRAMES: usize = 2048;

/// Any rate of [`RATES`] to 44.1 kHz, as a stream.
///
/// The filter's delay is removed: frame n of the output is heard when frame n·rate/44100 of the
/// input was. The output has round(frames·44100/rate) frames.
pub(super) struct Resampler {
    fft: Fft<f32>,
    rate: u32,
    /// Input that does not fill a chunk yet.
    pending: Waveform,
    output: Vec<Vec<f32>>,
    /// Frames of the filter's delay that are still to come.
    delay: usize,
    taken: u64,
    given: u64,
}

impl Resampler {
    /// `None` if there is nothing to do.
    pub(super) fn new(rate: u32) -> Option<Self> {
        if rate == SAMPLE_RATE {
            return None;
        }
        let fft = Fft::new_custom(
            rate as usize,
            SAMPLE_RATE as usize,
            chunk(rate),
            1,
            CHANNELS,
            rubato::WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .expect("the rates and the chunk are greater than zero");
        let delay = fft.output_delay();
        let output = vec![vec![0.0; fft.output_frames_max()]; CHANNELS];
        Some(Self { fft, rate, pending: Waveform::default(), output, delay, taken: 0, given: 0 })
    }

    /// Takes the next input, gives what is ready.
    pub(super) fn push(&mut self, block: &Waveform) -> Waveform {
        self.taken += block.frames() as u64;
        self.pending.extend(block);
        let mut ready = Waveform::default();
        let mut start = 0;
        while self.pending.frames() - start >= self.fft.input_frames_next() {
            start += self.resample(start, &mut ready);
        }
        self.pending.drop_front(start);
        self.given += ready.frames() as u64;
        ready
    }

    /// The rest, up to the exact length.
    pub(super) fn finish(&mut self) -> Waveform {
        let (rate, to) = (u128::from(self.rate), u128::from(SAMPLE_RATE));
        let whole = (u128::from(self.taken) * to + rate / 2) / rate;
        let missing = (whole - u128::from(self.given)) as usize;
        let mut rest = Waveform::default();
        while rest.frames() < missing {
            let silence = self.fft.input_frames_next() - self.pending.frames();
            self.pending.extend(&Waveform::silence(silence));
            self.resample(0, &mut rest);
            self.pending = Waveform::default();
        }
        self.given += missing as u64;
        rest.slice(0..missing)
    }

    /// Resamples one chunk of the pending input, from `start` on, and appends it to `ready`; says
    /// how many frames it took.
    fn resample(&mut self, start: usize, ready: &mut Waveform) -> usize {
        let frames = self.fft.input_frames_next();
        let chunk = self.pending.slice(start..start + frames);
        let room = self.output[0].len();
        let input = SequentialSliceOfVecs::new(&chunk.planes()[..], CHANNELS, frames)
            .expect("a waveform has two planes of its length");
        let mut output = SequentialSliceOfVecs::new_mut(&mut self.output, CHANNELS, room)
            .expect("the output was made for two channels");
        let (taken, made) = self
            .fft
            .process_into_buffer(&input, &mut output, None)
            .expect("both buffers have the size the resampler asks for");
        let early = self.delay.min(made);
        self.delay -= early;
        let [left, right] = [0, 1].map(|side: usize| self.output[side][early..made].to_vec());
        ready.extend(&Waveform::new(left, right));
        taken
    }
}

/// The chunk, in source frames, for which the filter's delay is a whole number of frames on both
/// sides: the smallest even multiple of the rates' common period that holds the filter.
fn chunk(rate: u32) -> usize {
    let period = 2 * (rate / gcd(rate, SAMPLE_RATE)) as usize;
    FILTER_FRAMES.next_multiple_of(period)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hertz: f64, frames: usize) -> Waveform {
        let step = hertz * std::f64::consts::TAU / f64::from(rate);
        let left = (0..frames).map(|n| (step * n as f64).sin() as f32).collect();
        let right = (0..frames).map(|n| (step * n as f64).cos() as f32).collect();
        Waveform::new(left, right)
    }

    fn resample(rate: u32, song: &Waveform, block: usize) -> Waveform {
        let mut resampler = Resampler::new(rate).expect("not 44.1 kHz");
        let mut again = Waveform::default();
        for start in (0..song.frames()).step_by(block) {
            again.extend(&resampler.push(&song.slice(start..song.frames().min(start + block))));
        }
        again.extend(&resampler.finish());
        again
    }

    #[test]
    fn tones_keep_their_pitch_level_and_place() {
        for rate in [8_000, 22_050, 32_000, 48_000, 96_000, 44_099, 192_000] {
            let frames = rate as usize;
            let hertz = 997.0;
            let again = resample(rate, &tone(rate, hertz, frames), 1152);
            let expected = tone(SAMPLE_RATE, hertz, SAMPLE_RATE as usize);
            assert_eq!(again.frames(), expected.frames());
            // The ends ring: beyond them is silence, not the tone.
            for (plane, expected) in again.planes().iter().zip(expected.planes()) {
                for at in 4_000..40_000 {
                    let error = (plane[at] - expected[at]).abs();
                    assert!(error < 2e-4, "{error} at {at}, from {rate} Hz");
                }
            }
        }
    }

    #[test]
    fn what_the_new_rate_cannot_hold_is_gone() {
        let again = resample(96_000, &tone(96_000, 30_000.0, 96_000), 1000);
        assert!(again.slice(4_000..40_000).peak() < 1e-4);
    }

    #[test]
    fn the_length_is_exact_and_blocks_do_not_matter() {
        for (rate, frames) in [(48_000, 1), (48_000, 0), (48_000, 479), (22_050, 7), (8_000, 8_001)]
        {
            let song = tone(rate, 440.0, frames);
            let again = resample(rate, &song, 4096);
            let exact = frames as f64 * 44_100.0 / f64::from(rate);
            assert_eq!(again.frames(), exact.round() as usize, "{frames} at {rate} Hz");
            for block in [1, 333] {
                assert_eq!(resample(rate, &song, block), again);
            }
        }
    }

    #[test]
    fn the_right_rate_needs_no_resampler() {
        assert!(Resampler::new(SAMPLE_RATE).is_none());
        for rate in [*RATES.start(), *RATES.end(), 48_001] {
            assert!(Resampler::new(rate).is_some());
        }
    }
}
