//! A model applied to more than it takes at a time (`demucs/apply.py: apply_model` with
//! `split=True`, inside `demucs/api.py: Separator.separate_tensor`).

use std::ops::{ControlFlow, Range};

use audio::{Piece, Shard, Shards, Waveform};
use models::Fit;
use tch::Tensor;

use crate::workers::Workers;
use crate::{Demucs, Mix, SeparateError};

/// A run of segments, and the part of the song that they see.
pub(crate) struct Run {
    /// The frame of the song that the audio begins with.
    start: usize,
    /// Normalized, `[2, n]`.
    audio: Tensor,
    shards: Shards,
    frames: usize,
    index: usize,
    normalization: Normalization,
}

/// Between a song's samples and those that the model sees, in the precision that the reference
/// computes in.
#[derive(Clone, Copy, Debug)]
struct Normalization {
    mean: f32,
    std: f32,
}

/// One segment of one pass over the song, for one network.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) net: usize,
    /// What the network is shown, `[1, 2, l]`.
    pub(crate) shown: Tensor,
    /// Where in its result the piece begins.
    offset: usize,
    piece: Piece,
    /// `[w, 1, 1]`: how much the network has to say about each wanted source.
    say: Tensor,
}

impl Run {
    /// The segments of `shard`, if it holds what they see.
    pub(crate) fn new(demucs: &Demucs, mix: &Mix, shard: &Shard) -> Result<Self, SeparateError> {
        let Shard { index, start, ref audio } = *shard;
        let segment = mix.shards.grid().segment();
        let shards = mix.shards.reaching(demucs.reach(segment));
        let actual = start..start + audio.frames();
        let exists = index < shards.count(mix.frames);
        let expected = if exists { shards.input(index, mix.frames) } else { 0..0 };
        if !exists || actual != expected {
            return Err(SeparateError::Shard { index, expected, actual });
        }
        let normalization = Normalization { mean: mix.mean as f32, std: mix.std as f32 + 1e-8 };
        let planes = audio.planes().each_ref().map(|plane| Tensor::from_slice(plane));
        let audio = Tensor::stack(&planes, 0).f_to_device(demucs.device)?;
        let audio = (audio - f64::from(normalization.mean)) / f64::from(normalization.std);
        Ok(Self { start, audio, shards, frames: mix.frames, index, normalization })
    }

    /// All there is to compute, in the order in which it is added up: segment, frames of silence
    /// before the song, network.
    fn order(&self, demucs: &Demucs, wanted: &[usize]) -> Vec<(usize, usize, usize)> {
        let mut order = Vec::new();
        for segment in self.shards.segments(self.index, self.frames) {
            for lead in self.shards.shifts().leads() {
                if self.shards.gives(segment, lead, self.frames) {
                    order.extend(demucs.heard(wanted).map(|net| (segment, lead, net)));
                }
            }
        }
        order
    }

    fn item(&self, demucs: &Demucs, net: usize, piece: Piece, wanted: &[usize]) -> Item {
        let fit = demucs.nets[net].fit;
        let length = fit.length(piece.chunk, self.shards.grid().segment());
        let missing = (length - piece.chunk) / 2;
        let offset = missing + piece.before;
        let say: Vec<f32> = wanted.iter().map(|source| demucs.nets[net].say[*source]).collect();
        let say = Tensor::from_slice(&say).view([-1, 1, 1]).to_device(demucs.device);
        Item { net, shown: self.show(&piece, offset, length), offset, piece, say }
    }

    /// `length` frames of the song, `offset` of them before the piece, with silence where there is
    /// no song: `[1, 2, length]`. The silence is added after normalization.
    fn show(&self, piece: &Piece, offset: usize, length: usize) -> Tensor {
        let start = piece.frames.start as i64 - offset as i64;
        let end = start + length as i64;
        let (from, to) = (start.max(0), end.min(self.frames as i64));
        let song = self.audio.narrow(1, from - self.start as i64, to - from);
        song.constant_pad_nd([from - start, end - to]).unsqueeze(0)
    }

    fn output(&self) -> Range<usize> {
        self.shards.output(self.index, self.frames)
    }
}

impl Item {
    /// Whether both can go through a network together.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.net == other.net && self.shown.size() == other.shown.size()
    }

    /// What the network gives for it, `[s, 2, l]`, as part of the song: `[w, 2, n]`.
    fn weigh(&self, result: &Tensor, wanted: &Tensor, scale: Normalization) -> Tensor {
        let count = self.piece.frames.len() as i64;
        let result = result.narrow(2, self.offset as i64, count).index_select(0, wanted);
        let weights = Tensor::from_slice(&self.piece.weights).to_device(result.device());
        let song = result * f64::from(scale.std) + f64::from(scale.mean);
        song * weights * &self.say
    }
}

impl Demucs {
    /// For each of the `wanted` sources, what the segments of `run` have to give to it, in the
    /// scale of the song, over the output of its shard.
    pub(crate) fn sums(
        &self,
        run: &Run,
        wanted: &[usize],
        workers: &Workers,
        mut progress: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<Waveform>, SeparateError> {
        let _guard = tch::no_grad_guard();
        let output = run.output();
        let shape = [wanted.len() as i64, 2, output.len() as i64];
        let sums = Tensor::f_zeros(shape, (tch::Kind::Float, self.device))?;
        let chosen: Vec<i64> = wanted.iter().map(|source| *source as i64).collect();
        let chosen = Tensor::from_slice(&chosen).f_to_device(self.device)?;
        let order = run.order(self, wanted);
        let (mut done, total) = (0, order.len());
        let items = order.into_iter().filter_map(|(segment, lead, net)| {
            let piece = run.shards.piece(segment, lead, run.frames)?;
            Some(run.item(self, net, piece, wanted))
        });
        workers.run(self, items, |item, result| {
            let weighted = item.weigh(&result, &chosen, run.normalization);
            let (at, count) = (item.piece.frames.start - output.start, item.piece.frames.len());
            let _ = sums.narrow(2, at as i64, count as i64).g_add_(&weighted);
            done += 1;
            progress(done, total)
        })?;
        (0..wanted.len()).map(|source| waveform(&sums.get(source as i64))).collect()
    }

    /// The networks that have something to say about any of the wanted sources.
    fn heard(&self, wanted: &[usize]) -> impl Iterator<Item = usize> {
        let heard = |net: &usize| wanted.iter().any(|source| self.nets[*net].say[*source] != 0.0);
        (0..self.nets.len()).filter(heard)
    }

    /// How many frames the model looks at before a chunk and after it, at most.
    pub(crate) fn reach(&self, segment: usize) -> [usize; 2] {
        let reaches = self.nets.iter().map(|net| Fit::reach(net.fit, segment));
        reaches.fold([0, 0], |most, reach| [most[0].max(reach[0]), most[1].max(reach[1])])
    }
}

/// `[2, n]` as sound.
fn waveform(planes: &Tensor) -> Result<Waveform, SeparateError> {
    let mut left = vec![0.0; planes.numel()];
    let samples = left.len();
    planes.f_copy_data(&mut left, samples)?;
    let right = left.split_off(samples / 2);
    Ok(Waveform::new(left, right))
}
