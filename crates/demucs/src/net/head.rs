//! What the hybrid networks do around their two branches: from sound to what a branch takes, and
//! from what it gives to sound.

use audio::CHANNELS;
use tch::{Kind, Tensor};

/// What keeps a division by a deviation finite.
const EPSILON: f64 = 1e-5;

/// The mean and the deviation of each item of a batch, over all else.
#[derive(Debug)]
pub(crate) struct Scale {
    mean: Tensor,
    std: Tensor,
}

impl Scale {
    /// `[b, …]` → the same with mean 0 and deviation 1.
    pub(crate) fn normalize(xs: &Tensor) -> (Tensor, Self) {
        let all_else: Vec<i64> = (1..xs.dim() as i64).collect();
        let mean = xs.mean_dim(all_else.as_slice(), true, Kind::Float);
        let std = xs.std_dim(all_else.as_slice(), true, true);
        ((xs - &mean) / (&std + EPSILON), Self { mean, std })
    }

    /// Takes `xs` `[b, …]` back to where it came from, in place.
    pub(crate) fn restore(&self, mut xs: Tensor) -> Tensor {
        let mut shape = vec![1; xs.dim()];
        shape[0] = -1;
        let _ = xs.g_mul_(&self.std.view(shape.as_slice()));
        xs.g_add_(&self.mean.view(shape.as_slice()))
    }
}

/// How the frequency branch sees a spectrogram, and what it gives is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parts {
    /// Complex as channels: each channel's real part, then its imaginary part.
    Complex,
    /// Magnitudes; what is given goes with the phase of the mix, or where the mix is silent, with
    /// none (`HDemucs._wiener` without iterations).
    Magnitude,
    /// Magnitudes; what is given goes with the phase of the mix, and fades where that does
    /// (`_mask` where `wiener_iters` is negative).
    Fading,
}

impl Parts {
    /// Complex `[b, 2, f, t]` → `[b, f, t, c]`.
    pub(crate) fn split(self, spectrum: &Tensor) -> Tensor {
        match self {
            Self::Complex => spectrum.view_as_real().permute([0, 2, 3, 1, 4]).flatten(3, 4),
            Self::Magnitude | Self::Fading => spectrum.abs().permute([0, 2, 3, 1]).contiguous(),
        }
    }

    /// `[b, f, t, s·c]` and the mix, complex `[b, 2, f, t]` → `[b, s·2, f, t, 2]`, real and
    /// imaginary parts.
    pub(crate) fn join(self, xs: &Tensor, mix: &Tensor) -> Tensor {
        let &[b, f, t, c] = xs.size().as_slice() else {
            panic!("a separated spectrogram is [b, f, t, s·c]");
        };
        if let Self::Complex = self {
            return xs.view([b, f, t, c / 2, 2]).permute([0, 3, 1, 2, 4]);
        }
        let channels = CHANNELS as i64;
        let magnitudes = xs.view([b, f, t, c / channels, channels]).permute([0, 3, 4, 1, 2]);
        let phase = match self {
            Self::Fading => mix / (mix.abs() + 1e-8),
            _ => Tensor::polar(&mix.abs().ones_like(), &mix.angle()),
        };
        (phase.unsqueeze(1) * magnitudes).view_as_real().flatten(1, 2)
    }
}

/// Sound as the time branch takes it: `[b, 2, l]` → `[b, 1, l, 2]`.
pub(crate) fn channels_last(wave: &Tensor) -> Tensor {
    wave.transpose(1, 2).contiguous().unsqueeze(1)
}

/// What the time branch gives as sound: `[b, 1, l, s·2]` → `[b, s, 2, l]`.
pub(crate) fn channels_first(xs: &Tensor) -> Tensor {
    let (b, _, l, c) = xs.size4().expect("separated sound is [b, 1, l, s·2]");
    let channels = CHANNELS as i64;
    xs.view([b, l, c / channels, channels]).permute([0, 2, 3, 1])
}
