//! The parts that carry weights, each with the names and shapes that PyTorch's modules give them.
//!
//! Shapes: `b` batch, `c` channels, `f` frequencies, `t` time steps, `n` tokens.

use tch::Tensor;

use crate::weights::Scope;

/// What PyTorch's norms add to the variance.
const EPSILON: f64 = 1e-5;

/// The axis along which a layer strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// `f` of `[b, c, f, t]`.
    Frequency,
    /// `t` of `[b, c, t]`.
    Time,
}

impl Axis {
    /// A length along this axis, and `across` along the time of a spectrogram.
    fn sizes(self, along: i64, across: i64) -> Vec<i64> {
        match self {
            Self::Frequency => vec![along, across],
            Self::Time => vec![along],
        }
    }
}

/// `nn.Conv1d`, `nn.Conv2d`, `nn.ConvTranspose1d` and `nn.ConvTranspose2d`.
#[derive(Debug)]
pub(crate) struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: Vec<i64>,
    padding: Vec<i64>,
    dilation: i64,
    transposed: bool,
}

impl Conv {
    /// Along time: `[b, from, t]` → `[b, to, t]`. The kernel is odd.
    pub(crate) fn same(
        scope: &mut Scope,
        [from, to]: [i64; 2],
        kernel: i64,
        dilation: i64,
    ) -> Self {
        Self {
            weight: scope.tensor("weight", &[to, from, kernel]),
            bias: scope.tensor("bias", &[to]),
            stride: vec![1],
            padding: vec![dilation * (kernel / 2)],
            dilation,
            transposed: false,
        }
    }

    /// Over `context` neighbours on each side, along time or in both directions of a
    /// spectrogram: `[b, from, …]` → `[b, to, …]`.
    pub(crate) fn around(
        scope: &mut Scope,
        axis: Axis,
        [from, to]: [i64; 2],
        context: i64,
    ) -> Self {
        let kernel = axis.sizes(1 + 2 * context, 1 + 2 * context);
        Self {
            weight: scope.tensor("weight", &[&[to, from], &kernel[..]].concat()),
            bias: scope.tensor("bias", &[to]),
            stride: axis.sizes(1, 1),
            padding: axis.sizes(context, context),
            dilation: 1,
            transposed: false,
        }
    }

    /// Along `axis`, to one step per `stride` steps: `[b, from, …]` → `[b, to, …]`.
    pub(crate) fn down(
        scope: &mut Scope,
        axis: Axis,
        [from, to]: [i64; 2],
        kernel: i64,
        stride: i64,
    ) -> Self {
        let kernels = axis.sizes(kernel, 1);
        Self {
            weight: scope.tensor("weight", &[&[to, from], &kernels[..]].concat()),
            bias: scope.tensor("bias", &[to]),
            stride: axis.sizes(stride, 1),
            padding: axis.sizes(kernel / 4, 0),
            dilation: 1,
            transposed: false,
        }
    }

    /// The way back from [`Conv::down`]: `stride` steps per step.
    pub(crate) fn up(
        scope: &mut Scope,
        axis: Axis,
        [from, to]: [i64; 2],
        kernel: i64,
        stride: i64,
    ) -> Self {
        let kernels = axis.sizes(kernel, 1);
        Self {
            weight: scope.tensor("weight", &[&[from, to], &kernels[..]].concat()),
            bias: scope.tensor("bias", &[to]),
            stride: axis.sizes(stride, 1),
            padding: axis.sizes(kernel / 4, 0),
            dilation: 1,
            transposed: true,
        }
    }

    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        let (stride, padding) = (self.stride.as_slice(), self.padding.as_slice());
        let dilation = vec![self.dilation; stride.len()];
        let output_padding = vec![0; stride.len()];
        let groups = 1;
        xs.convolution(
            &self.weight,
            Some(&self.bias),
            stride,
            padding,
            dilation,
            self.transposed,
            output_padding,
            groups,
        )
    }
}

/// `nn.Linear`: `[…, from]` → `[…, to]`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(crate) fn new(scope: &mut Scope, [from, to]: [i64; 2]) -> Self {
        Self { weight: scope.tensor("weight", &[to, from]), bias: scope.tensor("bias", &[to]) }
    }

    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        xs.linear(&self.weight, Some(&self.bias))
    }
}

/// A norm with a weight and a bias per channel.
#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(scope: &mut Scope, channels: i64) -> Self {
        Self {
            weight: scope.tensor("weight", &[channels]),
            bias: scope.tensor("bias", &[channels]),
        }
    }
}

/// `nn.LayerNorm` over the channels of each token: `[b, n, c]` → `[b, n, c]`.
#[derive(Debug)]
pub(crate) struct LayerNorm(Norm);

impl LayerNorm {
    pub(crate) fn new(scope: &mut Scope, channels: i64) -> Self {
        Self(Norm::new(scope, channels))
    }

    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        let Norm { weight, bias } = &self.0;
        xs.layer_norm(weight.size(), Some(weight), Some(bias), EPSILON, true)
    }
}

/// `nn.GroupNorm` with one group, over all channels and steps: `[b, c, t]` → `[b, c, t]`.
#[derive(Debug)]
pub(crate) struct GroupNorm(Norm);

impl GroupNorm {
    pub(crate) fn new(scope: &mut Scope, channels: i64) -> Self {
        Self(Norm::new(scope, channels))
    }

    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        let Norm { weight, bias } = &self.0;
        let groups = 1;
        xs.group_norm(groups, Some(weight), Some(bias), EPSILON, true)
    }
}

/// One factor per channel (`demucs/transformer.py: LayerScale`).
#[derive(Debug)]
pub(crate) struct LayerScale(Tensor);

impl LayerScale {
    /// For `[b, n, c]`.
    pub(crate) fn channels_last(scope: &mut Scope, channels: i64) -> Self {
        Self(scope.tensor("scale", &[channels]))
    }

    /// For `[b, c, t]`.
    pub(crate) fn channels_first(scope: &mut Scope, channels: i64) -> Self {
        Self(scope.tensor("scale", &[channels]).unsqueeze(-1))
    }

    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        xs * &self.0
    }
}

/// The embedding of frequencies (`demucs/hdemucs.py: ScaledEmbedding`), scaled: added to
/// `[b, c, f, t]`.
#[derive(Debug)]
pub(crate) struct FrequencyEmbedding(Tensor);

impl FrequencyEmbedding {
    pub(crate) fn new(scope: &mut Scope, [bins, channels]: [i64; 2], scale: f64) -> Self {
        let embedding = scope.at("embedding").tensor("weight", &[bins, channels]);
        // [f, c] → [c, f, 1]
        Self((embedding * scale).transpose(0, -1).unsqueeze(-1))
    }

    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        xs + &self.0
    }
}
