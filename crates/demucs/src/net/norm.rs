//! What scales and shifts channels, with the names and shapes that PyTorch's modules give its
//! weights.

use tch::Tensor;

use super::weights::{Scope, Weight};

/// What PyTorch's norms add to the variance.
const EPSILON: f64 = 1e-5;

/// `nn.LayerNorm` over the channels: `[…, c]` → `[…, c]`.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    weight: Weight,
    bias: Weight,
}

impl LayerNorm {
    pub(crate) fn new(scope: &mut Scope, channels: i64) -> Self {
        let channels = [channels];
        Self { weight: scope.tensor("weight", &channels), bias: scope.tensor("bias", &channels) }
    }

    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        xs.layer_norm(self.weight.size(), Some(&*self.weight), Some(&*self.bias), EPSILON, true)
    }
}

/// `nn.GroupNorm`: `[b, f, t, c]` → `[b, f, t, c]`, each group of channels over all steps of both
/// axes.
#[derive(Clone, Debug)]
pub(crate) struct GroupNorm {
    groups: i64,
    weight: Weight,
    bias: Weight,
}

impl GroupNorm {
    pub(crate) fn new(scope: &mut Scope, channels: i64, groups: i64) -> Self {
        let channels = [channels];
        Self {
            groups,
            weight: scope.tensor("weight", &channels),
            bias: scope.tensor("bias", &channels),
        }
    }

    /// libtorch's own group norm, where channels are last, takes the variance for the difference of
    /// two sums, and loses it where sound is nearly silent. Its layer norm does not.
    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        let &[b, f, t, c] = xs.size().as_slice() else {
            panic!("a norm is over [b, f, t, c]");
        };
        let none = None::<&Tensor>;
        let mut normed = if self.groups == 1 {
            xs.layer_norm([f, t, c], none, none, EPSILON, true)
        } else {
            let apart = xs.view([b, f * t, self.groups, -1]).transpose(1, 2).contiguous();
            let normed = apart.layer_norm([f * t, c / self.groups], none, none, EPSILON, true);
            normed.transpose(1, 2).reshape([b, f, t, c])
        };
        normed.g_mul_(&self.weight).g_add_(&self.bias)
    }
}

/// One factor per channel (`demucs/transformer.py: LayerScale`).
#[derive(Clone, Debug)]
pub(crate) struct LayerScale(Weight);

impl LayerScale {
    pub(crate) fn new(scope: &mut Scope, channels: i64) -> Self {
        Self(scope.tensor("scale", &[channels]))
    }

    /// `xs` and what is scaled, `[…, c]` → their sum.
    pub(crate) fn add(&self, xs: &Tensor, scaled: &Tensor) -> Tensor {
        xs.addcmul(scaled, &self.0)
    }
}

/// The embedding of frequencies (`demucs/hdemucs.py: ScaledEmbedding`), scaled: added to
/// `[b, f, t, c]`.
#[derive(Clone, Debug)]
pub(crate) struct FrequencyEmbedding(Weight);

impl FrequencyEmbedding {
    pub(crate) fn new(scope: &mut Scope, [bins, channels]: [i64; 2], scale: f64) -> Self {
        let embedding = scope.at("embedding").tensor("weight", &[bins, channels]);
        // [f, c] → [f, 1, c]
        Self(embedding.map(|embedding| (embedding * scale).unsqueeze(1)))
    }

    pub(crate) fn add_to(&self, mut xs: Tensor) -> Tensor {
        xs.g_add_(&self.0)
    }
}
