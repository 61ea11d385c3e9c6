use std::ops::Range;

/// Frames per second of every [`Waveform`].
pub const SAMPLE_RATE: u32 = 44_100;

/// Channels of every [`Waveform`]: left, right.
pub const CHANNELS: usize = 2;

/// Stereo audio at 44.1 kHz: two planes of f32 samples, equally long.
///
/// Full scale is ±1.0; values beyond it are legal until a file format forces a choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waveform {
    planes: [Vec<f32>; CHANNELS],
}

impl Waveform {
    /// Takes the two planes as they are.
    ///
    /// # Panics
    /// If they differ in length: whoever made them has lost samples already.
    pub fn new(left: Vec<f32>, right: Vec<f32>) -> Self {
        assert_eq!(left.len(), right.len(), "both channels have the same number of frames");
        Self { planes: [left, right] }
    }

    /// `frames` frames of silence.
    pub fn silence(frames: usize) -> Self {
        Self::new(vec![0.0; frames], vec![0.0; frames])
    }

    /// The length in frames.
    pub fn frames(&self) -> usize {
        self.planes[0].len()
    }

    /// True if there is not one frame.
    pub fn is_empty(&self) -> bool {
        self.frames() == 0
    }

    /// The first channel.
    pub fn left(&self) -> &[f32] {
        &self.planes[0]
    }

    /// The second channel.
    pub fn right(&self) -> &[f32] {
        &self.planes[1]
    }

    /// Both channels, left first.
    pub fn planes(&self) -> &[Vec<f32>; CHANNELS] {
        &self.planes
    }

    /// Both channels, left first, to be changed in place.
    pub fn planes_mut(&mut self) -> [&mut [f32]; CHANNELS] {
        let [left, right] = &mut self.planes;
        [left, right]
    }

    /// A copy of the frames in `range`.
    ///
    /// # Panics
    /// If `range` reaches past the end.
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self::new(self.left()[range.clone()].to_vec(), self.right()[range].to_vec())
    }

    /// Appends `other`.
    pub fn extend(&mut self, other: &Self) {
        for (plane, more) in self.planes.iter_mut().zip(&other.planes) {
            plane.extend_from_slice(more);
        }
    }

    /// Drops the first `frames` frames.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn drop_front(&mut self, frames: usize) {
        for plane in &mut self.planes {
            plane.drain(..frames);
        }
    }

    /// Adds `other` to the frames from `at` on.
    ///
    /// # Panics
    /// If `other` reaches past the end.
    pub fn add(&mut self, at: usize, other: &Self) {
        for (plane, more) in self.planes.iter_mut().zip(&other.planes) {
            for (sum, sample) in plane[at..at + more.len()].iter_mut().zip(more) {
                *sum += sample;
            }
        }
    }

    /// Multiplies every sample by `gain`.
    pub fn scale(&mut self, gain: f32) {
        for sample in self.planes.iter_mut().flatten() {
            *sample *= gain;
        }
    }

    /// The greatest absolute sample; 0 for silence, NaN or infinite if any sample is.
    pub fn peak(&self) -> f32 {
        let mut peak = 0.0_f32;
        for sample in self.planes.iter().flatten() {
            if sample.is_nan() {
                return f32::NAN;
            }
            peak = peak.max(sample.abs());
        }
        peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_put_together_are_the_whole() {
        let ramp = |from: i32, to: i32| (from..to).map(|n| n as f32).collect::<Vec<_>>();
        let whole = Waveform::new(ramp(0, 10), ramp(-10, 0));
        let mut again = whole.slice(0..4);
        again.extend(&whole.slice(4..10));
        assert_eq!(again, whole);

        again.drop_front(4);
        let mut sum = Waveform::silence(10);
        sum.add(4, &again);
        sum.add(0, &whole.slice(0..4));
        assert_eq!(sum, whole);
        assert_eq!(whole.peak(), 10.0);
    }

    #[test]
    fn a_gain_applies_to_every_sample() {
        let mut wave = Waveform::new(vec![1.0, -0.5], vec![0.25, 4.0]);
        wave.scale(0.5);
        assert_eq!(wave, Waveform::new(vec![0.5, -0.25], vec![0.125, 2.0]));
    }
}
