//! The LSTM inside the residual branches of deep layers (`demucs/demucs.py: BLSTM`).

use tch::Tensor;

use super::linear::Linear;
use super::weights::{Scope, Weight};

const LAYERS: i64 = 2;

/// The most steps that it is given at a time. More are cut into chunks of this many, every other
/// half a chunk.
const CHUNK: i64 = 200;
const STRIDE: i64 = CHUNK / 2;

/// What a chunk gives at either end is not used, where it has a neighbour there.
const EDGE: i64 = STRIDE / 2;

/// Two layers in both directions, and a layer that brings both together, added to what they were
/// given.
#[derive(Clone, Debug)]
pub(crate) struct Lstm {
    channels: i64,
    /// Of each layer and direction: from the input, from the state, and the biases of both.
    params: Vec<Weight>,
    linear: Linear,
}

impl Lstm {
    pub(crate) fn new(scope: &mut Scope, channels: i64) -> Self {
        let mut params = Vec::new();
        let gates = 4 * channels;
        for layer in 0..LAYERS {
            let inputs = if layer == 0 { channels } else { 2 * channels };
            for direction in ["", "_reverse"] {
                let mut scope = scope.at("lstm");
                let mut take = |kind: &str, shape: &[i64]| {
                    params.push(scope.tensor(&format!("{kind}_l{layer}{direction}"), shape));
                };
                take("weight_ih", &[gates, inputs]);
                take("weight_hh", &[gates, channels]);
                take("bias_ih", &[gates]);
                take("bias_hh", &[gates]);
            }
        }
        let linear = Linear::new(&mut scope.at("linear"), [2 * channels, channels]);
        Self { channels, params, linear }
    }

    /// `[r, t, c]` → `[r, t, c]`.
    pub(crate) fn forward(&self, xs: &Tensor) -> Tensor {
        let (r, t, c) = xs.size3().expect("rows are [r, t, c]");
        if t <= CHUNK {
            return xs + self.run(xs);
        }
        let chunks = (t + STRIDE - 1) / STRIDE;
        let missing = (chunks - 1) * STRIDE + CHUNK - t;
        let padded = xs.constant_pad_nd([0, 0, 0, missing]);
        // [r, chunks, c, CHUNK]
        let cut = padded.unfold(1, CHUNK, STRIDE).transpose(2, 3).reshape([-1, CHUNK, c]);
        let run = self.run(&cut).view([r, chunks, CHUNK, c]);
        let used: Vec<Tensor> = (0..chunks).map(|index| used(&run, index, chunks)).collect();
        Tensor::cat(&used, 1).narrow(1, 0, t) + xs
    }

    /// `[r, t, c]` → `[r, t, c]`, each row from its beginning and its end.
    fn run(&self, xs: &Tensor) -> Tensor {
        let state = [2 * LAYERS, xs.size()[0], self.channels];
        let zeros = || Tensor::zeros(state, (xs.kind(), xs.device()));
        let (hidden, cell) = (zeros(), zeros());
        let params: Vec<&Tensor> = self.params.iter().map(|param| &**param).collect();
        let (biases, dropout, train, bidirectional, batch_first) = (true, 0.0, false, true, true);
        let (steps, _, _) = xs.lstm(
            &[&hidden, &cell],
            &params,
            biases,
            LAYERS,
            dropout,
            train,
            bidirectional,
            batch_first,
        );
        self.linear.forward(&steps)
    }
}

/// The steps of chunk `index` that are used.
fn used(chunks: &Tensor, index: i64, count: i64) -> Tensor {
    let from = if index == 0 { 0 } else { EDGE };
    let to = if index == count - 1 { CHUNK } else { CHUNK - EDGE };
    chunks.select(1, index).narrow(1, from, to - from)
}
