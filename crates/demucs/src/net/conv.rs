//! Convolutions, with the names and shapes that PyTorch's modules give their weights.
//!
//! Shapes: `[b, f, t, c]`, as everything inside a network.

use tch::Tensor;

use super::linear::Linear;
use super::weights::{Scope, Weight};

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
        strided: [i64; 3],
    ) -> Self {
        Self { transposed: false, ..Self::strided(scope, axis, [to, from], to, strided) }
    }

    /// The way back from [`Conv::down`]: `stride` steps per step, without `padding` on both sides.
    pub(crate) fn up(
        scope: &mut Scope,
        axis: Axis,
        [from, to]: [i64; 2],
        strided: [i64; 3],
    ) -> Self {
        Self { transposed: true, ..Self::strided(scope, axis, [from, to], to, strided) }
    }

    fn strided(
        scope: &mut Scope,
        axis: Axis,
        channels: [i64; 2],
        to: i64,
        [kernel, stride, padding]: [i64; 3],
    ) -> Self {
        Self {
            weight: axis.kernel(scope, channels, axis.both(kernel, 1)),
            bias: scope.tensor("bias", &[to]),
            stride: axis.both(stride, 1),
            padding: axis.both(padding, 0),
            dilation: [1, 1],
            transposed: false,
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
