//! The residual branch inside encoder and decoder layers (`demucs/demucs.py: DConv`).

use models::config::{DConv as Config, Deeper};
use tch::Tensor;

use super::conv::{Axis, Conv};
use super::linear::Linear;
use super::local_attention::LocalAttention;
use super::lstm::Lstm;
use super::norm::{GroupNorm, LayerScale};
use super::weights::Scope;

const KERNEL: i64 = 3;

/// What a branch has besides its convolutions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras {
    pub(crate) lstm: bool,
    pub(crate) attention: bool,
}

impl Extras {
    /// Those in layer `layer` of a network.
    pub(crate) fn of(deeper: &Deeper, layer: i64) -> Self {
        Self { lstm: layer >= deeper.lstm, attention: layer >= deeper.attention }
    }
}

/// Layers of dilated convolutions along time, each added to what it was given. Each frequency goes
/// through by itself.
#[derive(Clone, Debug)]
pub(crate) struct DConv {
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    squeeze: Conv,
    norm_inside: GroupNorm,
    lstm: Option<Lstm>,
    attention: Option<LocalAttention>,
    widen: Linear,
    norm_outside: GroupNorm,
    scale: LayerScale,
}

impl DConv {
    pub(crate) fn new(scope: &mut Scope, config: &Config, channels: i64, extras: Extras) -> Self {
        let mut scope = scope.at("layers");
        let hidden = channels / config.compress;
        let layers = (0..config.depth)
            .map(|index| Layer::new(&mut scope.at(index), [channels, hidden], 1 << index, extras));
        Self { layers: layers.collect() }
    }

    /// `[b, f, t, c]` → `[b, f, t, c]`.
    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        let &[b, f, t, c] = xs.size().as_slice() else {
            panic!("a layer is given [b, f, t, c]");
        };
        let mut rows = xs.reshape([b * f, 1, t, c]);
        for layer in &self.layers {
            rows = layer.forward(&rows);
        }
        rows.view([b, f, t, c])
    }
}

impl Layer {
    /// The names are positions in an `nn.Sequential`, in which activations count too.
    fn new(
        scope: &mut Scope,
        [channels, hidden]: [i64; 2],
        dilation: i64,
        Extras { lstm, attention }: Extras,
    ) -> Self {
        let doubled = 2 * channels; // GLU halves them
        let after_lstm = if lstm { 4 } else { 3 };
        let after_both = if attention { after_lstm + 1 } else { after_lstm };
        Self {
            squeeze: Conv::same(&mut scope.at(0), [channels, hidden], KERNEL, dilation),
            norm_inside: GroupNorm::new(&mut scope.at(1), hidden, 1),
            lstm: lstm.then(|| Lstm::new(&mut scope.at(3), hidden)),
            attention: attention.then(|| LocalAttention::new(&mut scope.at(after_lstm), hidden)),
            widen: Linear::pointwise(&mut scope.at(after_both), Axis::Time, [hidden, doubled]),
            norm_outside: GroupNorm::new(&mut scope.at(after_both + 1), doubled, 1),
            scale: LayerScale::new(&mut scope.at(after_both + 3), channels),
        }
    }

    /// Each row of `[r, 1, t, c]` → the same, with what this layer has to add.
    fn forward(&self, rows: &Tensor) -> Tensor {
        let mut hidden = self.norm_inside.forward(&self.squeeze.forward(rows)).gelu_("none");
        if let Some(lstm) = &self.lstm {
            hidden = lstm.forward(&hidden.squeeze_dim(1)).unsqueeze(1);
        }
        if let Some(attention) = &self.attention {
            hidden = attention.forward(&hidden.squeeze_dim(1)).unsqueeze(1);
        }
        let wide = self.norm_outside.forward(&self.widen.forward(&hidden)).glu(-1);
        self.scale.add(rows, &wide)
    }
}
