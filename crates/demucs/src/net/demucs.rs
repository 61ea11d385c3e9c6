//! Demucs over the waveform alone (`demucs/demucs.py: Demucs`, of the third generation): a U-net
//! along time, at twice the rate of the sound.
//!
//! Shapes: `[b, 1, t, c]` inside, `[b, c, l]` sound: `b` batch, `s` sources, `t` time steps, `c`
//! channels, `l` frames.

use audio::CHANNELS;
use models::config::Demucs as Config;
use tch::{Kind, Tensor};

use super::conv::{Axis, Conv, Rewrite};
use super::dconv::{DConv, Extras};
use super::head::{channels_first, channels_last};
use super::norm::GroupNorm;
use super::resample::Resampler;
use super::unet::{DecoderLayer, EncoderLayer, Inner, Level};
use super::weights::Scope;

/// What keeps a division by a deviation finite.
const EPSILON: f64 = 1e-5;

/// The network with its weights.
#[derive(Clone, Debug)]
pub(crate) struct Demucs {
    kind: Kind,
    normalize: bool,
    resampler: Option<Resampler>,
    encoder: Vec<EncoderLayer>,
    decoder: Vec<DecoderLayer>,
}

impl Demucs {
    /// Takes all weights from `scope`, in the order in which the reference
    /// makes them: quantized files have no names for them.
    pub(crate) fn new(scope: &mut Scope, config: &Config) -> Self {
        let encoder = (0..config.depth)
            .map(|layer| encoder(&mut scope.at("encoder").at(layer), config, layer));
        let encoder = encoder.collect();
        let decoder = (0..config.depth)
            .rev()
            .enumerate()
            .map(|(index, layer)| decoder(&mut scope.at("decoder").at(index), config, layer));
        let decoder = decoder.collect();
        let resampler = config.resample.then(|| Resampler::new(scope.device()));
        Self { kind: scope.kind(), normalize: config.normalize, resampler, encoder, decoder }
    }

    /// `[b, 2, l]`, of one of the lengths that [`models::Fit`] tells → `[b, s, 2, l]`.
    pub(crate) fn forward(&self, mix: &Tensor) -> Tensor {
        if !self.normalize {
            return self.separate(mix);
        }
        let mono = mix.mean_dim([1].as_slice(), true, Kind::Float);
        let mean = mono.mean_dim([2].as_slice(), true, Kind::Float);
        let std = mono.std_dim([2].as_slice(), true, true);
        let separated = self.separate(&((mix - &mean) / (&std + EPSILON)));
        separated * std.unsqueeze(1) + mean.unsqueeze(1)
    }

    fn separate(&self, mix: &Tensor) -> Tensor {
        let Some(resampler) = &self.resampler else {
            return self.unet(mix);
        };
        let separated = self.unet(&resampler.up(mix));
        resampler.down(&separated)
    }

    /// `[b, 2, l]` → `[b, s, 2, l]`.
    fn unet(&self, mix: &Tensor) -> Tensor {
        let mut xs = channels_last(mix).to_kind(self.kind);
        let mut skips = Vec::with_capacity(self.encoder.len());
        for layer in &self.encoder {
            xs = layer.forward(&xs, None);
            skips.push(xs.shallow_clone());
        }
        for layer in &self.decoder {
            let skip = skips.pop().expect("there are as many layers up as down");
            let skip = centre(&skip, xs.size()[2]);
            xs = layer.forward(Some(xs), &skip, 0);
        }
        channels_first(&xs.to_kind(Kind::Float).contiguous())
    }
}

/// The `length` steps in the middle of `[b, 1, t, c]` (`demucs/utils.py: center_trim`).
fn centre(xs: &Tensor, length: i64) -> Tensor {
    xs.narrow(2, (xs.size()[2] - length) / 2, length)
}

fn level(config: &Config, layer: i64, context: i64, dconv: bool) -> Level {
    Level {
        axis: Axis::Time,
        kernel: config.kernel_size,
        stride: config.stride,
        padded: false,
        norm_groups: config.deeper.norm_groups_of(layer),
        context,
        context_across: false,
        dconv: dconv.then_some(config.dconv),
        extras: Extras::of(&config.deeper, layer),
    }
}

/// The parts have names by their position in an `nn.Sequential`, in which norms that are not there,
/// and activations, count too.
fn encoder(scope: &mut Scope, config: &Config, layer: i64) -> EncoderLayer {
    let level = level(config, layer, 0, config.dconv.in_encoder);
    let outer = if layer == 0 { CHANNELS as i64 } else { config.layer_channels(layer - 1) };
    let inner = config.layer_channels(layer);
    let mut at = Sequence::default();
    let conv = Conv::down(&mut scope.at(at.next()), Axis::Time, [outer, inner], strided(config));
    let norm = norm(&mut scope.at(at.next()), &level, inner);
    at.activation();
    let dconv = dconv(scope, &mut at, &level, inner);
    let (rewrite, norm_rewrite) = rewrite(scope, &mut at, config, &level, inner);
    let inner = Some(Inner { rewrite, norm: norm_rewrite, dconv });
    EncoderLayer { level, conv, norm, inner }
}

fn decoder(scope: &mut Scope, config: &Config, layer: i64) -> DecoderLayer {
    let level = level(config, layer, config.context, config.dconv.in_decoder);
    let separated = CHANNELS as i64 * config.sources.len() as i64;
    let outer = if layer == 0 { separated } else { config.layer_channels(layer - 1) };
    let inner = config.layer_channels(layer);
    let mut at = Sequence::default();
    let (rewrite, norm_rewrite) = rewrite(scope, &mut at, config, &level, inner);
    let dconv = dconv(scope, &mut at, &level, inner);
    let conv_tr = Conv::up(&mut scope.at(at.next()), Axis::Time, [inner, outer], strided(config));
    let last = layer == 0;
    let norm = if last { None } else { norm(&mut scope.at(at.next()), &level, outer) };
    let inner = Some(Inner { rewrite, norm: norm_rewrite, dconv });
    DecoderLayer { level, inner, conv_tr, norm, last }
}

fn strided(config: &Config) -> [i64; 3] {
    [config.kernel_size, config.stride, 0]
}

fn norm(scope: &mut Scope, level: &Level, channels: i64) -> Option<GroupNorm> {
    level.norm_groups.map(|groups| GroupNorm::new(scope, channels, groups))
}

fn dconv(scope: &mut Scope, at: &mut Sequence, level: &Level, channels: i64) -> Option<DConv> {
    let config = level.dconv?;
    Some(DConv::new(&mut scope.at(at.next()), &config, channels, level.extras))
}

fn rewrite(
    scope: &mut Scope,
    at: &mut Sequence,
    config: &Config,
    level: &Level,
    channels: i64,
) -> (Option<Rewrite>, Option<GroupNorm>) {
    if !config.rewrite {
        return (None, None);
    }
    let doubled = [channels, 2 * channels];
    let context = [0, level.context];
    let rewrite = Rewrite::new(&mut scope.at(at.next()), Axis::Time, doubled, context);
    let norm = norm(&mut scope.at(at.next()), level, 2 * channels);
    at.activation();
    (Some(rewrite), norm)
}

/// Positions in an `nn.Sequential`.
#[derive(Default)]
struct Sequence(usize);

impl Sequence {
    fn next(&mut self) -> usize {
        self.0 += 1;
        self.0 - 1
    }

    fn activation(&mut self) {
        self.0 += 1;
    }
}
