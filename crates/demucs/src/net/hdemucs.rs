//! Hybrid Demucs (`demucs/hdemucs.py: HDemucs`; Défossez 2021): a U-net over the spectrogram that
//! strides along frequency until one is left, and one over the waveform. Where both have the same
//! steps, they become one; on the way up they part again.
//!
//! Shapes: `[b, f, t, c]` inside, `[b, c, l]` sound: `b` batch, `s` sources, `f` frequencies, `t`
//! time steps, `c` channels, `l` frames.

use audio::CHANNELS;
use models::config::HDemucs as Config;
use tch::{Kind, Tensor};

use super::bands::{DecoderBands, EncoderBands, Split};
use super::conv::Axis;
use super::dconv::Extras;
use super::head::{Parts, Scale, channels_first, channels_last};
use super::norm::FrequencyEmbedding;
use super::spectrogram::{Beyond, Spectrogram};
use super::unet::{DecoderLayer, EncoderLayer, Level};
use super::weights::Scope;

/// The network with its weights.
#[derive(Clone, Debug)]
pub(crate) struct HDemucs {
    kind: Kind,
    parts: Parts,
    spectrogram: Spectrogram,
    encoder: Vec<Encoder>,
    decoder: Vec<Decoder>,
    /// Down to the layer in which the branches meet; that one is a convolution alone.
    encoder_t: Vec<EncoderLayer>,
    decoder_t: Vec<DecoderLayer>,
    freq_emb: FrequencyEmbedding,
}

#[derive(Clone, Debug)]
enum Encoder {
    Layer(Box<EncoderLayer>),
    Bands(EncoderBands),
}

#[derive(Clone, Debug)]
enum Decoder {
    Layer(Box<DecoderLayer>),
    Bands(DecoderBands),
}

impl HDemucs {
    /// Takes all weights from `scope`, in the order in which the reference
    /// makes them: quantized files have no names for them.
    pub(crate) fn new(scope: &mut Scope, config: &Config) -> Self {
        let meeting = config.meeting().expect("a config without a meeting is refused");
        let beyond = if config.hybrid_old { Beyond::Silence } else { Beyond::Reflection };
        let embedded = [config.bins(1), config.channels];
        let scale = config.freq_emb * config.emb_scale;
        let encoder = (0..config.depth)
            .map(|layer| encoder(&mut scope.at("encoder").at(layer), config, layer));
        let encoder = encoder.collect();
        let decoder = (0..config.depth)
            .rev()
            .enumerate()
            .map(|(index, layer)| decoder(&mut scope.at("decoder").at(index), config, layer));
        let decoder = decoder.collect();
        let encoder_t = (0..=meeting).map(|layer| {
            let channels =
                [outer_channels(config, layer, CHANNELS as i64), config.layer_channels(layer)];
            let level = level_t(config, layer, config.context_enc, config.dconv.in_encoder);
            let mut scope = scope.at("tencoder");
            let make = if layer == meeting { EncoderLayer::empty } else { EncoderLayer::new };
            make(&mut scope.at(layer), &level, channels)
        });
        let encoder_t = encoder_t.collect();
        let decoder_t = (0..=meeting).rev().enumerate().map(|(index, layer)| {
            let separated = CHANNELS as i64 * config.sources.len() as i64;
            let channels = [config.layer_channels(layer), outer_channels(config, layer, separated)];
            let level = level_t(config, layer, config.context, config.dconv.in_decoder);
            let mut scope = scope.at("tdecoder");
            let make = if layer == meeting { DecoderLayer::empty } else { DecoderLayer::new };
            make(&mut scope.at(index), &level, channels, layer == 0)
        });
        let decoder_t = decoder_t.collect();
        Self {
            kind: scope.kind(),
            parts: match (config.cac, config.whole_phase) {
                (true, _) => Parts::Complex,
                (false, true) => Parts::Magnitude,
                (false, false) => Parts::Fading,
            },
            spectrogram: Spectrogram::new(config.nfft, beyond, scope.device()),
            encoder,
            decoder,
            encoder_t,
            decoder_t,
            freq_emb: FrequencyEmbedding::new(&mut scope.at("freq_emb"), embedded, scale),
        }
    }

    /// `[b, 2, l]` → `[b, s, 2, l]`.
    pub(crate) fn forward(&self, mix: &Tensor) -> Tensor {
        let length = mix.size()[2];
        let spectrum = self.spectrogram.forward(mix);
        let (xs, scale) = Scale::normalize(&self.parts.split(&spectrum));
        let (xt, scale_t) = Scale::normalize(&channels_last(mix));

        let (xs, xt) = self.unet(xs.to_kind(self.kind), xt.to_kind(self.kind));

        let xs = self.parts.join(&scale.restore(xs.to_kind(Kind::Float)), &spectrum);
        let xt = channels_first(&scale_t.restore(xt.to_kind(Kind::Float).contiguous()));
        let from_spectrum = self.spectrogram.inverse(&xs, length);
        from_spectrum.view_as(&xt).g_add_(&xt)
    }

    /// Both branches: `[b, f, t, c]` and `[b, 1, l, 2]` → `[b, f, t, s·c]` and `[b, 1, l, s·2]`.
    fn unet(&self, mut xs: Tensor, mut xt: Tensor) -> (Tensor, Tensor) {
        // What each layer was given in length, and gave.
        let (mut skips, mut skips_t) = (Vec::new(), Vec::new());
        for (index, layer) in self.encoder.iter().enumerate() {
            let mut inject = None;
            if let Some(layer_t) = self.encoder_t.get(index) {
                let length = xt.size()[2];
                xt = layer_t.forward(&xt, None);
                let meets = index + 1 == self.encoder_t.len();
                inject = meets.then(|| xt.shallow_clone());
                skips_t.push((length, xt.shallow_clone()));
            }
            let length = xs.size()[2];
            xs = layer.forward(&xs, inject.as_ref());
            if index == 0 {
                xs = self.freq_emb.add_to(xs);
            }
            skips.push((length, xs.shallow_clone()));
        }

        // Sound comes up from below only as what the layers left for those on their level.
        let (mut up, mut up_t) = (None, None);
        let apart = self.decoder.len() - self.decoder_t.len();
        for (index, layer) in self.decoder.iter().enumerate() {
            let (length, skip) = skips.pop().expect("there are as many layers up as down");
            let (xs, before_widening) = layer.forward(up, &skip, length);
            up = Some(xs);
            let Some(layer_t) = index.checked_sub(apart).and_then(|at| self.decoder_t.get(at))
            else {
                continue;
            };
            let (length, skip) = skips_t.pop().expect("there are as many layers up as down");
            up_t = Some(match &layer_t.inner {
                Some(_) => layer_t.forward(up_t, &skip, length),
                None => layer_t.widen(&before_widening, length),
            });
        }
        up.zip(up_t).expect("there is at least one layer")
    }
}

impl Encoder {
    fn forward(&self, xs: &Tensor, inject: Option<&Tensor>) -> Tensor {
        match self {
            Self::Layer(layer) => layer.forward(xs, inject),
            Self::Bands(bands) => bands.forward(xs),
        }
    }
}

impl Decoder {
    /// What it gives, and what that was before it was widened.
    fn forward(&self, xs: Option<Tensor>, skip: &Tensor, length: i64) -> (Tensor, Tensor) {
        match self {
            Self::Layer(layer) => {
                let rewritten = layer.rewrite(xs, skip);
                (layer.widen(&rewritten, length), rewritten)
            }
            Self::Bands(bands) => {
                let xs = bands.forward(xs, skip, length);
                let none = xs.shallow_clone();
                (xs, none)
            }
        }
    }
}

fn encoder(scope: &mut Scope, config: &Config, layer: i64) -> Encoder {
    let channels = [
        outer_channels(config, layer, CHANNELS as i64 * config.parts()),
        config.layer_channels(layer),
    ];
    let level = level(config, layer, config.context_enc, config.dconv.in_encoder);
    match split(config, layer) {
        None => Encoder::Layer(Box::new(EncoderLayer::new(scope, &level, channels))),
        Some(split) => {
            let bands = 0..split.bands();
            let layers = bands
                .map(|band| EncoderLayer::new(&mut scope.at("layers").at(band), &level, channels));
            Encoder::Bands(EncoderBands::new(split, layers))
        }
    }
}

fn decoder(scope: &mut Scope, config: &Config, layer: i64) -> Decoder {
    let separated = CHANNELS as i64 * config.parts() * config.sources.len() as i64;
    let channels = [config.layer_channels(layer), outer_channels(config, layer, separated)];
    let level = level(config, layer, config.context, config.dconv.in_decoder);
    match split(config, layer) {
        None => Decoder::Layer(Box::new(DecoderLayer::new(scope, &level, channels, layer == 0))),
        Some(split) => {
            let level = Level { context_across: false, ..level };
            let bands = 0..split.bands();
            let layers = bands.map(|band| {
                let mut scope = scope.at("layers");
                DecoderLayer::new(&mut scope.at(band), &level, channels, layer == 0)
            });
            Decoder::Bands(DecoderBands::new(split, layers, layer == 0))
        }
    }
}

/// Where the bands of layer `layer` end, if it has any.
fn split(config: &Config, layer: i64) -> Option<Split> {
    let banded = !config.multi_freqs.is_empty() && layer < config.multi_freqs_depth;
    banded.then(|| Split::new(config))
}

/// Channels on the side of layer `layer` towards the sound.
fn outer_channels(config: &Config, layer: i64, outermost: i64) -> i64 {
    match layer {
        0 => outermost,
        _ => config.layer_channels(layer - 1),
    }
}

/// A layer of the branch over the spectrogram, and below the meeting, of both.
fn level(config: &Config, layer: i64, context: i64, dconv: bool) -> Level {
    let bins = config.bins(layer);
    let whole = level_t(config, layer, context, dconv);
    if bins == 1 {
        return Level { kernel: 2 * config.time_stride, stride: config.time_stride, ..whole };
    }
    let meets = bins <= config.kernel_size;
    let kernel = if meets { bins } else { config.kernel_size };
    Level { axis: Axis::Frequency, kernel, padded: !meets, ..whole }
}

/// A layer of the branch over the waveform.
fn level_t(config: &Config, layer: i64, context: i64, dconv: bool) -> Level {
    Level {
        axis: Axis::Time,
        kernel: config.kernel_size,
        stride: config.stride,
        padded: true,
        norm_groups: config.deeper.norm_groups_of(layer),
        context,
        context_across: true,
        dconv: dconv.then_some(config.dconv),
        extras: Extras::of(&config.deeper, layer),
    }
}
