use serde_json::{Map, Value};

use super::{DConv, Deeper, Fit, refuse_other_sound, segment, sources};
use crate::options::{Options, Refused};

/// The options of a Demucs over the waveform alone, of the third generation: the networks of this
/// class in the published bags `mdx` and `repro_mdx_a` (`demucs/demucs.py: Demucs.__init__`).
#[derive(Clone, Debug, PartialEq)]
pub struct Demucs {
    /// What the mix is separated into.
    pub sources: Vec<String>,
    /// Frames that the model is best given at a time.
    pub segment: i64,
    /// Layers of the encoder and of the decoder.
    pub depth: i64,
    /// Channels after the first encoder layer.
    pub channels: i64,
    /// Channels of each further layer per channel of the one before.
    pub growth: i64,
    /// Whether layers have a convolution that rewrites their channels.
    pub rewrite: bool,
    /// Kernel of a layer's strided convolution.
    pub kernel_size: i64,
    /// Its stride.
    pub stride: i64,
    /// Neighbours on each side that a decoder layer's rewrite sees.
    pub context: i64,
    /// The residual branches inside layers.
    pub dconv: DConv,
    /// What only deeper layers have.
    pub deeper: Deeper,
    /// Whether the mix is brought to mean 0 and deviation 1 first.
    pub normalize: bool,
    /// Whether the network works at twice the rate of the sound.
    pub resample: bool,
}

/// The constructor's parameters in order, for arguments given by position.
#[rustfmt::skip]
const PARAMETERS: [&str; 25] = [
    "sources", "audio_channels", "channels", "growth", "depth", "rewrite", "lstm_layers",
    "kernel_size", "stride", "context", "gelu", "glu", "norm_starts", "norm_groups",
    "dconv_mode", "dconv_depth", "dconv_comp", "dconv_attn", "dconv_lstm", "dconv_init",
    "normalize", "resample", "rescale", "samplerate", "segment",
];

impl Demucs {
    /// Reads the options from the call `Demucs(*args, **kwargs)`.
    pub(super) fn new(args: Vec<Value>, kwargs: Map<String, Value>) -> Result<Self, Vec<Refused>> {
        let mut options = Options::bind(&PARAMETERS, args, kwargs);
        refuse_other_sound(&mut options);
        options.only("lstm_layers", 0);
        options.only("gelu", true);
        options.only("glu", true);
        let config = Self {
            sources: sources(&mut options),
            segment: segment(&mut options, 40),
            depth: options.integer("depth", 6, 1..=8),
            channels: options.integer("channels", 64, 1..=4096),
            growth: options.integer("growth", 2, 1..=8),
            rewrite: options.flag("rewrite", true),
            kernel_size: options.integer("kernel_size", 8, 2..=64),
            stride: options.integer("stride", 4, 2..=32),
            context: options.integer("context", 1, 0..=16),
            dconv: DConv::read(&mut options, 4),
            deeper: Deeper::read(&mut options),
            normalize: options.flag("normalize", true),
            resample: options.flag("resample", true),
        };
        config.refuse_misfits(&mut options);
        options.skip(&["dconv_init", "rescale"]);
        options.finish()?;
        Ok(config)
    }

    fn refuse_misfits(&self, options: &mut Options) {
        // Then every length that the layers can take is even, and has a half.
        if self.kernel_size % 2 != 0 || self.stride % 2 != 0 || self.kernel_size < self.stride {
            let accepted = "kernel and stride have to be even, the kernel no less than the stride";
            options.refuse("kernel_size", self.kernel_size.into(), accepted);
        }
        self.dconv.refuse_misfits(options, self.channels);
        self.deeper.refuse_misfits(
            options,
            &self.dconv,
            |layer| self.layer_channels(layer),
            self.depth,
        );
    }

    /// Channels after encoder layer `layer`, counted from 0.
    pub fn layer_channels(&self, layer: i64) -> i64 {
        (0..layer).fold(self.channels, |channels, _| channels * self.growth)
    }

    /// The lengths that go through all layers with nothing left over (`Demucs.valid_length`).
    pub(super) fn fit(&self) -> Fit {
        // From the deepest layer outwards, n steps are (n - 1)·stride + kernel steps.
        let (mut step, mut rest) = (1, 0);
        for _ in 0..self.depth {
            step *= self.stride;
            rest = rest * self.stride + self.kernel_size - self.stride;
        }
        let rate = if self.resample { 2 } else { 1 };
        Fit::Steps { step: (step / rate) as usize, rest: (rest / rate) as usize }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn demucs(mut kwargs: Value) -> Result<Demucs, Vec<Refused>> {
        kwargs["sources"] = json!(["drums", "bass", "other", "vocals"]);
        Demucs::new(Vec::new(), serde_json::from_value(kwargs).unwrap())
    }

    #[test]
    fn lengths_are_those_of_the_reference() {
        // From `Demucs(["a"]).valid_length(…)`.
        let fit = demucs(json!({})).unwrap().fit();
        assert_eq!(fit, Fit::Steps { step: 2048, rest: 2730 });
        for (chunk, length) in [(1, 4778), (4778, 4778), (4779, 6826), (1_940_400, 1_942_186)] {
            assert_eq!(fit.length(chunk, 1_940_400), length);
        }
    }

    #[test]
    fn the_options_of_the_published_networks_are_accepted() {
        let config = demucs(json!({ "rewrite": false, "normalize": true, "dconv_init": 1e-4 }));
        assert_eq!(config.unwrap().layer_channels(5), 2048);
    }

    #[test]
    fn what_no_published_network_uses_is_refused_by_name() {
        let refused = demucs(json!({ "lstm_layers": 2, "gelu": false, "svd": 1 })).unwrap_err();
        let options: Vec<&str> = refused.iter().map(|refused| refused.option.as_str()).collect();
        assert_eq!(options, ["lstm_layers", "gelu", "svd"]);
        let odd = demucs(json!({ "channels": 6, "norm_groups": 5 })).unwrap_err();
        assert_eq!(odd[0].option, "norm_groups");
    }

    #[test]
    fn every_parameter_is_read_or_skipped_or_refused() {
        let args = vec![json!("odd"); PARAMETERS.len()];
        let refused = Demucs::new(args, Map::new()).unwrap_err();
        assert!(refused.iter().all(|refused| !refused.accepted.contains("known")), "{refused:?}");
    }
}
