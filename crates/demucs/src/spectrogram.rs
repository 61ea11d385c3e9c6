//! Between waveforms and spectrograms (`demucs/htdemucs.py: HTDemucs._spec, _ispec`, on
//! `demucs/spec.py: spectro, ispectro`).
//!
//! A waveform of `l` frames has ⌈l / hop⌉ time steps: step `t` is centred on the middle of hop
//! `t`. The highest of the nfft/2 + 1 frequencies is left out.

use tch::{Device, Kind, Tensor};

/// A short-time Fourier transform with a Hann window of `nfft` frames and a hop of a quarter of
/// it; unitary (`normalized`).
#[derive(Debug)]
pub(crate) struct Spectrogram {
    nfft: i64,
    hop: i64,
    window: Tensor,
}

impl Spectrogram {
    pub(crate) fn new(nfft: i64, device: Device) -> Self {
        let window = Tensor::hann_window(nfft, (Kind::Float, device));
        Self { nfft, hop: nfft / 4, window }
    }

    /// How much a window reaches beyond its hop on each side.
    fn margin(&self) -> i64 {
        self.hop / 2 * 3
    }

    /// `[b, c, l]`, longer than `nfft` → complex `[b, c, nfft/2, ⌈l/hop⌉]`.
    ///
    /// The reference pads once more, to centre the first and last windows on the ends, and then
    /// drops the two steps on each side that see this padding. Not to centre is the same.
    pub(crate) fn forward(&self, wave: &Tensor) -> Tensor {
        let (b, c, length) = wave.size3().expect("a waveform is [b, c, l]");
        let steps = (length + self.hop - 1) / self.hop;
        let right = self.margin() + steps * self.hop - length;
        let padded = wave.reflection_pad1d([self.margin(), right]).flatten(0, 1);
        let (normalized, onesided, complex) = (true, true, true);
        let spectrum = padded.stft(
            self.nfft,
            self.hop,
            self.nfft,
            Some(&self.window),
            normalized,
            onesided,
            complex,
            false,
        );
        spectrum.narrow(1, 0, self.nfft / 2).view([b, c, self.nfft / 2, steps])
    }

    /// Complex `[…, nfft/2, ⌈l/hop⌉]` → `[…, l]`.
    ///
    /// Two silent steps are added on each side, so that as many windows are counted at the ends as
    /// in the middle.
    pub(crate) fn inverse(&self, spectrum: &Tensor, length: i64) -> Tensor {
        let mut shape = spectrum.size();
        let steps = shape.pop().expect("a spectrogram has time steps");
        shape.pop();
        let padded = spectrum.constant_pad_nd([2, 2, 0, 1]);
        let flat = padded.view([-1, self.nfft / 2 + 1, steps + 4]);
        let with_margins = self.hop * steps + 2 * self.margin();
        let (center, normalized, onesided, complex) = (true, true, true, false);
        let wave = flat.istft(
            self.nfft,
            self.hop,
            self.nfft,
            Some(&self.window),
            center,
            normalized,
            onesided,
            with_margins,
            complex,
        );
        shape.push(length);
        wave.narrow(1, self.margin(), length).reshape(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

    #[test]
    fn the_way_there_and_back_is_the_identity() {
        for (nfft, length) in [(4096, 66_150), (4096, 9000), (512, 2048), (512, 2049), (64, 200)] {
            let spectrogram = Spectrogram::new(nfft, Device::Cpu);
            let time = Tensor::arange(length, CPU);
            let low = (&time * 0.05).sin();
            let high = (&time * 1.3).cos() * 0.5;
            let wave = Tensor::stack(&[&low + &high, low - high], 0).unsqueeze(0);

            let spectrum = spectrogram.forward(&wave);
            assert_eq!(spectrum.size(), [1, 2, nfft / 2, (length * 4 + nfft - 1) / nfft]);
            let again = spectrogram.inverse(&spectrum, length);
            assert_eq!(again.size(), wave.size());

            // The reflection at the ends has kinks, and so a part at the highest frequency; no
            // window beyond its own length sees it.
            let inside = |xs: &Tensor| xs.narrow(2, nfft, length - 2 * nfft);
            let worst = (inside(&again) - inside(&wave)).abs().max().double_value(&[]);
            assert!(worst < 1e-4, "off by {worst} at nfft {nfft} and {length} frames");
        }
    }
}
