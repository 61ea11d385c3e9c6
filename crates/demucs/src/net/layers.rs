//! The parts that carry weights, each with the names and shapes that PyTorch's modules give them.
//!
//! Shapes: everything inside a network is channels last, `[b, f, t, c]` in memory: `b` batch, `f`
//! frequencies, `t` time steps, `c` channels. A waveform is a spectrogram of one frequency. This is
//! the layout in which a convolution over one step is a product of matrices, a channel's factors
//! lie side by side, and libtorch's convolutions need no reordering.

use tch::{Device, Kind, Tensor};

use super::weights::{Scope, Weight};

/// What PyTorch's norms add to the variance.
const EPSILON: f64 = 1e-5;

/// The axis along which a layer strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// `f`: its weights are those of `nn.Conv2d`.
    Frequency,
    /// `t`: its weights are those of `nn.Conv1d`.
    Time,
}

impl Axis {
    /// `along` this axis, and `across` along the other one, as `[f, t]`.
    fn both(self, along: i64, across: i64) -> [i64; 2] {
        match self {
            Self::Frequency => [along, across],
            Self::Time => [across, along],
        }
    }

    /// Takes a kernel, and gives it as one over both axes, channels last.
    fn kernel(self, scope: &mut Scope, channels: [i64; 2], kernel: [i64; 2]) -> Weight {
        let weight = match self {
            Self::Frequency => scope.tensor("weight", &[&channels[..], &kernel].concat()),
            Self::Time => scope.tensor("weight", &[&channels[..], &kernel[1..]].concat()),
        };
        let [f, t] = kernel;
        weight.map(|weight| {
            let weight = weight.view([channels[0], channels[1], f, t]);
            weight.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
        })
    }
}

/// `nn.Conv1d`, `nn.Conv2d`, `nn.ConvTranspose1d` and `nn.ConvTranspose2d`.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    weight: Weight,
    bias: Weight,
    stride: [i64; 2],
    padding: [i64; 2],
    dilation: [i64; 2],
    transposed: bool,
}

impl Conv {
    /// Along time, as many steps as it is given: `[b, f, t, from]` → `[b, f, t, to]`. The kernel
    /// is odd.
    pub(crate) fn same(
        scope: &mut Scope,
        [from, to]: [i64; 2],
        kernel: i64,
        dilation: i64,
    ) -> Self {
        Self {
            weight: Axis::Time.kernel(scope, [to, from], [1, kernel]),
            bias: scope.tensor("bias", &[to]),
            stride: [1, 1],
            padding: [0, dilation * (kernel / 2)],
            dilation: [1, dilation],
            transposed: false,
        }
    }

    /// Over `context` neighbours on each side, `[f, t]`: `[b, f, t, from]` → `[b, f, t, to]`.
    pub(crate) fn around(
        scope: &mut Scope,
        axis: Axis,
        [from, to]: [i64; 2],
        context: [i64; 2],
    ) -> Self {
        let kernel = context.map(|context| 1 + 2 * context);
        Self {
            weight: axis.kernel(scope, [to, from], kernel),
            bias: scope.tensor("bias", &[to]),
            stride: [1, 1],
            padding: context,
            dilation: [1, 1],
            transposed: false,
        }
    }

    /// Along `axis`, to one step per `stride` steps, after `padding` on both sides.
    pub(crate) fn down(
        scope: &mut Scope,
        axis: Axis,
        [from, to]: [i64; 2],
        [kernel, stride, padding]: [i64; 3],
    ) -> Self {
        Self {
            weight: axis.kernel(scope, [to, from], axis.both(kernel, 1)),
            bias: scope.tensor("bias", &[to]),
            stride: axis.both(stride, 1),
            padding: axis.both(padding, 0),
            dilation: [1, 1],
            transposed: false,
        }
    }

    /// The way back from [`Conv::down`]: `stride` steps per step, without `padding` on both sides.
    pub(crate) fn up(
        scope: &mut Scope,
        axis: Axis,
        [from, to]: [i64; 2],
        [kernel, stride, padding]: [i64; 3],
    ) -> Self {
        Self {
            weight: axis.kernel(scope, [from, to], axis.both(kernel, 1)),
            bias: scope.tensor("bias", &[to]),
            stride: axis.both(stride, 1),
            padding: axis.both(padding, 0),
            dilation: [1, 1],
            transposed: true,
        }
    }

    /// The same without the padding.
    pub(crate) fn unpadded(self) -> Self {
        Self { padding: [0, 0], ..self }
    }

    /// `[to]`
    pub(crate) fn bias(&self) -> &Tensor {
        &self.bias
    }

    /// `[b, f, t, from]` → `[b, f', t', to]`.
    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        self.forward_padded(xs, self.padding)
    }

    /// The same with other padding.
    fn forward_padded(&self, xs: &Tensor, padding: [i64; 2]) -> Tensor {
        let groups = 1;
        let channels_last = xs.permute([0, 3, 1, 2]).convolution(
            &self.weight,
            Some(&*self.bias),
            self.stride,
            padding,
            self.dilation,
            self.transposed,
            [0, 0],
            groups,
        );
        channels_last.permute([0, 2, 3, 1]).contiguous()
    }
}

/// `nn.Linear`, and a convolution with a kernel of 1: `[…, from]` → `[…, to]`.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Weight,
}

impl Linear {
    /// As `nn.Linear` has it.
    pub(crate) fn new(scope: &mut Scope, [from, to]: [i64; 2]) -> Self {
        Self { weight: scope.tensor("weight", &[to, from]), bias: scope.tensor("bias", &[to]) }
    }

    /// As `nn.Conv1d` (`axis` time) or `nn.Conv2d` has it.
    pub(crate) fn pointwise(scope: &mut Scope, axis: Axis, [from, to]: [i64; 2]) -> Self {
        let shape: &[i64] = match axis {
            Axis::Frequency => &[to, from, 1, 1],
            Axis::Time => &[to, from, 1],
        };
        let weight = scope.tensor("weight", shape).map(|weight| weight.view([to, from]));
        Self { weight, bias: scope.tensor("bias", &[to]) }
    }

    /// Some of the outputs of one layer as a layer of their own.
    pub(crate) fn of(weight: Weight, bias: Weight, from: i64, count: i64) -> Self {
        Self {
            weight: weight.map(|weight| weight.narrow(0, from, count)),
            bias: bias.map(|bias| bias.narrow(0, from, count)),
        }
    }

    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        match onednn(xs) {
            Some(rows) => from_onednn(&self.in_onednn(&rows), xs),
            None => xs.linear(&self.weight, Some(&*self.bias)),
        }
    }

    /// Rows `[n, from]` → `[n, to]`, both in oneDNN's own form.
    fn in_onednn(&self, rows: &Tensor) -> Tensor {
        rows.mkldnn_linear(&self.weight, Some(&*self.bias))
    }
}

/// Two layers with a GELU between them: `[…, from]` → `[…, to]`.
#[derive(Clone, Debug)]
pub(crate) struct FeedForward {
    pub(crate) inner: Linear,
    pub(crate) outer: Linear,
}

impl FeedForward {
    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        match onednn(xs) {
            Some(rows) => {
                let hidden = self.inner.in_onednn(&rows).gelu("none");
                from_onednn(&self.outer.in_onednn(&hidden), xs)
            }
            None => self.outer.forward(&self.inner.forward(xs).gelu_("none")),
        }
    }
}

/// Rows shorter than this, or fewer, are not worth a copy.
const WORTH: i64 = 256;

/// `[…, c]` as rows `[n, c]` in the form in which oneDNN multiplies matrices: a quarter faster, on
/// processors with AVX-512, than the library that libtorch multiplies them with by itself. The
/// way there and back is a copy.
fn onednn(xs: &Tensor) -> Option<Tensor> {
    let c = *xs.size().last()?;
    let rows = xs.numel() as i64 / c.max(1);
    let here = xs.device() == Device::Cpu && xs.kind() == Kind::Float;
    let worth = c >= WORTH && rows >= WORTH;
    (here && worth && tch::utils::has_mkldnn()).then(|| xs.reshape([rows, c]).g_to_mkldnn(None))
}

/// And back: rows `[n, to]` → `[…, to]`, in the shape of `like`.
fn from_onednn(rows: &Tensor, like: &Tensor) -> Tensor {
    let mut shape = like.size();
    shape.pop();
    shape.push(-1);
    rows.to_dense(None, false).view(shape.as_slice())
}

/// A convolution with a kernel of 1 or more, over `context` neighbours on each side.
#[derive(Clone, Debug)]
pub(crate) enum Rewrite {
    /// None.
    Pointwise(Linear),
    /// Some.
    Around(Conv),
}

impl Rewrite {
    /// `[b, f, t, from]` → `[b, f, t, to]`; `context` is `[f, t]`.
    pub(crate) fn new(
        scope: &mut Scope,
        axis: Axis,
        channels: [i64; 2],
        context: [i64; 2],
    ) -> Self {
        match context {
            [0, 0] => Self::Pointwise(Linear::pointwise(scope, axis, channels)),
            context => Self::Around(Conv::around(scope, axis, channels, context)),
        }
    }

    /// Neighbours on each side, at other frequencies.
    pub(crate) fn context_across(&self) -> i64 {
        match self {
            Self::Pointwise(_) => 0,
            Self::Around(conv) => conv.padding[0],
        }
    }

    /// With silence for `padding` neighbours beyond either end of the frequencies; of those that
    /// are seen and not added, there are as many fewer in the result.
    pub(crate) fn forward(&self, xs: &Tensor, padding: i64) -> Tensor {
        match self {
            Self::Pointwise(linear) => linear.forward(xs),
            Self::Around(conv) => conv.forward_padded(xs, [padding, conv.padding[1]]),
        }
    }
}

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
