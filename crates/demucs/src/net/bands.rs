//! Layers with weights of their own for each band of frequencies (`demucs/hdemucs.py: MultiWrap`).
//!
//! The bands overlap so that, with the same weights in each, they would give what one layer gives.

use models::config::HDemucs as Config;
use tch::Tensor;

use super::unet::{DecoderLayer, EncoderLayer};

/// Where the bands end, as parts of all frequencies; the last ends with them.
#[derive(Clone, Debug)]
pub(crate) struct Split(Vec<f64>);

impl Split {
    pub(crate) fn new(config: &Config) -> Self {
        Self(config.multi_freqs.clone())
    }

    pub(crate) fn bands(&self) -> usize {
        self.0.len() + 1
    }

    /// Where each band ends, of `f` frequencies. Python rounds halves to even numbers.
    fn ends(&self, f: i64) -> impl Iterator<Item = i64> {
        let inner = self.0.iter().map(move |ratio| (f as f64 * ratio).round_ties_even() as i64);
        inner.chain([f])
    }
}

/// An encoder layer, once for each band.
#[derive(Clone, Debug)]
pub(crate) struct EncoderBands {
    pub(crate) split: Split,
    pub(crate) layers: Vec<EncoderLayer>,
}

impl EncoderBands {
    pub(crate) fn new(split: Split, layers: impl Iterator<Item = EncoderLayer>) -> Self {
        let unpadded = |layer: EncoderLayer| EncoderLayer { conv: layer.conv.unpadded(), ..layer };
        Self { split, layers: layers.map(unpadded).collect() }
    }

    /// `[b, f, t, from]` → `[b, f/stride, t, to]`.
    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        let f = xs.size()[1];
        let mut start = 0;
        let mut bands = Vec::with_capacity(self.layers.len());
        for (layer, end) in self.layers.iter().zip(self.split.ends(f)) {
            let (kernel, stride) = (layer.level.kernel, layer.level.stride);
            let padding = kernel / 4;
            let before = if start == 0 { padding } else { 0 };
            let (end, after) = if end == f {
                (f, padding)
            } else {
                let steps = (end - start + before - kernel) as f64 / stride as f64 + 1.0;
                let steps = steps.round_ties_even() as i64;
                (start + (steps - 1) * stride + kernel - before, 0)
            };
            let band = xs.narrow(1, start, end - start);
            let padded = band.constant_pad_nd([0, 0, 0, 0, before, after]);
            bands.push(layer.forward(&padded, None));
            start = end - kernel + stride;
        }
        Tensor::cat(&bands, 1)
    }
}

/// A decoder layer, once for each band.
#[derive(Clone, Debug)]
pub(crate) struct DecoderBands {
    pub(crate) split: Split,
    pub(crate) layers: Vec<DecoderLayer>,
    last: bool,
}

impl DecoderBands {
    pub(crate) fn new(
        split: Split,
        layers: impl Iterator<Item = DecoderLayer>,
        last: bool,
    ) -> Self {
        // What overlaps is added up before the padding is cut off and the activation applied.
        let raw = |layer: DecoderLayer| DecoderLayer {
            conv_tr: layer.conv_tr.unpadded(),
            last: true,
            ..layer
        };
        Self { split, layers: layers.map(raw).collect(), last }
    }

    /// `xs` and `skip`, `[b, f, t, from]` → `[b, f·stride, t, to]`.
    pub(crate) fn forward(&self, xs: Option<Tensor>, skip: &Tensor, length: i64) -> Tensor {
        let f = skip.size()[1];
        let mut start = 0;
        let mut bands: Vec<Tensor> = Vec::with_capacity(self.layers.len());
        for (layer, end) in self.layers.iter().zip(self.split.ends(f)) {
            let stride = layer.level.stride;
            let band = |all: &Tensor| all.narrow(1, start, end - start);
            let mut rows = layer.forward(xs.as_ref().map(band), &band(skip), length);
            if let Some(below) = bands.last() {
                let shared = rows.narrow(1, 0, stride) - layer.conv_tr.bias();
                let top = below.size()[1] - stride;
                let _ = below.narrow(1, top, stride).g_add_(&shared);
                rows = rows.narrow(1, stride, rows.size()[1] - stride);
            }
            // Half a stride of padding, at both ends of all frequencies.
            let (cut, keep) = (if start == 0 { stride / 2 } else { 0 }, rows.size()[1]);
            let cut_after = if end == f { stride / 2 } else { 0 };
            bands.push(rows.narrow(1, cut, keep - cut - cut_after));
            start = end;
        }
        let mut xs = Tensor::cat(&bands, 1);
        if self.last { xs } else { xs.gelu_("none") }
    }
}
