//! Between waveforms and spectrograms (`demucs/htdemucs.py: HTDemucs._spec, _ispec` and the same in
//! `demucs/hdemucs.py`, on `demucs/spec.py: spectro, ispectro`).
//!
//! A waveform of `l` frames has ⌈l / hop⌉ time steps: step `t` is centred on the middle of hop
//! `t`. The highest of the nfft/2 + 1 frequencies is left out.

use tch::{Device, Kind, Tensor};

use super::weights::Weight;

/// What is beyond the ends of a waveform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// Its reflection.
    Reflection,
    /// Silence; and the way back is cut as the first hybrid models were trained to expect
    /// (`hybrid_old`), half a window early.
    Silence,
}

/// A short-time Fourier transform with a Hann window of `nfft` frames and a hop of a quarter of
/// it; unitary (`normalized`).
#[derive(Clone, Debug)]
pub(crate) struct Spectrogram {
    nfft: i64,
    hop: i64,
    beyond: Beyond,
    window: Weight,
}

impl Spectrogram {
    pub(crate) fn new(nfft: i64, beyond: Beyond, device: Device) -> Self {
        let window = Tensor::hann_window(nfft, (Kind::Float, device)).into();
        Self { nfft, hop: nfft / 4, beyond, window }
    }

    /// How much a window reaches beyond its hop on each side.
    fn margin(&self) -> i64 {
        self.hop / 2 * 3
    }

    /// Time steps of `length` frames.
    pub(crate) fn steps(&self, length: i64) -> i64 {
        (length + self.hop - 1) / self.hop
    }

    /// `[b, c, l]` → complex `[b, c, nfft/2, ⌈l/hop⌉]`.
    ///
    /// The reference pads once more, to centre the first and last windows on the ends, and then
    /// drops the two steps on each side that see this padding. Not to centre is the same.
    pub(crate) fn forward(&self, wave: &Tensor) -> Tensor {
        let (b, c, length) = wave.size3().expect("a waveform is [b, c, l]");
        let steps = self.steps(length);
        let right = self.margin() + steps * self.hop - length;
        let padded = self.pad(wave, self.margin(), right).flatten(0, 1);
        let (normalized, onesided, complex) = (true, true, true);
        let spectrum = padded.stft(
            self.nfft,
            self.hop,
            self.nfft,
            Some(&*self.window),
            normalized,
            onesided,
            complex,
            false,
        );
        spectrum.narrow(1, 0, self.nfft / 2).view([b, c, self.nfft / 2, steps])
    }

    /// `[b, c, l]` → `[b, c, left + l + right]` (`demucs/hdemucs.py: pad1d`).
    fn pad(&self, wave: &Tensor, left: i64, right: i64) -> Tensor {
        if self.beyond == Beyond::Silence {
            return wave.constant_pad_nd([left, right]);
        }
        // What is too short to be reflected that far is made longer with silence first.
        let missing = (left.max(right) - wave.size()[2] + 1).max(0);
        let extra_right = right.min(missing);
        let extra_left = missing - extra_right;
        let longer = wave.constant_pad_nd([extra_left, extra_right]);
        longer.reflection_pad1d([left - extra_left, right - extra_right])
    }

    /// `[b, c, nfft/2, ⌈l/hop⌉, 2]`, real and imaginary parts, in any layout → `[b, c, l]`.
    ///
    /// Two silent steps are added on each side, so that as many windows are counted at the ends as
    /// in the middle.
    pub(crate) fn inverse(&self, parts: &Tensor, length: i64) -> Tensor {
        let &[b, c, f, steps, _] = parts.size().as_slice() else {
            panic!("a spectrogram is [b, c, f, t, 2]");
        };
        let padded = Tensor::zeros([b, c, f + 1, steps + 4, 2], (Kind::Float, parts.device()));
        padded.narrow(2, 0, f).narrow(3, 2, steps).copy_(parts);
        let (start, beyond) = match self.beyond {
            Beyond::Reflection => (self.margin(), 2 * self.margin()),
            Beyond::Silence => (0, 0),
        };
        let (center, normalized, onesided, complex) = (true, true, true, false);
        let wave = padded.flatten(0, 1).view_as_complex().istft(
            self.nfft,
            self.hop,
            self.nfft,
            Some(&*self.window),
            center,
            normalized,
            onesided,
            self.hop * steps + beyond,
            complex,
        );
        wave.narrow(1, start, length).view([b, c, length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    #[test]
    fn the_way_there_and_back_is_the_identity() {
        for (nfft, length) in [(4096, 66_150), (4096, 9000), (512, 2048), (512, 2049), (64, 200)] {
            let spectrogram = Spectrogram::new(nfft, Beyond::Reflection, Device::Cpu);
            let time = Tensor::arange(length, CPU);
            let low = (&time * 0.05).sin();
            let high = (&time * 1.3).cos() * 0.5;
            let wave = Tensor::stack(&[&low + &high, low - high], 0).unsqueeze(0);

            let spectrum = spectrogram.forward(&wave);
            assert_eq!(spectrum.size(), [1, 2, nfft / 2, (length * 4 + nfft - 1) / nfft]);
            let again = spectrogram.inverse(&spectrum.view_as_real(), length);
            assert_eq!(again.size(), wave.size());

            // The reflection at the ends has kinks, and so a part at the highest frequency; no
            // window beyond its own length sees it.
            let inside = |xs: &Tensor| xs.narrow(2, nfft, length - 2 * nfft);
            let worst = (inside(&again) - inside(&wave)).abs().max().double_value(&[]);
            assert!(worst < 1e-4, "off by {worst} at nfft {nfft} and {length} frames");
        }
    }

    #[test]
    fn a_single_frame_has_a_spectrogram() {
        for beyond in [Beyond::Reflection, Beyond::Silence] {
            let spectrogram = Spectrogram::new(4096, beyond, Device::Cpu);
            let spectrum = spectrogram.forward(&Tensor::ones([1, 2, 1], CPU));
            assert_eq!(spectrum.size(), [1, 2, 2048, 1]);
            let again = spectrogram.inverse(&spectrum.view_as_real(), 1);
            assert_eq!(again.size(), [1, 2, 1]);
            assert!(again.isfinite().all().int64_value(&[]) == 1);
        }
    }
}
