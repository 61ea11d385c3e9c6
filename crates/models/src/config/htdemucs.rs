use serde_json::{Map, Value};

use super::{DConv, refuse_other_sound, segment, sources};
use crate::options::{Options, Refused};

/// The options of an HTDemucs whose frequency axis stays longer than one bin: `mini` and the
/// published `htdemucs`, `htdemucs_ft` and `htdemucs_6s` (`demucs/htdemucs.py:
/// HTDemucs.__init__`).
#[derive(Clone, Debug, PartialEq)]
pub struct HtDemucs {
    /// What the mix is separated into.
    pub sources: Vec<String>,
    /// Frames that the model takes at a time.
    pub segment: i64,
    /// Frames under one window of the spectrogram; one hop is a quarter of it.
    pub nfft: i64,
    /// Complex as channels: the frequency branch takes and gives real and imaginary parts. Else
    /// it takes a magnitude and gives one, which goes with the phase of the mix.
    pub cac: bool,

    /// Layers of each encoder and each decoder.
    pub depth: i64,
    /// Channels after the first encoder layer.
    pub channels: i64,
    /// Channels of each further layer per channel of the one before.
    pub growth: i64,
    /// Kernel of a layer's strided convolution.
    pub kernel_size: i64,
    /// Its stride.
    pub stride: i64,
    /// Neighbours on each side that a decoder layer's rewrite sees.
    pub context: i64,
    /// Neighbours on each side that an encoder layer's rewrite sees.
    pub context_enc: i64,
    /// Weight of the embedding of frequencies.
    pub freq_emb: f64,
    /// What the stored embedding is multiplied with.
    pub emb_scale: f64,
    /// The residual branches inside layers.
    pub dconv: DConv,

    /// Channels inside the transformer; 0: as many as the last encoder layer has.
    pub bottom_channels: i64,
    /// Layers of the transformer, in each of its two branches.
    pub t_layers: i64,
    /// Heads of its attention.
    pub t_heads: i64,
    /// Channels inside its feed-forward blocks per channel outside.
    pub t_hidden_scale: f64,
    /// The longest period of its position embedding.
    pub t_max_period: f64,
    /// The weight of its position embedding.
    pub t_weight_pos_embed: f64,
}

/// The constructor's parameters in order, for arguments given by position.
#[rustfmt::skip]
const PARAMETERS: [&str; 63] = [
    "sources", "audio_channels", "channels", "channels_time", "growth",
    "nfft", "wiener_iters", "end_iters", "wiener_residual", "cac",
    "depth", "rewrite", "multi_freqs", "multi_freqs_depth", "freq_emb", "emb_scale", "emb_smooth",
    "kernel_size", "time_stride", "stride", "context", "context_enc", "norm_starts", "norm_groups",
    "dconv_mode", "dconv_depth", "dconv_comp", "dconv_init", "bottom_channels",
    "t_layers", "t_emb", "t_hidden_scale", "t_heads", "t_dropout", "t_max_positions",
    "t_norm_in", "t_norm_in_group", "t_group_norm", "t_norm_first", "t_norm_out", "t_max_period",
    "t_weight_decay", "t_lr", "t_layer_scale", "t_gelu", "t_weight_pos_embed",
    "t_sin_random_shift", "t_cape_mean_normalize", "t_cape_augment", "t_cape_glob_loc_scale",
    "t_sparse_self_attn", "t_sparse_cross_attn", "t_mask_type", "t_mask_random_seed",
    "t_sparse_attn_window", "t_global_window", "t_sparsity", "t_auto_sparsity", "t_cross_first",
    "rescale", "samplerate", "segment", "use_train_segment",
];

/// What matters to training and to the first weights only.
#[rustfmt::skip]
const OF_TRAINING: [&str; 8] = [
    "end_iters", "emb_smooth", "dconv_init", "t_dropout", "t_weight_decay", "t_lr",
    "t_cape_augment", "rescale",
];

/// Details of parts that [`refuse_other_parts`] has seen to be absent.
#[rustfmt::skip]
const OF_ABSENT_PARTS: [&str; 13] = [
    "wiener_residual", "multi_freqs_depth", "time_stride", "norm_groups",
    "t_max_positions", "t_norm_in_group", "t_cape_mean_normalize", "t_cape_glob_loc_scale",
    "t_mask_type", "t_mask_random_seed", "t_sparse_attn_window", "t_global_window", "t_sparsity",
];

impl HtDemucs {
    /// Reads the options from the call `HTDemucs(*args, **kwargs)`.
    pub(super) fn new(args: Vec<Value>, kwargs: Map<String, Value>) -> Result<Self, Vec<Refused>> {
        let mut options = Options::bind(&PARAMETERS, args, kwargs);
        refuse_other_parts(&mut options);
        let config = Self::read(&mut options);
        config.refuse_misfits(&mut options);
        options.skip(&OF_TRAINING);
        options.skip(&OF_ABSENT_PARTS);
        options.finish()?;
        Ok(config)
    }

    fn read(options: &mut Options) -> Self {
        let config = Self {
            sources: sources(options),
            segment: segment(options, 10),
            nfft: options.integer("nfft", 4096, 16..=65_536),
            cac: options.flag("cac", true),
            depth: options.integer("depth", 4, 1..=8),
            channels: options.integer("channels", 48, 1..=4096),
            growth: options.integer("growth", 2, 1..=8),
            kernel_size: options.integer("kernel_size", 8, 4..=64),
            stride: options.integer("stride", 4, 2..=32),
            context: options.integer("context", 1, 0..=16),
            context_enc: options.integer("context_enc", 0, 0..=16),
            freq_emb: options.positive("freq_emb", 0.2),
            emb_scale: options.positive("emb_scale", 10.0),
            dconv: DConv::read(options, 8),
            bottom_channels: options.integer("bottom_channels", 0, 0..=65_536),
            t_layers: options.integer("t_layers", 5, 1..=64),
            t_heads: options.integer("t_heads", 8, 1..=1024),
            t_hidden_scale: options.positive("t_hidden_scale", 4.0),
            t_max_period: options.positive("t_max_period", 10_000.0),
            t_weight_pos_embed: options.positive("t_weight_pos_embed", 1.0),
        };
        // Wiener filtering, and normalized layers, begin beyond these.
        if config.cac {
            options.skip(&["wiener_iters"]);
        } else {
            options.integer("wiener_iters", 0, i64::MIN..=-1);
        }
        options.integer("norm_starts", 4, config.depth..=i64::MAX);
        config
    }

    /// Refuses values that no model can be built from.
    fn refuse_misfits(&self, options: &mut Options) {
        if self.nfft / 2 % self.stride.pow(self.depth as u32) != 0 {
            let accepted = "nfft / 2 has to be a multiple of stride to the power of depth";
            options.refuse("nfft", self.nfft.into(), accepted);
        }
        // Then a layer's padding, a quarter of the kernel, makes it scale by the stride exactly.
        if self.kernel_size != 2 * self.stride || self.stride % 2 != 0 {
            let accepted = format!("has to be twice an even stride, which is {}", self.stride);
            options.refuse("kernel_size", self.kernel_size.into(), &accepted);
        }
        // Reflection at the ends of a segment needs that much to reflect.
        if self.segment <= self.nfft {
            let accepted = format!("has to be longer than nfft = {} frames", self.nfft);
            options.refuse("segment", self.segment.into(), &accepted);
        }
        if self.bins(self.depth - 1) <= self.kernel_size {
            let accepted = "that many layers would leave one frequency";
            options.refuse("depth", self.depth.into(), accepted);
        }
        self.dconv.refuse_misfits(options, self.channels);
        let channels = self.transformer_channels();
        if channels % self.t_heads != 0 {
            let accepted = format!("has to divide the transformer's {channels} channels");
            options.refuse("t_heads", self.t_heads.into(), &accepted);
        }
        if channels % 4 != 0 {
            let accepted = format!("the transformer's {channels} channels are no multiple of 4");
            options.refuse("bottom_channels", self.bottom_channels.into(), &accepted);
        }
    }

    /// Channels after encoder layer `layer`, counted from 0; the same in both branches.
    pub fn layer_channels(&self, layer: i64) -> i64 {
        (0..layer).fold(self.channels, |channels, _| channels * self.growth)
    }

    /// Frequencies before encoder layer `layer`, counted from 0.
    pub fn bins(&self, layer: i64) -> i64 {
        (0..layer).fold(self.nfft / 2, |bins, _| bins / self.stride)
    }

    /// Channels inside the transformer.
    pub fn transformer_channels(&self) -> i64 {
        match self.bottom_channels {
            0 => self.layer_channels(self.depth - 1),
            channels => channels,
        }
    }

    /// Channels that carry one channel of sound in the frequency branch.
    pub fn parts(&self) -> i64 {
        if self.cac { 2 } else { 1 }
    }
}

/// Refuses what would make another model of it than the one implemented.
fn refuse_other_parts(options: &mut Options) {
    refuse_other_sound(options);
    options.only("use_train_segment", true);
    options.only("channels_time", Value::Null);
    options.only("rewrite", true);
    options.only("multi_freqs", Value::Null);
    options.only("t_emb", "sin");
    options.only("t_sin_random_shift", 0);
    options.only("t_norm_in", true);
    options.only("t_group_norm", false);
    options.only("t_norm_first", true);
    options.only("t_norm_out", true);
    options.only("t_layer_scale", true);
    options.only("t_gelu", true);
    options.only("t_sparse_self_attn", false);
    options.only("t_sparse_cross_attn", false);
    options.only("t_auto_sparsity", false);
    options.only("t_cross_first", false);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(kwargs: Value) -> Result<HtDemucs, Vec<Refused>> {
        let Value::Object(mut kwargs) = kwargs else {
            panic!("keyword arguments have names");
        };
        kwargs.entry("sources").or_insert(json!(["drums", "bass"]));
        HtDemucs::new(Vec::new(), kwargs)
    }

    fn refused(kwargs: Value) -> Vec<String> {
        config(kwargs).unwrap_err().into_iter().map(|refused| refused.option).collect()
    }

    #[test]
    fn defaults_are_those_of_the_constructor() {
        let config = config(json!({})).unwrap();
        assert_eq!(config.sources, ["drums", "bass"]);
        assert_eq!((config.channels, config.depth, config.growth), (48, 4, 2));
        assert_eq!((config.segment, config.nfft, config.cac), (441_000, 4096, true));
        assert_eq!((config.t_layers, config.t_heads, config.bottom_channels), (5, 8, 0));
        assert_eq!(config.transformer_channels(), 384);
    }

    #[test]
    fn the_options_of_the_published_htdemucs_are_accepted() {
        let kwargs = r#"{
            "audio_channels": 2, "samplerate": 44100, "channels": 48, "channels_time": null,
            "segment": { "_type": "fraction", "numerator": 39, "denominator": 5 },
            "growth": 2, "nfft": 4096, "wiener_iters": 0, "end_iters": 0, "wiener_residual": false,
            "cac": true, "depth": 4, "rewrite": true, "multi_freqs": [], "multi_freqs_depth": 3,
            "freq_emb": 0.2, "emb_scale": 10, "emb_smooth": true, "kernel_size": 8, "stride": 4,
            "time_stride": 2, "context": 1, "context_enc": 0, "norm_starts": 4, "norm_groups": 4,
            "dconv_mode": 3, "dconv_depth": 2, "dconv_comp": 8, "dconv_init": 0.001,
            "bottom_channels": 512, "t_layers": 5, "t_hidden_scale": 4.0, "t_heads": 8,
            "t_dropout": 0.02, "t_layer_scale": true, "t_gelu": true, "t_emb": "sin",
            "t_max_positions": 10000, "t_max_period": 10000.0, "t_weight_pos_embed": 1.0,
            "t_cape_mean_normalize": true, "t_cape_augment": true,
            "t_cape_glob_loc_scale": [5000.0, 1.0, 1.4], "t_sin_random_shift": 0,
            "t_norm_in": true, "t_norm_in_group": false, "t_group_norm": false,
            "t_norm_first": true, "t_norm_out": true, "t_weight_decay": 0.0, "t_lr": null,
            "t_sparse_self_attn": false, "t_sparse_cross_attn": false, "t_mask_type": "diag",
            "t_mask_random_seed": 42, "t_sparse_attn_window": 400, "t_global_window": 100,
            "t_sparsity": 0.95, "t_auto_sparsity": false, "t_cross_first": false, "rescale": 0.1
        }"#;
        let config = config(serde_json::from_str(kwargs).unwrap()).unwrap();
        assert_eq!(config.segment, 343_980);
        assert_eq!(config.transformer_channels(), 512);
    }

    #[test]
    fn an_option_that_is_unknown_or_not_implemented_is_refused_by_name() {
        assert_eq!(refused(json!({ "t_cosine": true })), ["t_cosine"]);
        assert_eq!(refused(json!({ "t_emb": "cape", "rewrite": false })), ["rewrite", "t_emb"]);
        assert_eq!(refused(json!({ "samplerate": 48000 })), ["samplerate"]);
        assert_eq!(refused(json!({ "cac": false })), ["wiener_iters"]);
        assert_eq!(refused(json!({ "norm_starts": 3 })), ["norm_starts"]);
        assert_eq!(refused(json!({ "depth": 5 })), ["norm_starts", "depth"]);
        assert_eq!(refused(json!({ "depth": 5, "norm_starts": 9 })), ["depth"]);
        assert_eq!(refused(json!({ "t_heads": 7 })), ["t_heads"]);
        assert_eq!(refused(json!({ "segment": 0.01 })), ["segment"]);
        assert_eq!(refused(json!({ "sources": [] })), ["sources"]);
        assert_eq!(refused(json!({ "sources": ["a", "a"] })), ["sources"]);
        assert_eq!(refused(json!({ "sources": ["../a"] })), ["sources"]);
    }

    #[test]
    fn every_parameter_is_read_or_skipped_or_refused() {
        // Each of them by position: nothing may be left over as unknown.
        let args = vec![json!("odd"); PARAMETERS.len()];
        let refused = HtDemucs::new(args, Map::new()).unwrap_err();
        assert!(refused.iter().all(|refused| !refused.accepted.contains("known")), "{refused:?}");
    }
}
