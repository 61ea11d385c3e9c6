//! The networks: one stretch of sound in, one per source out.
//!
//! Shapes: everything inside a network is channels last, `[b, f, t, c]` in memory: `b` batch, `f`
//! frequencies, `t` time steps, `c` channels. A waveform is a spectrogram of one frequency. This is
//! the layout in which a convolution over one step is a product of matrices, a channel's factors
//! lie side by side, and libtorch's convolutions need no reordering.

mod bands;
mod conv;
mod dconv;
mod demucs;
mod hdemucs;
mod head;
mod htdemucs;
mod linear;
mod local_attention;
mod lstm;
mod norm;
mod resample;
mod spectrogram;
mod transformer;
mod unet;
mod weights;

use models::Config;
use tch::Tensor;

pub(crate) use weights::{Scope, Weights};

/// A network of any of the three architectures. Its copies share their weights.
#[derive(Clone, Debug)]
pub(crate) enum Net {
    HtDemucs(Box<htdemucs::HtDemucs>),
    HDemucs(Box<hdemucs::HDemucs>),
    Demucs(Box<demucs::Demucs>),
}

impl Net {
    /// Takes all weights from `scope`.
    pub(crate) fn new(scope: &mut Scope, config: &Config) -> Self {
        match config {
            Config::HtDemucs(config) => {
                Self::HtDemucs(Box::new(htdemucs::HtDemucs::new(scope, config)))
            }
            Config::HDemucs(config) => {
                Self::HDemucs(Box::new(hdemucs::HDemucs::new(scope, config)))
            }
            Config::Demucs(config) => Self::Demucs(Box::new(demucs::Demucs::new(scope, config))),
        }
    }

    /// `[b, 2, l]` → `[b, s, 2, l]`, f32; l as [`models::Fit`] tells it.
    pub(crate) fn forward(&self, mix: &Tensor) -> Tensor {
        match self {
            Self::HtDemucs(net) => net.forward(mix),
            Self::HDemucs(net) => net.forward(mix),
            Self::Demucs(net) => net.forward(mix),
        }
    }
}
