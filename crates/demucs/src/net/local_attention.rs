//! The attention inside the residual branches of deep layers (`demucs/demucs.py: LocalState`).

use models::config::LOCAL_HEADS;
use tch::{Kind, Tensor};

use super::conv::Axis;
use super::linear::Linear;
use super::weights::Scope;

/// Controls of each head's decay.
const DECAYS: i64 = 4;

/// What a step has for itself: nothing, in effect.
const ITSELF: f64 = -100.0;

/// Attention of each step to all others, the less the farther they are; how much less, each step
/// says for itself. Added to what it was given.
#[derive(Clone, Debug)]
pub(crate) struct LocalAttention {
    content: Linear,
    query: Linear,
    key: Linear,
    query_decay: Linear,
    proj: Linear,
}

impl LocalAttention {
    pub(crate) fn new(scope: &mut Scope, channels: i64) -> Self {
        let decays = LOCAL_HEADS * DECAYS;
        let mut linear =
            |name, to| Linear::pointwise(&mut scope.at(name), Axis::Time, [channels, to]);
        Self {
            content: linear("content", channels),
            query: linear("query", channels),
            key: linear("key", channels),
            query_decay: linear("query_decay", decays),
            proj: linear("proj", channels),
        }
    }

    /// `[r, t, c]` → `[r, t, c]`.
    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        let [query, key, content] =
            [&self.query, &self.key, &self.content].map(|part| heads(&part.forward(xs)));
        let scale = (query.size()[3] as f64).powf(-0.5);
        // [r, h, t, t]: of whom, and to whom.
        let mut dots = (query * scale).matmul(&key.transpose(2, 3)).to_kind(Kind::Float);
        dots -= self.decay(xs);
        let steps = xs.size()[1];
        let itself = Tensor::eye(steps, (Kind::Bool, xs.device()));
        let weights = dots.masked_fill_(&itself, ITSELF).softmax(-1, xs.kind());
        let seen = weights.matmul(&content).transpose(1, 2).flatten(2, 3);
        xs + self.proj.forward(&seen)
    }

    /// What distance takes away: `[r, h, t, t]`.
    fn decay(&self, xs: &Tensor) -> Tensor {
        let steps = Tensor::arange(xs.size()[1], (Kind::Float, xs.device()));
        let distance = (steps.unsqueeze(1) - steps.unsqueeze(0)).abs();
        let kinds = Tensor::arange_start(1, DECAYS + 1, (Kind::Float, xs.device()));
        let controls = heads(&self.query_decay.forward(xs)).to_kind(Kind::Float).sigmoid() / 2.0;
        let slope = (controls * kinds).sum_dim_intlist([-1].as_slice(), true, Kind::Float);
        slope * distance / (DECAYS as f64).sqrt()
    }
}

/// `[r, t, h·c]` → `[r, h, t, c]`.
fn heads(xs: &Tensor) -> Tensor {
    let (r, t, c) = xs.size3().expect("rows are [r, t, c]");
    xs.view([r, t, LOCAL_HEADS, c / LOCAL_HEADS]).transpose(1, 2)
}
