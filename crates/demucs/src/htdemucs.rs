//! Hybrid Transformer Demucs (`demucs/htdemucs.py: HTDemucs`): two U-nets side by side, one over
//! the spectrogram and one over the waveform, with a transformer across both at the bottom. Their
//! results are added.
//!
//! Shapes: `b` batch, `c` channels (of sound: 2), `s` sources, `f` frequencies, `t` time steps of
//! the spectrogram, `l` frames.

use audio::CHANNELS;
use tch::{Device, Kind, Tensor};

use crate::hdemucs::{DecoderLayer, EncoderLayer};
use crate::layers::{Axis, Conv, FrequencyEmbedding};
use crate::spectrogram::Spectrogram;
use crate::transformer::CrossTransformer;
use crate::weights::Scope;
use models::config::HtDemucs as Config;

/// What keeps a division by a deviation finite.
const EPSILON: f64 = 1e-5;

/// The model with its weights.
#[derive(Debug)]
pub(crate) struct HtDemucs {
    sources: i64,
    cac: bool,
    spectrogram: Spectrogram,
    freq_emb: FrequencyEmbedding,
    spectral: Branch,
    temporal: Branch,
    transformer: CrossTransformer,
}

impl HtDemucs {
    /// Takes all weights from `scope`, which are on `device`.
    pub(crate) fn new(scope: &mut Scope, config: &Config, device: Device) -> Self {
        let embedded = [config.bins(1), config.channels];
        let scale = config.freq_emb * config.emb_scale;
        Self {
            sources: config.sources.len() as i64,
            cac: config.cac,
            spectrogram: Spectrogram::new(config.nfft, device),
            freq_emb: FrequencyEmbedding::new(&mut scope.at("freq_emb"), embedded, scale),
            spectral: Branch::new(scope, config, &SPECTRAL),
            temporal: Branch::new(scope, config, &TEMPORAL),
            transformer: CrossTransformer::new(&mut scope.at("crosstransformer"), config),
        }
    }

    /// `[b, 2, l]`, l being the segment of the model → `[b, s, 2, l]`.
    pub(crate) fn forward(&self, mix: &Tensor) -> Tensor {
        let length = mix.size()[2];
        let spectrum = self.spectrogram.forward(mix);
        let features = if self.cac { complex_as_channels(&spectrum) } else { spectrum.abs() };
        let (xs, scale) = Scale::normalize(&features);
        let (xt, scale_t) = Scale::normalize(mix);

        let (xs, xt) = self.unet(&xs, &xt);

        let xs = scale.restore(&self.by_source(&xs));
        let xt = scale_t.restore(&self.by_source(&xt));
        let separated = if self.cac { channels_as_complex(&xs) } else { mask(&spectrum, &xs) };
        self.spectrogram.inverse(&separated, length) + xt
    }

    /// Both branches: `[b, parts·2, f, t]` and `[b, 2, l]` → `[b, s·parts·2, f, t]` and
    /// `[b, s·2, l]`.
    fn unet(&self, xs: &Tensor, xt: &Tensor) -> (Tensor, Tensor) {
        let embed = |layer, xs| if layer == 0 { self.freq_emb.forward(&xs) } else { xs };
        let skips = self.spectral.encode(xs, embed);
        let skips_t = self.temporal.encode(xt, |_, xt| xt);

        let (xs, xt) = self.transformer.forward(
            &self.spectral.widen(skips.deepest()),
            &self.temporal.widen(skips_t.deepest()),
        );
        let xs = self.spectral.narrow(&xs);
        let xt = self.temporal.narrow(&xt);
        (self.spectral.decode(xs, &skips), self.temporal.decode(xt, &skips_t))
    }

    /// `[b, s·c, …]` → `[b, s, c, …]`.
    fn by_source(&self, xs: &Tensor) -> Tensor {
        let mut shape = xs.size();
        shape[1] /= self.sources;
        shape.insert(1, self.sources);
        xs.view(shape.as_slice())
    }
}

/// What one branch's parts are called, and how it strides.
struct Names {
    axis: Axis,
    encoder: &'static str,
    decoder: &'static str,
    upsampler: &'static str,
    downsampler: &'static str,
}

const SPECTRAL: Names = Names {
    axis: Axis::Frequency,
    encoder: "encoder",
    decoder: "decoder",
    upsampler: "channel_upsampler",
    downsampler: "channel_downsampler",
};

const TEMPORAL: Names = Names {
    axis: Axis::Time,
    encoder: "tencoder",
    decoder: "tdecoder",
    upsampler: "channel_upsampler_t",
    downsampler: "channel_downsampler_t",
};

/// The encoder and the decoder of one branch, and its way into the transformer and out of it.
#[derive(Debug)]
struct Branch {
    encoder: Vec<EncoderLayer>,
    decoder: Vec<DecoderLayer>,
    /// Where the transformer has other channels than the last encoder layer.
    samplers: Option<[Conv; 2]>,
}

/// What each encoder layer was given and gave, the outermost first.
struct Skips {
    lengths: Vec<i64>,
    outputs: Vec<Tensor>,
}

impl Skips {
    fn deepest(&self) -> &Tensor {
        self.outputs.last().expect("there is at least one layer")
    }
}

impl Branch {
    fn new(scope: &mut Scope, config: &Config, names: &Names) -> Self {
        let sound = match names.axis {
            Axis::Frequency => CHANNELS as i64 * config.parts(),
            Axis::Time => CHANNELS as i64,
        };
        let outside = |layer, outermost| match layer {
            0 => outermost,
            _ => config.layer_channels(layer - 1),
        };
        let encoder = (0..config.depth).map(|layer| {
            let channels = [outside(layer, sound), config.layer_channels(layer)];
            let mut scope = scope.at(names.encoder);
            EncoderLayer::new(&mut scope.at(layer), config, names.axis, channels)
        });
        let encoder = encoder.collect();
        let decoder = (0..config.depth).rev().enumerate().map(|(index, layer)| {
            let separated = sound * config.sources.len() as i64;
            let channels = [config.layer_channels(layer), outside(layer, separated)];
            let mut scope = scope.at(names.decoder);
            DecoderLayer::new(&mut scope.at(index), config, names.axis, channels, layer == 0)
        });
        let decoder = decoder.collect();
        let samplers = (config.bottom_channels > 0).then(|| {
            let (outer, inner) = (config.layer_channels(config.depth - 1), config.bottom_channels);
            let up = Conv::same(&mut scope.at(names.upsampler), [outer, inner], 1, 1);
            let down = Conv::same(&mut scope.at(names.downsampler), [inner, outer], 1, 1);
            [up, down]
        });
        Self { encoder, decoder, samplers }
    }

    /// Goes down; `after` may change what layer `index` gave.
    fn encode(&self, xs: &Tensor, after: impl Fn(usize, Tensor) -> Tensor) -> Skips {
        let mut xs = xs.shallow_clone();
        let mut skips = Skips { lengths: Vec::new(), outputs: Vec::new() };
        for (index, layer) in self.encoder.iter().enumerate() {
            skips.lengths.push(time_steps(&xs));
            xs = after(index, layer.forward(&xs));
            skips.outputs.push(xs.shallow_clone());
        }
        skips
    }

    fn decode(&self, mut xs: Tensor, skips: &Skips) -> Tensor {
        let mut levels = skips.outputs.iter().zip(&skips.lengths).rev();
        for (layer, (skip, length)) in self.decoder.iter().zip(&mut levels) {
            xs = layer.forward(&xs, skip, *length);
        }
        xs
    }

    /// To the channels of the transformer.
    fn widen(&self, xs: &Tensor) -> Tensor {
        match &self.samplers {
            Some([up, _]) => pointwise(up, xs),
            None => xs.shallow_clone(),
        }
    }

    /// And from them.
    fn narrow(&self, xs: &Tensor) -> Tensor {
        match &self.samplers {
            Some([_, down]) => pointwise(down, xs),
            None => xs.shallow_clone(),
        }
    }
}

/// Applies a 1×1 convolution along time to `[b, c, t]`, or to all of `[b, c, f, t]`.
fn pointwise(conv: &Conv, xs: &Tensor) -> Tensor {
    let shape = xs.size();
    let (outer, inner) = shape.split_at(2);
    let flat = conv.forward(&xs.reshape([outer[0], outer[1], -1]));
    flat.view([&[outer[0], -1], inner].concat().as_slice())
}

fn time_steps(xs: &Tensor) -> i64 {
    *xs.size().last().expect("every shape here ends in time")
}

/// The mean and the deviation of each item of a batch, over all else.
struct Scale {
    mean: Tensor,
    std: Tensor,
}

impl Scale {
    /// `[b, …]` → the same with mean 0 and deviation 1.
    fn normalize(xs: &Tensor) -> (Tensor, Self) {
        let all_else: Vec<i64> = (1..xs.dim() as i64).collect();
        let mean = xs.mean_dim(all_else.as_slice(), true, Kind::Float);
        let std = xs.std_dim(all_else.as_slice(), true, true);
        ((xs - &mean) / (&std + EPSILON), Self { mean, std })
    }

    /// `[b, s, …]`, the scale being that of `[b, …]`.
    fn restore(&self, xs: &Tensor) -> Tensor {
        xs * self.std.unsqueeze(1) + self.mean.unsqueeze(1)
    }
}

/// Complex `[b, c, f, t]` → `[b, 2c, f, t]`: each channel's real part, then its imaginary part.
fn complex_as_channels(spectrum: &Tensor) -> Tensor {
    spectrum.view_as_real().permute([0, 1, 4, 2, 3]).flatten(1, 2)
}

/// `[b, s, 2c, f, t]` → complex `[b, s, c, f, t]`.
fn channels_as_complex(xs: &Tensor) -> Tensor {
    let (b, s, c, f, t) = xs.size5().expect("a separated spectrogram is [b, s, c, f, t]");
    let pairs = xs.view([b, s, c / 2, 2, f, t]).permute([0, 1, 2, 4, 5, 3]);
    pairs.contiguous().view_as_complex()
}

/// Magnitudes `[b, s, c, f, t]`, with the phase of the mix, complex `[b, c, f, t]` → complex
/// `[b, s, c, f, t]` (`HTDemucs._mask` where `wiener_iters` is negative).
fn mask(mix: &Tensor, magnitudes: &Tensor) -> Tensor {
    let phase = mix / (mix.abs() + 1e-8);
    phase.unsqueeze(1) * magnitudes
}
