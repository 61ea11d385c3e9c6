//! Between the rate of the sound and twice that, as Demucs over the waveform was trained with it
//! (`julius/resample.py: ResampleFrac`): a windowed sinc.

use std::f64::consts::PI;

use tch::{Device, Tensor};

use super::weights::Weight;

/// Zero crossings of the sinc on each side.
const ZEROS: f64 = 24.0;

/// The part of the lower rate's frequencies that is let through.
const ROLLOFF: f64 = 0.945;

/// Both ways.
#[derive(Clone, Debug)]
pub(crate) struct Resampler {
    up: Filter,
    down: Filter,
}

/// From `from` frames to `to` frames.
#[derive(Clone, Debug)]
struct Filter {
    from: i64,
    to: i64,
    width: i64,
    /// `[to, 1, taps]`
    taps: Weight,
}

impl Resampler {
    pub(crate) fn new(device: Device) -> Self {
        Self { up: Filter::new(1, 2, device), down: Filter::new(2, 1, device) }
    }

    /// `[…, l]` → `[…, 2l]`.
    pub(crate) fn up(&self, wave: &Tensor) -> Tensor {
        self.up.apply(wave)
    }

    /// `[…, l]` → `[…, ⌊l/2⌋]`.
    pub(crate) fn down(&self, wave: &Tensor) -> Tensor {
        self.down.apply(wave)
    }
}

impl Filter {
    fn new(from: i64, to: i64, device: Device) -> Self {
        let width = (ZEROS * from as f64 / ROLLOFF).ceil() as i64;
        let taps: Vec<f32> = (0..to)
            .flat_map(|phase| {
                let delay = phase as f64 / to as f64;
                let at = |index: i64| (index as f64 / from as f64 - delay) * ROLLOFF;
                let taps: Vec<f64> = (-width..width + from).map(|index| sinc(at(index))).collect();
                let sum: f64 = taps.iter().sum();
                taps.into_iter().map(move |tap| (tap / sum) as f32)
            })
            .collect();
        let taps = Tensor::from_slice(&taps).view([to, 1, -1]).to_device(device).into();
        Self { from, to, width, taps }
    }

    /// `[…, l]` → `[…, ⌊l·to/from⌋]`. Beyond its ends, sound stays at its last value.
    fn apply(&self, wave: &Tensor) -> Tensor {
        let mut shape = wave.size();
        let length = shape.pop().expect("sound has a length");
        let padded = wave.reshape([-1, 1, length]);
        let padded = padded.replication_pad1d([self.width, self.width + self.from]);
        let phases = padded.conv1d(&self.taps, None::<&Tensor>, self.from, 0, 1, 1);
        let longer = phases.transpose(1, 2).flatten(1, 2);
        shape.push(length * self.to / self.from);
        longer.narrow(1, 0, shape[shape.len() - 1]).reshape(shape)
    }
}

/// The sinc at `crossing` zero crossings, under its window, half a cosine squared.
fn sinc(crossing: f64) -> f64 {
    let angle = crossing.clamp(-ZEROS, ZEROS) * PI;
    let window = (angle / ZEROS / 2.0).cos().powi(2);
    if angle == 0.0 { window } else { angle.sin() / angle * window }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn a_low_tone_goes_up_and_down_again() {
        let wave = (Tensor::arange(4000, (Kind::Float, Device::Cpu)) * 0.05).sin().unsqueeze(0);
        let resampler = Resampler::new(Device::Cpu);
        let up = resampler.up(&wave);
        assert_eq!(up.size(), [1, 8000]);
        let again = resampler.down(&up);
        assert_eq!(again.size(), [1, 4000]);
        let inside = |xs: &Tensor| xs.narrow(1, 100, 3800);
        let worst = (inside(&again) - inside(&wave)).abs().max().double_value(&[]);
        assert!(worst < 1e-3, "off by {worst}");
    }
}
