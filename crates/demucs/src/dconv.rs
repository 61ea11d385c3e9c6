//! The residual branch inside encoder and decoder layers (`demucs/demucs.py: DConv`, without its
//! LSTM and attention, which HTDemucs does not use).

use tch::Tensor;

use crate::layers::{Conv, GroupNorm, LayerScale};
use crate::weights::Scope;

const KERNEL: i64 = 3;

/// Layers of dilated convolutions along time, each added to what it was given.
#[derive(Debug)]
pub(crate) struct DConv {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    squeeze: Conv,
    norm_inside: GroupNorm,
    widen: Conv,
    norm_outside: GroupNorm,
    scale: LayerScale,
}

impl DConv {
    pub(crate) fn new(scope: &mut Scope, channels: i64, compress: i64, depth: i64) -> Self {
        let mut scope = scope.at("layers");
        let hidden = channels / compress;
        let layers =
            (0..depth).map(|index| Layer::new(&mut scope.at(index), channels, hidden, 1 << index));
        Self { layers: layers.collect() }
    }

    /// `[b, c, t]` → `[b, c, t]`.
    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        let mut xs = xs.shallow_clone();
        for layer in &self.layers {
            xs = &xs + layer.forward(&xs);
        }
        xs
    }
}

impl Layer {
    /// The names are positions in an `nn.Sequential`; 2 and 5 are activations.
    fn new(scope: &mut Scope, channels: i64, hidden: i64, dilation: i64) -> Self {
        let doubled = 2 * channels; // GLU halves them
        Self {
            squeeze: Conv::same(&mut scope.at(0), [channels, hidden], KERNEL, dilation),
            norm_inside: GroupNorm::new(&mut scope.at(1), hidden),
            widen: Conv::same(&mut scope.at(3), [hidden, doubled], 1, 1),
            norm_outside: GroupNorm::new(&mut scope.at(4), doubled),
            scale: LayerScale::channels_first(&mut scope.at(6), channels),
        }
    }

    /// `[b, c, t]` → `[b, c, t]`.
    fn forward(&self, xs: &Tensor) -> Tensor {
        let hidden = self.norm_inside.forward(&self.squeeze.forward(xs)).gelu("none");
        let wide = self.norm_outside.forward(&self.widen.forward(&hidden)).glu(1);
        self.scale.forward(&wide)
    }
}
