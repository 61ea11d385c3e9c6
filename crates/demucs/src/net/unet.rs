//! The layers of which all three architectures are built (`demucs/hdemucs.py: HEncLayer,
//! HDecLayer`; in `demucs/demucs.py: Demucs` they are sequences of the same parts).
//!
//! Shapes: `[b, f, t, c]`. A layer of the frequency branch strides along `f`, any other along `t`.

use models::config::DConv as DConvConfig;
use tch::{Device, Tensor};

use super::conv::{Axis, Conv, Rewrite};
use super::dconv::{DConv, Extras};
use super::norm::GroupNorm;
use super::weights::Scope;

/// How one layer is built, on the way down and on the way up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub(crate) axis: Axis,
    pub(crate) kernel: i64,
    pub(crate) stride: i64,
    /// Whether there is padding, so that steps scale by the stride exactly.
    pub(crate) padded: bool,
    /// The groups of the norms, where there are any.
    pub(crate) norm_groups: Option<i64>,
    /// Neighbours on each side that the rewrite sees.
    pub(crate) context: i64,
    /// Whether it sees those at other frequencies too.
    pub(crate) context_across: bool,
    /// The residual branch, where there is one.
    pub(crate) dconv: Option<DConvConfig>,
    pub(crate) extras: Extras,
}

impl Level {
    fn strided(&self) -> [i64; 3] {
        [self.kernel, self.stride, if self.padded { self.kernel / 4 } else { 0 }]
    }

    fn context(&self) -> [i64; 2] {
        match self.axis {
            Axis::Frequency if self.context_across => [self.context, self.context],
            Axis::Frequency | Axis::Time => [0, self.context],
        }
    }

    fn norm(&self, scope: &mut Scope, channels: i64) -> Option<GroupNorm> {
        self.norm_groups.map(|groups| GroupNorm::new(scope, channels, groups))
    }

    fn dconv(&self, scope: &mut Scope, channels: i64) -> Option<DConv> {
        self.dconv.map(|config| DConv::new(scope, &config, channels, self.extras))
    }
}

/// What a layer does besides striding: a residual branch and a rewrite of the channels, which a
/// GLU halves again.
#[derive(Clone, Debug)]
pub(crate) struct Inner {
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) norm: Option<GroupNorm>,
    pub(crate) dconv: Option<DConv>,
}

impl Inner {
    /// As HDemucs names its parts; `norm` is the one of the rewrite.
    pub(crate) fn new(scope: &mut Scope, level: &Level, channels: i64, norm: &str) -> Self {
        let (axis, context) = (level.axis, level.context());
        let doubled = [channels, 2 * channels];
        Self {
            rewrite: Some(Rewrite::new(&mut scope.at("rewrite"), axis, doubled, context)),
            norm: level.norm(&mut scope.at(norm), 2 * channels),
            dconv: level.dconv(&mut scope.at("dconv"), channels),
        }
    }

    /// On the way down: `[b, f, t, c]` → the same.
    fn down(&self, xs: &Tensor) -> Tensor {
        let context = self.context_across();
        self.striped(xs, 0, |stripe| {
            let xs = self.dconv(stripe.shallow_clone());
            self.rewrite(&xs, context)
        })
    }

    /// On the way up: `[b, f, t, c]` → the same.
    fn up(&self, xs: &Tensor) -> Tensor {
        match self.context_across() {
            0 => self.striped(xs, 0, |stripe| self.dconv(self.rewrite(stripe, 0))),
            context => {
                let padded = xs.constant_pad_nd([0, 0, 0, 0, context, context]);
                self.striped(&padded, context, |stripe| self.dconv(self.rewrite(stripe, 0)))
            }
        }
    }

    /// Neighbours on each side, at other frequencies, that the rewrite sees.
    fn context_across(&self) -> i64 {
        self.rewrite.as_ref().map_or(0, Rewrite::context_across)
    }

    /// `padding` is what the rewrite adds at both ends of the frequencies.
    fn rewrite(&self, xs: &Tensor, padding: i64) -> Tensor {
        let Some(rewrite) = &self.rewrite else {
            return xs.shallow_clone();
        };
        normed(self.norm.as_ref(), rewrite.forward(xs, padding)).glu(-1)
    }

    fn dconv(&self, xs: Tensor) -> Tensor {
        match &self.dconv {
            Some(dconv) => dconv.forward(&xs),
            None => xs,
        }
    }

    /// Applies `part` to a few frequencies at a time, and `context` of their neighbours on each
    /// side, where they do not depend on the others: `[b, context + f + context, t, c]` →
    /// `[b, f, t, c]`. What is between the steps of `part` then fits into the processor's cache.
    fn striped(&self, xs: &Tensor, context: i64, part: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let &[b, padded, t, c] = xs.size().as_slice() else {
            panic!("a layer is given [b, f, t, c]");
        };
        let f = padded - 2 * context;
        let rows = (STRIPE / (b * t * c).max(1)).max(1);
        let alone = self.norm.is_none() && context == self.context_across();
        if !alone || xs.device() != Device::Cpu || f <= 2 * rows {
            return part(xs);
        }
        let all = Tensor::empty([b, f, t, c], (xs.kind(), xs.device()));
        for start in (0..f).step_by(rows as usize) {
            let count = rows.min(f - start);
            let done = part(&xs.narrow(1, start, count + 2 * context));
            all.narrow(1, start, count).copy_(&done);
        }
        all
    }
}

/// Values of a stripe: 1 MiB of them.
const STRIPE: i64 = 1 << 18;

/// `[b, f, t, from]` → `[b, f/stride, t, to]`, or `[b, f, ⌈t/stride⌉, to]`.
#[derive(Clone, Debug)]
pub(crate) struct EncoderLayer {
    pub(crate) level: Level,
    pub(crate) conv: Conv,
    pub(crate) norm: Option<GroupNorm>,
    /// The last layer of the time branch has none: what it gives goes into the other branch.
    pub(crate) inner: Option<Inner>,
}

impl EncoderLayer {
    /// As HDemucs names its parts.
    pub(crate) fn new(scope: &mut Scope, level: &Level, channels: [i64; 2]) -> Self {
        let mut layer = Self::empty(scope, level, channels);
        layer.norm = level.norm(&mut scope.at("norm1"), channels[1]);
        layer.inner = Some(Inner::new(scope, level, channels[1], "norm2"));
        layer
    }

    /// With its convolution alone.
    pub(crate) fn empty(scope: &mut Scope, level: &Level, channels: [i64; 2]) -> Self {
        let conv = Conv::down(&mut scope.at("conv"), level.axis, channels, level.strided());
        Self { level: *level, conv, norm: None, inner: None }
    }

    /// `inject` is added to what the convolution gives.
    pub(crate) fn forward(&self, xs: &Tensor, inject: Option<&Tensor>) -> Tensor {
        let mut xs = match self.level {
            Level { axis: Axis::Time, padded: true, stride, .. } => {
                self.conv.forward(&fill_last_stride(xs, stride))
            }
            _ => self.conv.forward(xs),
        };
        if let Some(inject) = inject {
            xs = xs.g_add_(inject);
        }
        let Some(inner) = &self.inner else {
            return xs;
        };
        inner.down(&normed(self.norm.as_ref(), xs).gelu_("none"))
    }
}

/// `[b, f, t, c]` → `[b, f, ⌈t/stride⌉·stride, c]`.
fn fill_last_stride(xs: &Tensor, stride: i64) -> Tensor {
    match xs.size()[2] % stride {
        0 => xs.shallow_clone(),
        beyond => xs.constant_pad_nd([0, 0, 0, stride - beyond]),
    }
}

/// `[b, f, t, from]` → `[b, f·stride, t, to]`, or `[b, f, length, to]`.
#[derive(Clone, Debug)]
pub(crate) struct DecoderLayer {
    pub(crate) level: Level,
    /// The first layer of the time branch has none: what it is given comes from the other branch.
    pub(crate) inner: Option<Inner>,
    pub(crate) conv_tr: Conv,
    pub(crate) norm: Option<GroupNorm>,
    /// The last layer's result is not passed through an activation.
    pub(crate) last: bool,
}

impl DecoderLayer {
    /// As HDemucs names its parts.
    pub(crate) fn new(scope: &mut Scope, level: &Level, channels: [i64; 2], last: bool) -> Self {
        let mut layer = Self::empty(scope, level, channels, last);
        layer.inner = Some(Inner::new(scope, level, channels[0], "norm1"));
        layer
    }

    /// With its convolution alone.
    pub(crate) fn empty(scope: &mut Scope, level: &Level, channels: [i64; 2], last: bool) -> Self {
        let conv_tr = Conv::up(&mut scope.at("conv_tr"), level.axis, channels, level.strided());
        let norm = level.norm(&mut scope.at("norm2"), channels[1]);
        Self { level: *level, inner: None, conv_tr, norm, last }
    }

    /// `skip` is what the encoder layer of the same level gave, `xs` what the layer below gave, if
    /// it is not the first; `length` is how many time steps the encoder layer took.
    pub(crate) fn forward(&self, xs: Option<Tensor>, skip: &Tensor, length: i64) -> Tensor {
        self.widen(&self.rewrite(xs, skip), length)
    }

    /// The first half of it: `[b, f, t, from]` → the same.
    pub(crate) fn rewrite(&self, xs: Option<Tensor>, skip: &Tensor) -> Tensor {
        let xs = match xs {
            Some(mut xs) => xs.g_add_(skip),
            None => skip.shallow_clone(),
        };
        match &self.inner {
            Some(inner) => inner.up(&xs),
            None => xs,
        }
    }

    /// The second half.
    pub(crate) fn widen(&self, xs: &Tensor, length: i64) -> Tensor {
        let mut xs = match &self.norm {
            // It is over all that the convolution gives, before the padding is cut off.
            Some(norm) => self.trim(&norm.forward(&self.conv_tr.clone().unpadded().forward(xs))),
            None => self.conv_tr.forward(xs),
        };
        if self.level.axis == Axis::Time && self.level.padded {
            xs = xs.narrow(2, 0, length);
        }
        if self.last { xs } else { xs.gelu_("none") }
    }

    fn trim(&self, xs: &Tensor) -> Tensor {
        let [_, _, padding] = self.level.strided();
        let dim = if self.level.axis == Axis::Frequency { 1 } else { 2 };
        xs.narrow(dim, padding, xs.size()[dim as usize] - 2 * padding)
    }
}

fn normed(norm: Option<&GroupNorm>, xs: Tensor) -> Tensor {
    match norm {
        Some(norm) => norm.forward(&xs),
        None => xs,
    }
}
