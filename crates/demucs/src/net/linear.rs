//! Products of matrices: `[…, from]` → `[…, to]`.

use tch::{Device, Kind, Tensor};

use super::conv::Axis;
use super::weights::{Scope, Weight};

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
