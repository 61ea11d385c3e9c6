//! The layers that HTDemucs has in common with its forerunner Hybrid Demucs
//! (`demucs/hdemucs.py: HEncLayer, HDecLayer`), without norms, which begin deeper than any layer
//! here.
//!
//! Shapes: a layer of the frequency branch takes `[b, c, f, t]` and strides along `f`; one of the
//! time branch takes `[b, c, t]` and strides along `t`.

use tch::Tensor;

use crate::dconv::DConv;
use crate::layers::{Axis, Conv};
use crate::weights::Scope;
use models::config::HtDemucs as Config;

const IN_ENCODER: i64 = 1;
const IN_DECODER: i64 = 2;

/// `[b, from, f, t]` → `[b, to, f/stride, t]`, or `[b, from, t]` → `[b, to, ⌈t/stride⌉]`.
#[derive(Debug)]
pub(crate) struct EncoderLayer {
    axis: Axis,
    stride: i64,
    conv: Conv,
    dconv: Option<DConv>,
    rewrite: Conv,
}

impl EncoderLayer {
    pub(crate) fn new(
        scope: &mut Scope,
        config: &Config,
        axis: Axis,
        [from, to]: [i64; 2],
    ) -> Self {
        let Config { kernel_size, stride, context_enc, .. } = *config;
        Self {
            axis,
            stride,
            conv: Conv::down(&mut scope.at("conv"), axis, [from, to], kernel_size, stride),
            dconv: dconv(scope, config, IN_ENCODER, to),
            rewrite: Conv::around(&mut scope.at("rewrite"), axis, [to, 2 * to], context_enc),
        }
    }

    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        let mut xs = match self.axis {
            Axis::Frequency => self.conv.forward(xs),
            Axis::Time => self.conv.forward(&self.pad(xs)),
        };
        xs = xs.gelu("none");
        if let Some(dconv) = &self.dconv {
            xs = along_time(&xs, dconv);
        }
        self.rewrite.forward(&xs).glu(1)
    }

    /// Fills the last stride: `[b, c, t]` → `[b, c, ⌈t/stride⌉·stride]`.
    fn pad(&self, xs: &Tensor) -> Tensor {
        let beyond = xs.size()[2] % self.stride;
        if beyond == 0 {
            return xs.shallow_clone();
        }
        xs.constant_pad_nd([0, self.stride - beyond])
    }
}

/// `[b, from, f, t]` → `[b, to, f·stride, t]`, or `[b, from, t]` → `[b, to, length]`.
#[derive(Debug)]
pub(crate) struct DecoderLayer {
    axis: Axis,
    rewrite: Conv,
    dconv: Option<DConv>,
    conv_tr: Conv,
    last: bool,
}

impl DecoderLayer {
    /// The `last` layer's result is not passed through an activation.
    pub(crate) fn new(
        scope: &mut Scope,
        config: &Config,
        axis: Axis,
        [from, to]: [i64; 2],
        last: bool,
    ) -> Self {
        let Config { kernel_size, stride, context, .. } = *config;
        Self {
            axis,
            rewrite: Conv::around(&mut scope.at("rewrite"), axis, [from, 2 * from], context),
            dconv: dconv(scope, config, IN_DECODER, from),
            conv_tr: Conv::up(&mut scope.at("conv_tr"), axis, [from, to], kernel_size, stride),
            last,
        }
    }

    /// `skip` is what the encoder layer of the same level gave, `length` how many time steps it
    /// took.
    pub(crate) fn forward(&self, xs: &Tensor, skip: &Tensor, length: i64) -> Tensor {
        let mut xs = self.rewrite.forward(&(xs + skip)).glu(1);
        if let Some(dconv) = &self.dconv {
            xs = along_time(&xs, dconv);
        }
        xs = self.conv_tr.forward(&xs);
        if self.axis == Axis::Time {
            xs = xs.narrow(2, 0, length);
        }
        if self.last { xs } else { xs.gelu("none") }
    }
}

fn dconv(scope: &mut Scope, config: &Config, place: i64, channels: i64) -> Option<DConv> {
    let dconv = config.dconv;
    let here = if place == IN_ENCODER { dconv.in_encoder } else { dconv.in_decoder };
    here.then(|| DConv::new(&mut scope.at("dconv"), channels, dconv.compress, dconv.depth))
}

/// Applies `dconv` to `[b, c, t]`, or to each frequency of `[b, c, f, t]` by itself.
fn along_time(xs: &Tensor, dconv: &DConv) -> Tensor {
    let &[b, c, f, t] = xs.size().as_slice() else {
        return dconv.forward(xs);
    };
    let rows = xs.permute([0, 2, 1, 3]).reshape([b * f, c, t]);
    dconv.forward(&rows).view([b, f, c, t]).permute([0, 2, 1, 3])
}
