//! The transformer between the encoders and the decoders, in which the two branches listen to
//! each other (`demucs/transformer.py: CrossTransformerEncoder`).
//!
//! Shapes: `[b, n, c]`; a token is one time step of one frequency, or of the waveform. They stand
//! in the order in which they lie in memory, the steps of one frequency and then those of the
//! next: to attention and norms the order is all one, and each brings its place with it.

use models::config::HtDemucs as Config;
use tch::{Device, Kind, Tensor};

use super::linear::{FeedForward, Linear};
use super::norm::{GroupNorm, LayerNorm, LayerScale};
use super::weights::{Scope, Weight};

/// Layers that look at their own branch (even) and at the other one (odd), in both branches.
#[derive(Clone, Debug)]
pub(crate) struct CrossTransformer {
    norm_in: LayerNorm,
    norm_in_t: LayerNorm,
    layers: Vec<Layer>,
    layers_t: Vec<Layer>,
    /// `[n, c]`: where each token is.
    place: Weight,
    place_t: Weight,
}

impl CrossTransformer {
    /// For spectrograms and waveforms of these sizes, `[f, t]`.
    pub(crate) fn new(
        scope: &mut Scope,
        config: &Config,
        [spectral, [_, temporal]]: [[i64; 2]; 2],
    ) -> Self {
        let (device, kind) = (scope.device(), scope.kind());
        let channels = config.transformer_channels();
        let (period, weight) = (config.t_max_period, config.t_weight_pos_embed);
        Self {
            norm_in: LayerNorm::new(&mut scope.at("norm_in"), channels),
            norm_in_t: LayerNorm::new(&mut scope.at("norm_in_t"), channels),
            layers: layers(&mut scope.at("layers"), config),
            layers_t: layers(&mut scope.at("layers_t"), config),
            place: (positions_2d(channels, spectral, period, device) * weight).to_kind(kind).into(),
            place_t: (positions(channels, temporal, period, device) * weight).to_kind(kind).into(),
        }
    }

    /// The spectrogram `[b, f, t, c]` and the waveform `[b, 1, t', c]` → the same.
    pub(crate) fn forward(&self, xs: &Tensor, xt: &Tensor) -> (Tensor, Tensor) {
        let (shape, shape_t) = (xs.size(), xt.size());
        let mut xs = self.norm_in.forward(&xs.flatten(1, 2)).g_add_(&self.place);
        let mut xt = self.norm_in_t.forward(&xt.flatten(1, 2)).g_add_(&self.place_t);
        for (index, (layer, layer_t)) in self.layers.iter().zip(&self.layers_t).enumerate() {
            (xs, xt) = if looks_across(index) {
                (layer.forward(&xs, Some(&xt)), layer_t.forward(&xt, Some(&xs)))
            } else {
                (layer.forward(&xs, None), layer_t.forward(&xt, None))
            };
        }
        (xs.view(shape.as_slice()), xt.view(shape_t.as_slice()))
    }
}

/// Whether layer `index` looks at the other branch.
fn looks_across(index: usize) -> bool {
    index % 2 == 1
}

fn layers(scope: &mut Scope, config: &Config) -> Vec<Layer> {
    let count = config.t_layers as usize;
    let layer = |index| Layer::new(&mut scope.at(index), config, looks_across(index));
    (0..count).map(layer).collect()
}

/// Attention to one's own branch (`MyTransformerEncoderLayer`) or to the other
/// (`CrossTransformerEncoderLayer`), then a feed-forward block.
#[derive(Clone, Debug)]
struct Layer {
    norm: LayerNorm,
    /// Across, what is looked at has a norm of its own.
    norm_other: Option<LayerNorm>,
    attention: Attention,
    gamma_1: LayerScale,
    norm_feed: LayerNorm,
    feed_forward: FeedForward,
    gamma_2: LayerScale,
    norm_out: GroupNorm,
}

impl Layer {
    fn new(scope: &mut Scope, config: &Config, across: bool) -> Self {
        let c = config.transformer_channels();
        let hidden = (c as f64 * config.t_hidden_scale) as i64;
        let (attention, norm_feed) =
            if across { ("cross_attn", "norm3") } else { ("self_attn", "norm2") };
        Self {
            norm: LayerNorm::new(&mut scope.at("norm1"), c),
            norm_other: across.then(|| LayerNorm::new(&mut scope.at("norm2"), c)),
            attention: Attention::new(&mut scope.at(attention), c, config.t_heads),
            gamma_1: LayerScale::new(&mut scope.at("gamma_1"), c),
            norm_feed: LayerNorm::new(&mut scope.at(norm_feed), c),
            feed_forward: FeedForward {
                inner: Linear::new(&mut scope.at("linear1"), [c, hidden]),
                outer: Linear::new(&mut scope.at("linear2"), [hidden, c]),
            },
            gamma_2: LayerScale::new(&mut scope.at("gamma_2"), c),
            norm_out: GroupNorm::new(&mut scope.at("norm_out"), c, 1),
        }
    }

    /// `xs` `[b, n, c]`, which looks at itself or at `other` `[b, m, c]` → `[b, n, c]`.
    fn forward(&self, xs: &Tensor, other: Option<&Tensor>) -> Tensor {
        let normed = self.norm.forward(xs);
        let seen = match self.norm_other.as_ref().zip(other) {
            Some((norm, other)) => self.attention.across(&normed, &norm.forward(other)),
            None => self.attention.itself(&normed),
        };
        let xs = self.gamma_1.add(xs, &seen);

        let fed = self.feed_forward.forward(&self.norm_feed.forward(&xs));
        let xs = self.gamma_2.add(&xs, &fed);
        // This norm is over all tokens of a song's segment, not of each by itself.
        self.norm_out.forward(&xs.unsqueeze(1)).squeeze_dim(1)
    }
}

/// `nn.MultiheadAttention`.
#[derive(Clone, Debug)]
struct Attention {
    heads: i64,
    /// To queries, keys and values at once: `[…, c]` → `[…, 3c]`.
    all: Linear,
    /// To queries: `[…, c]` → `[…, c]`.
    queries: Linear,
    /// To keys and values: `[…, c]` → `[…, 2c]`.
    others: Linear,
    out: Linear,
}

impl Attention {
    fn new(scope: &mut Scope, c: i64, heads: i64) -> Self {
        let weight = scope.tensor("in_proj_weight", &[3 * c, c]);
        let bias = scope.tensor("in_proj_bias", &[3 * c]);
        let part = |from, count| Linear::of(weight.clone(), bias.clone(), from, count);
        Self {
            heads,
            all: part(0, 3 * c),
            queries: part(0, c),
            others: part(c, 2 * c),
            out: Linear::new(&mut scope.at("out_proj"), [c, c]),
        }
    }

    /// `[b, n, c]` → `[b, n, c]`.
    fn itself(&self, xs: &Tensor) -> Tensor {
        let all = self.all.forward(xs).chunk(3, -1);
        self.look(&all[0], &all[1], &all[2])
    }

    /// `[b, n, c]` and what they look at, `[b, m, c]` → `[b, n, c]`.
    fn across(&self, xs: &Tensor, others: &Tensor) -> Tensor {
        let others = self.others.forward(others).chunk(2, -1);
        self.look(&self.queries.forward(xs), &others[0], &others[1])
    }

    fn look(&self, queries: &Tensor, keys: &Tensor, values: &Tensor) -> Tensor {
        let [q, k, v] = [queries, keys, values].map(|xs| self.split_heads(xs));
        let no_mask = None::<&Tensor>;
        let seen =
            Tensor::scaled_dot_product_attention(&q, &k, &v, no_mask, 0.0, false, None, false);
        self.out.forward(&seen.transpose(1, 2).flatten(2, 3))
    }

    /// `[b, n, c]` → `[b, h, n, c/h]`.
    fn split_heads(&self, xs: &Tensor) -> Tensor {
        xs.unflatten(-1, [self.heads, -1]).transpose(1, 2)
    }
}

/// Where each step of a waveform is (`create_sin_embedding`): `[n, c]`.
fn positions(channels: i64, steps: i64, max_period: f64, device: Device) -> Tensor {
    let half = channels / 2;
    let exponents = Tensor::arange(half, (Kind::Float, device)) / (half - 1) as f64;
    let periods = Tensor::pow_scalar(max_period, &exponents);
    let phases = Tensor::arange(steps, (Kind::Float, device)).unsqueeze(1) / periods;
    Tensor::cat(&[phases.cos(), phases.sin()], 1)
}

/// Where each step of a spectrogram is (`create_2d_sin_embedding`): `[f·t, c]`.
///
/// The first half of the channels tells the time, the second the frequency.
fn positions_2d(channels: i64, [f, t]: [i64; 2], max_period: f64, device: Device) -> Tensor {
    let half = channels / 2;
    let time = waves(half, t, max_period, device).unsqueeze(0).expand([f, t, half], false);
    let frequency = waves(half, f, max_period, device).unsqueeze(1).expand([f, t, half], false);
    Tensor::cat(&[time, frequency], 2).view([f * t, channels])
}

/// Channel 2i is sin(n / period^(2i / c)), channel 2i + 1 its cosine: `[n, c]`.
fn waves(channels: i64, steps: i64, max_period: f64, device: Device) -> Tensor {
    let even = Tensor::arange_start_step(0, channels, 2, (Kind::Float, device));
    let frequencies = (even * -(max_period.ln() / channels as f64)).exp();
    let phases = Tensor::arange(steps, (Kind::Float, device)).unsqueeze(1) * frequencies;
    Tensor::stack(&[phases.sin(), phases.cos()], 2).flatten(1, 2)
}
