//! The transformer between the encoders and the decoders, in which the two branches listen to
//! each other (`demucs/transformer.py: CrossTransformerEncoder`).
//!
//! Shapes: `[b, n, c]`; a token is one time step of one frequency, or of the waveform.

use tch::{Device, Kind, Tensor};

use crate::layers::{GroupNorm, LayerNorm, LayerScale, Linear};
use crate::weights::Scope;
use models::config::HtDemucs as Config;

/// Layers that look at their own branch (even) and at the other one (odd), in both branches.
#[derive(Debug)]
pub(crate) struct CrossTransformer {
    norm_in: LayerNorm,
    norm_in_t: LayerNorm,
    layers: Vec<Layer>,
    layers_t: Vec<Layer>,
    max_period: f64,
    weight_pos_embed: f64,
}

impl CrossTransformer {
    pub(crate) fn new(scope: &mut Scope, config: &Config) -> Self {
        let channels = config.transformer_channels();
        Self {
            norm_in: LayerNorm::new(&mut scope.at("norm_in"), channels),
            norm_in_t: LayerNorm::new(&mut scope.at("norm_in_t"), channels),
            layers: layers(&mut scope.at("layers"), config),
            layers_t: layers(&mut scope.at("layers_t"), config),
            max_period: config.t_max_period,
            weight_pos_embed: config.t_weight_pos_embed,
        }
    }

    /// The spectrogram `[b, c, f, t]` and the waveform `[b, c, t']`, each in its own shape again.
    pub(crate) fn forward(&self, xs: &Tensor, xt: &Tensor) -> (Tensor, Tensor) {
        let (b, c, f, t) = xs.size4().expect("a spectrogram is [b, c, f, t]");
        let t_wave = xt.size()[2];
        let place = positions_2d(c, [f, t], self.max_period, xs.device());
        let place_t = positions(c, t_wave, self.max_period, xt.device());

        // Tokens go through the frequencies of one time step, then to the next.
        let xs = xs.permute([0, 3, 2, 1]).reshape([b, t * f, c]);
        let xt = xt.transpose(1, 2);
        let mut xs = self.norm_in.forward(&xs) + place * self.weight_pos_embed;
        let mut xt = self.norm_in_t.forward(&xt) + place_t * self.weight_pos_embed;
        for (index, (layer, layer_t)) in self.layers.iter().zip(&self.layers_t).enumerate() {
            (xs, xt) = if looks_across(index) {
                (layer.forward(&xs, Some(&xt)), layer_t.forward(&xt, Some(&xs)))
            } else {
                (layer.forward(&xs, None), layer_t.forward(&xt, None))
            };
        }
        (xs.view([b, t, f, c]).permute([0, 3, 2, 1]), xt.transpose(1, 2))
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
#[derive(Debug)]
struct Layer {
    norm: LayerNorm,
    /// Across, what is looked at has a norm of its own.
    norm_other: Option<LayerNorm>,
    attention: Attention,
    gamma_1: LayerScale,
    norm_feed: LayerNorm,
    linear1: Linear,
    linear2: Linear,
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
            gamma_1: LayerScale::channels_last(&mut scope.at("gamma_1"), c),
            norm_feed: LayerNorm::new(&mut scope.at(norm_feed), c),
            linear1: Linear::new(&mut scope.at("linear1"), [c, hidden]),
            linear2: Linear::new(&mut scope.at("linear2"), [hidden, c]),
            gamma_2: LayerScale::channels_last(&mut scope.at("gamma_2"), c),
            norm_out: GroupNorm::new(&mut scope.at("norm_out"), c),
        }
    }

    /// `xs` `[b, n, c]`, which looks at itself or at `other` `[b, m, c]` → `[b, n, c]`.
    fn forward(&self, xs: &Tensor, other: Option<&Tensor>) -> Tensor {
        let queries = self.norm.forward(xs);
        let others = self.norm_other.as_ref().zip(other).map(|(norm, other)| norm.forward(other));
        let seen = self.attention.forward(&queries, others.as_ref().unwrap_or(&queries));
        let xs = xs + self.gamma_1.forward(&seen);

        let hidden = self.linear1.forward(&self.norm_feed.forward(&xs)).gelu("none");
        let xs = &xs + self.gamma_2.forward(&self.linear2.forward(&hidden));
        // This norm is over all tokens of a song's segment, not of each by itself.
        self.norm_out.forward(&xs.transpose(1, 2)).transpose(1, 2)
    }
}

/// `nn.MultiheadAttention`.
#[derive(Debug)]
struct Attention {
    heads: i64,
    /// `[3c, c]`: queries, keys, values.
    in_proj_weight: Tensor,
    /// `[3c]`
    in_proj_bias: Tensor,
    out_proj: Linear,
}

impl Attention {
    fn new(scope: &mut Scope, channels: i64, heads: i64) -> Self {
        Self {
            heads,
            in_proj_weight: scope.tensor("in_proj_weight", &[3 * channels, channels]),
            in_proj_bias: scope.tensor("in_proj_bias", &[3 * channels]),
            out_proj: Linear::new(&mut scope.at("out_proj"), [channels, channels]),
        }
    }

    /// `queries` `[b, n, c]` and what they look at, `[b, m, c]` → `[b, n, c]`.
    fn forward(&self, queries: &Tensor, others: &Tensor) -> Tensor {
        let [q, k, v] = [(queries, 0), (others, 1), (others, 2)]
            .map(|(xs, part)| self.split_heads(&self.project(xs, part)));
        let no_mask = None::<&Tensor>;
        let seen =
            Tensor::scaled_dot_product_attention(&q, &k, &v, no_mask, 0.0, false, None, false);
        self.out_proj.forward(&seen.transpose(1, 2).flatten(2, 3))
    }

    /// `[b, n, c]` → `[b, n, c]`: queries (0), keys (1) or values (2).
    fn project(&self, xs: &Tensor, part: i64) -> Tensor {
        let c = xs.size()[2];
        let weight = self.in_proj_weight.narrow(0, part * c, c);
        xs.linear(&weight, Some(&self.in_proj_bias.narrow(0, part * c, c)))
    }

    /// `[b, n, c]` → `[b, h, n, c/h]`.
    fn split_heads(&self, xs: &Tensor) -> Tensor {
        let (b, n, c) = xs.size3().expect("tokens are [b, n, c]");
        xs.view([b, n, self.heads, c / self.heads]).transpose(1, 2)
    }
}

/// Where each step of a waveform is (`create_sin_embedding`): `[n, c]`.
///
/// Channel i < c/2 is cos(n / period^(i / (c/2 - 1))), the other half the sines of the same.
fn positions(channels: i64, steps: i64, max_period: f64, device: Device) -> Tensor {
    let half = channels / 2;
    let exponents = Tensor::arange(half, (Kind::Float, device)) / ((half - 1) as f64);
    let periods = Tensor::pow_scalar(max_period, &exponents);
    let phases = Tensor::arange(steps, (Kind::Float, device)).unsqueeze(1) / periods;
    Tensor::cat(&[phases.cos(), phases.sin()], 1)
}

/// Where each step of a spectrogram is (`create_2d_sin_embedding`): `[t·f, c]`.
///
/// The first half of the channels tells the time, the second the frequency.
fn positions_2d(channels: i64, [f, t]: [i64; 2], max_period: f64, device: Device) -> Tensor {
    let half = channels / 2;
    let time = waves(half, t, max_period, device).unsqueeze(1).expand([t, f, half], false);
    let frequency = waves(half, f, max_period, device).unsqueeze(0).expand([t, f, half], false);
    Tensor::cat(&[time, frequency], 2).view([t * f, channels])
}

/// Channel 2i is sin(n / period^(2i / c)), channel 2i + 1 its cosine: `[n, c]`.
fn waves(channels: i64, steps: i64, max_period: f64, device: Device) -> Tensor {
    let even = Tensor::arange_start_step(0, channels, 2, (Kind::Float, device));
    let frequencies = (even * -(max_period.ln() / channels as f64)).exp();
    let phases = Tensor::arange(steps, (Kind::Float, device)).unsqueeze(1) * frequencies;
    Tensor::stack(&[phases.sin(), phases.cos()], 2).flatten(1, 2)
}
