use serde_json::{Map, Value};

use super::{DConv, Deeper, refuse_other_sound, segment, sources};
use crate::options::{Options, Refused};

/// The options of a hybrid HDemucs: `hdemucs_mmi` and the networks of this class in the published
/// bags `mdx`, `mdx_extra` and `repro_mdx_a` (`demucs/hdemucs.py: HDemucs.__init__`).
#[derive(Clone, Debug, PartialEq)]
pub struct HDemucs {
    /// What the mix is separated into.
    pub sources: Vec<String>,
    /// Frames that the model is best given at a time.
    pub segment: i64,
    /// Frames under one window of the spectrogram; one hop is a quarter of it.
    pub nfft: i64,
    /// Complex as channels: the frequency branch takes and gives real and imaginary parts. Else
    /// it takes a magnitude and gives one, which goes with the phase of the mix.
    pub cac: bool,
    /// Where it takes magnitudes: whether the phase is that of the mix wherever it has one
    /// (`wiener_iters` 0), or fades where the mix does (below 0).
    pub whole_phase: bool,
    /// Whether the spectrogram is padded as in models trained for the MDX challenge.
    pub hybrid_old: bool,

    /// Layers of the encoder and of the decoder.
    pub depth: i64,
    /// Channels after the first encoder layer.
    pub channels: i64,
    /// Channels of each further layer per channel of the one before.
    pub growth: i64,
    /// Kernel of a layer's strided convolution.
    pub kernel_size: i64,
    /// Its stride.
    pub stride: i64,
    /// The stride of layers below the one in which the branches meet.
    pub time_stride: i64,
    /// Neighbours on each side that a decoder layer's rewrite sees.
    pub context: i64,
    /// Neighbours on each side that an encoder layer's rewrite sees.
    pub context_enc: i64,
    /// Weight of the embedding of frequencies.
    pub freq_emb: f64,
    /// What the stored embedding is multiplied with.
    pub emb_scale: f64,
    /// Where, as parts of all frequencies, the outermost layers change to weights of their own.
    pub multi_freqs: Vec<f64>,
    /// How many layers do so.
    pub multi_freqs_depth: i64,
    /// The residual branches inside layers.
    pub dconv: DConv,
    /// What only deeper layers have.
    pub deeper: Deeper,
}

/// The constructor's parameters in order, for arguments given by position.
#[rustfmt::skip]
const PARAMETERS: [&str; 35] = [
    "sources", "audio_channels", "channels", "channels_time", "growth",
    "nfft", "wiener_iters", "end_iters", "wiener_residual", "cac",
    "depth", "rewrite", "hybrid", "hybrid_old",
    "multi_freqs", "multi_freqs_depth", "freq_emb", "emb_scale", "emb_smooth",
    "kernel_size", "time_stride", "stride", "context", "context_enc", "norm_starts", "norm_groups",
    "dconv_mode", "dconv_depth", "dconv_comp", "dconv_attn", "dconv_lstm", "dconv_init",
    "rescale", "samplerate", "segment",
];

impl HDemucs {
    /// Reads the options from the call `HDemucs(*args, **kwargs)`.
    pub(super) fn new(args: Vec<Value>, kwargs: Map<String, Value>) -> Result<Self, Vec<Refused>> {
        let mut options = Options::bind(&PARAMETERS, args, kwargs);
        refuse_other_sound(&mut options);
        options.only("channels_time", Value::Null);
        options.only("rewrite", true);
        options.only("hybrid", true);
        options.only("wiener_residual", false);
        let config = Self::read(&mut options);
        config.refuse_misfits(&mut options);
        options.skip(&["end_iters", "emb_smooth", "dconv_init", "rescale"]);
        options.finish()?;
        Ok(config)
    }

    fn read(options: &mut Options) -> Self {
        let cac = options.flag("cac", true);
        let whole_phase = whole_phase(options, cac);
        Self {
            sources: sources(options),
            segment: segment(options, 40),
            nfft: options.integer("nfft", 4096, 16..=65_536),
            cac,
            whole_phase,
            hybrid_old: options.flag("hybrid_old", false),
            depth: options.integer("depth", 6, 1..=10),
            channels: options.integer("channels", 48, 1..=4096),
            growth: options.integer("growth", 2, 1..=8),
            kernel_size: options.integer("kernel_size", 8, 4..=64),
            stride: options.integer("stride", 4, 2..=32),
            time_stride: options.integer("time_stride", 2, 2..=32),
            context: options.integer("context", 1, 0..=16),
            context_enc: options.integer("context_enc", 0, 0..=16),
            freq_emb: options.positive("freq_emb", 0.2),
            emb_scale: options.positive("emb_scale", 10.0),
            multi_freqs: multi_freqs(options),
            multi_freqs_depth: options.integer("multi_freqs_depth", 2, 0..=10),
            dconv: DConv::read(options, 4),
            deeper: Deeper::read(options),
        }
    }

    fn refuse_misfits(&self, options: &mut Options) {
        // Then a layer's padding, a quarter of the kernel, makes it scale by the stride exactly.
        if self.kernel_size != 2 * self.stride || self.stride % 2 != 0 {
            let accepted = format!("has to be twice an even stride, which is {}", self.stride);
            options.refuse("kernel_size", self.kernel_size.into(), &accepted);
        }
        if self.time_stride % 2 != 0 {
            options.refuse("time_stride", self.time_stride.into(), "has to be even");
        }
        match self.meeting() {
            Some(layer) if layer < self.depth => {
                if layer + 1 < self.multi_freqs_depth && !self.multi_freqs.is_empty() {
                    let accepted = "only layers above the meeting of the branches have bands";
                    options.refuse("multi_freqs_depth", self.multi_freqs_depth.into(), accepted);
                }
            }
            _ => {
                let accepted = "the frequencies have to come down to one, by strides that divide \
                                them, within the layers that there are";
                options.refuse("nfft", self.nfft.into(), accepted);
            }
        }
        if !self.multi_freqs.is_empty() && self.deeper.norm < self.multi_freqs_depth {
            let accepted = "layers with bands have no norms";
            options.refuse("norm_starts", self.deeper.norm.into(), accepted);
        }
        self.dconv.refuse_misfits(options, self.channels);
        self.deeper.refuse_misfits(
            options,
            &self.dconv,
            |layer| self.layer_channels(layer),
            self.depth,
        );
    }

    /// The layer that leaves one frequency, in which the branches meet.
    pub fn meeting(&self) -> Option<i64> {
        let mut bins = self.nfft / 2;
        for layer in 0..self.depth {
            if bins <= self.kernel_size {
                return (bins > 1).then_some(layer);
            }
            if bins % self.stride != 0 {
                return None;
            }
            bins /= self.stride;
        }
        None
    }

    /// Channels after encoder layer `layer`, counted from 0; the same in both branches.
    pub fn layer_channels(&self, layer: i64) -> i64 {
        (0..layer).fold(self.channels, |channels, _| channels * self.growth)
    }

    /// Frequencies before encoder layer `layer`, counted from 0; 1 below the meeting.
    pub fn bins(&self, layer: i64) -> i64 {
        let down = |bins, _| if bins <= self.kernel_size { 1 } else { bins / self.stride };
        (0..layer).fold(self.nfft / 2, down)
    }

    /// Channels that carry one channel of sound in the frequency branch.
    pub fn parts(&self) -> i64 {
        if self.cac { 2 } else { 1 }
    }
}

/// Reads `wiener_iters`, which matters without `cac`: above 0, Wiener filtering begins.
fn whole_phase(options: &mut Options, cac: bool) -> bool {
    if cac {
        options.skip(&["wiener_iters"]);
        return false;
    }
    options.integer("wiener_iters", 0, i64::MIN..=0) == 0
}

fn multi_freqs(options: &mut Options) -> Vec<f64> {
    let value = options.take("multi_freqs").filter(|value| !value.is_null()).unwrap_or_default();
    let ratios: Option<Vec<f64>> = match &value {
        Value::Null => Some(Vec::new()),
        value => serde_json::from_value(value.clone()).ok(),
    };
    let rising = |ratios: &Vec<f64>| {
        let inside = ratios.iter().all(|ratio| *ratio > 0.0 && *ratio < 1.0);
        inside && ratios.windows(2).all(|pair| pair[0] < pair[1])
    };
    ratios.filter(rising).unwrap_or_else(|| {
        options.refuse("multi_freqs", value, "has to be rising numbers between 0 and 1");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hdemucs(mut kwargs: Value) -> Result<HDemucs, Vec<Refused>> {
        kwargs["sources"] = json!(["drums", "bass", "other", "vocals"]);
        HDemucs::new(Vec::new(), serde_json::from_value(kwargs).unwrap())
    }

    fn refused(kwargs: Value) -> Vec<String> {
        hdemucs(kwargs).unwrap_err().into_iter().map(|refused| refused.option).collect()
    }

    #[test]
    fn the_options_of_the_published_networks_are_accepted() {
        // hdemucs_mmi; then, by signature, the kinds that there are in mdx and mdx_extra.
        let mmi = hdemucs(json!({ "multi_freqs": [], "multi_freqs_depth": 3 })).unwrap();
        assert_eq!((mmi.meeting(), mmi.bins(4), mmi.bins(5)), (Some(4), 8, 1));
        let c511e2ab = json!({ "norm_starts": 999, "cac": false, "hybrid_old": true });
        hdemucs(c511e2ab).unwrap();
        let d7d865c68 =
            json!({ "norm_starts": 999, "multi_freqs": [0.1, 0.3], "multi_freqs_depth": 2 });
        assert_eq!(hdemucs(d7d865c68).unwrap().multi_freqs, [0.1, 0.3]);
        let d5d2d6c55 = json!({ "cac": false, "wiener_iters": 0, "norm_groups": 4 });
        hdemucs(d5d2d6c55).unwrap();
    }

    #[test]
    fn what_no_published_network_uses_is_refused_by_name() {
        assert_eq!(refused(json!({ "hybrid": false })), ["hybrid"]);
        assert_eq!(refused(json!({ "cac": false, "wiener_iters": 2 })), ["wiener_iters"]);
        assert_eq!(refused(json!({ "depth": 4 })), ["nfft"]);
        assert_eq!(refused(json!({ "multi_freqs": [0.3, 0.1] })), ["multi_freqs"]);
        assert_eq!(refused(json!({ "multi_freqs": [0.3], "norm_starts": 1 })), ["norm_starts"]);
        assert_eq!(refused(json!({ "dconv_comp": 64 })), ["dconv_comp"]);
        assert_eq!(refused(json!({ "dconv_comp": 43, "channels": 60 })), ["dconv_comp"]);
    }

    #[test]
    fn every_parameter_is_read_or_skipped_or_refused() {
        let args = vec![json!("odd"); PARAMETERS.len()];
        let refused = HDemucs::new(args, Map::new()).unwrap_err();
        assert!(refused.iter().all(|refused| !refused.accepted.contains("known")), "{refused:?}");
    }
}
