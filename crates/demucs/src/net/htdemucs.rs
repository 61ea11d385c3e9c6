//! Hybrid Transformer Demucs (`demucs/htdemucs.py: HTDemucs`; Rouard, Massa, Défossez 2022): two
//! U-nets side by side, one over the spectrogram and one over the waveform, with a transformer
//! across both at the bottom. Their results are added.
//!
//! Shapes: `[b, f, t, c]` inside, `[b, c, l]` sound: `b` batch, `s` sources, `f` frequencies, `t`
//! time steps, `c` channels, `l` frames.

use audio::CHANNELS;
use models::config::HtDemucs as Config;
use tch::{Kind, Tensor};

use super::conv::Axis;
use super::dconv::Extras;
use super::head::{Parts, Scale, channels_first, channels_last};
use super::linear::Linear;
use super::norm::FrequencyEmbedding;
use super::spectrogram::{Beyond, Spectrogram};
use super::transformer::CrossTransformer;
use super::unet::{DecoderLayer, EncoderLayer, Level};
use super::weights::Scope;

/// The network with its weights.
#[derive(Clone, Debug)]
pub(crate) struct HtDemucs {
    kind: Kind,
    segment: i64,
    parts: Parts,
    spectrogram: Spectrogram,
    spectral: Branch,
    temporal: Branch,
    freq_emb: FrequencyEmbedding,
    transformer: CrossTransformer,
}

impl HtDemucs {
    /// Takes all weights from `scope`.
    pub(crate) fn new(scope: &mut Scope, config: &Config) -> Self {
        let embedded = [config.bins(1), config.channels];
        let scale = config.freq_emb * config.emb_scale;
        let spectrogram = Spectrogram::new(config.nfft, Beyond::Reflection, scope.device());
        let sizes = Sizes::new(config, &spectrogram);
        Self {
            kind: scope.kind(),
            segment: config.segment,
            parts: if config.cac { Parts::Complex } else { Parts::Fading },
            spectral: Branch::new(scope, config, &SPECTRAL),
            temporal: Branch::new(scope, config, &TEMPORAL),
            freq_emb: FrequencyEmbedding::new(&mut scope.at("freq_emb"), embedded, scale),
            transformer: CrossTransformer::new(
                &mut scope.at("crosstransformer"),
                config,
                [sizes.spectral, sizes.temporal],
            ),
            spectrogram,
        }
    }

    /// `[b, 2, l]`, l being at most the segment of the network → `[b, s, 2, l]`.
    pub(crate) fn forward(&self, mix: &Tensor) -> Tensor {
        let length = mix.size()[2];
        let mix = mix.constant_pad_nd([0, self.segment - length]);
        let spectrum = self.spectrogram.forward(&mix);
        let (xs, scale) = Scale::normalize(&self.parts.split(&spectrum));
        let (xt, scale_t) = Scale::normalize(&channels_last(&mix));

        let (xs, xt) = self.unet(&xs.to_kind(self.kind), &xt.to_kind(self.kind));

        let xs = self.parts.join(&scale.restore(xs.to_kind(Kind::Float)), &spectrum);
        let xt = channels_first(&scale_t.restore(xt.to_kind(Kind::Float)));
        let from_spectrum = self.spectrogram.inverse(&xs, self.segment);
        let mut separated = from_spectrum.view_as(&xt);
        separated.g_add_(&xt).narrow(3, 0, length)
    }

    /// Both branches: `[b, f, t, c]` and `[b, 1, l, 2]` → `[b, f, t, s·c]` and `[b, 1, l, s·2]`.
    fn unet(&self, xs: &Tensor, xt: &Tensor) -> (Tensor, Tensor) {
        let embed = |layer, xs| if layer == 0 { self.freq_emb.add_to(xs) } else { xs };
        let skips = self.spectral.encode(xs, embed);
        let skips_t = self.temporal.encode(xt, |_, xt| xt);
        let (xs, xt) = self.transformer.forward(
            &self.spectral.widen(skips.deepest()),
            &self.temporal.widen(skips_t.deepest()),
        );
        let (xs, xt) = (self.spectral.narrow(xs), self.temporal.narrow(xt));
        (self.spectral.decode(xs, skips), self.temporal.decode(xt, skips_t))
    }
}

/// What the two branches are at the transformer, `[f, t]`.
struct Sizes {
    spectral: [i64; 2],
    temporal: [i64; 2],
}

impl Sizes {
    fn new(config: &Config, spectrogram: &Spectrogram) -> Self {
        let down = |steps, _| (steps + config.stride - 1) / config.stride;
        let steps = (0..config.depth).fold(config.segment, down);
        Self {
            spectral: [config.bins(config.depth), spectrogram.steps(config.segment)],
            temporal: [1, steps],
        }
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
#[derive(Clone, Debug)]
struct Branch {
    encoder: Vec<EncoderLayer>,
    decoder: Vec<DecoderLayer>,
    /// Where the transformer has other channels than the last encoder layer.
    samplers: Option<[Linear; 2]>,
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
            let level = level(config, names.axis, config.context_enc, config.dconv.in_encoder);
            EncoderLayer::new(&mut scope.at(names.encoder).at(layer), &level, channels)
        });
        let encoder = encoder.collect();
        let decoder = (0..config.depth).rev().enumerate().map(|(index, layer)| {
            let separated = sound * config.sources.len() as i64;
            let channels = [config.layer_channels(layer), outside(layer, separated)];
            let level = level(config, names.axis, config.context, config.dconv.in_decoder);
            let mut scope = scope.at(names.decoder);
            DecoderLayer::new(&mut scope.at(index), &level, channels, layer == 0)
        });
        let decoder = decoder.collect();
        let samplers = (config.bottom_channels > 0).then(|| {
            let (outer, inner) = (config.layer_channels(config.depth - 1), config.bottom_channels);
            let up = Linear::pointwise(&mut scope.at(names.upsampler), Axis::Time, [outer, inner]);
            let down =
                Linear::pointwise(&mut scope.at(names.downsampler), Axis::Time, [inner, outer]);
            [up, down]
        });
        Self { encoder, decoder, samplers }
    }

    /// Goes down; `after` may change what layer `index` gave.
    fn encode(&self, xs: &Tensor, after: impl Fn(usize, Tensor) -> Tensor) -> Skips {
        let mut xs = xs.shallow_clone();
        let mut skips = Skips { lengths: Vec::new(), outputs: Vec::new() };
        for (index, layer) in self.encoder.iter().enumerate() {
            skips.lengths.push(xs.size()[2]);
            xs = after(index, layer.forward(&xs, None));
            skips.outputs.push(xs.shallow_clone());
        }
        skips
    }

    /// Comes up again, and lets go of what it no longer needs.
    fn decode(&self, mut xs: Tensor, mut skips: Skips) -> Tensor {
        for layer in &self.decoder {
            let skip = skips.outputs.pop().zip(skips.lengths.pop());
            let (skip, length) = skip.expect("there are as many layers up as down");
            xs = layer.forward(Some(xs), &skip, length);
        }
        xs
    }

    /// To the channels of the transformer.
    fn widen(&self, xs: &Tensor) -> Tensor {
        match &self.samplers {
            Some([up, _]) => up.forward(xs),
            None => xs.shallow_clone(),
        }
    }

    /// And from them.
    fn narrow(&self, xs: Tensor) -> Tensor {
        match &self.samplers {
            Some([_, down]) => down.forward(&xs),
            None => xs,
        }
    }
}

fn level(config: &Config, axis: Axis, context: i64, dconv: bool) -> Level {
    Level {
        axis,
        kernel: config.kernel_size,
        stride: config.stride,
        padded: true,
        norm_groups: None,
        context,
        context_across: true,
        dconv: dconv.then_some(config.dconv),
        extras: Extras::default(),
    }
}
