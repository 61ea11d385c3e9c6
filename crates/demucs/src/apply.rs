//! A model applied to more than it takes at a time (`demucs/apply.py: apply_model` with
//! `split=True, shifts=0`, inside `demucs/api.py: Separator.separate_tensor`).

use std::iter;
use std::ops::{ControlFlow, Range};

use audio::{CHANNELS, Shard, Shards, Waveform, Window};
use tch::Tensor;

use crate::{Demucs, SeparateError};

/// A song as what its shards have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Its length.
    pub frames: usize,
    /// The mean of its mono mix, as [`audio::Stats`] has it.
    pub mean: f64,
    /// The unbiased standard deviation of its mono mix, as [`audio::Stats`] has it.
    pub std: f64,
    /// How it is cut.
    pub shards: Shards,
}

/// A run of segments, and the part of the song that they see.
pub(crate) struct Run<'a> {
    pub(crate) audio: &'a Waveform,
    /// The frame of the song that `audio` begins with.
    pub(crate) start: usize,
    pub(crate) segments: Range<usize>,
    /// The frames of the song that the segments give results for.
    pub(crate) output: Range<usize>,
}

impl<'a> Run<'a> {
    /// All of a mix.
    pub(crate) fn whole(mix: &Mix, audio: &'a Waveform) -> Self {
        let segments = 0..mix.shards.grid().segments(mix.frames);
        Self { audio, start: 0, segments, output: 0..mix.frames }
    }

    /// The segments of `shard`, if it holds what they see.
    pub(crate) fn of(mix: &Mix, shard: &'a Shard) -> Result<Self, SeparateError> {
        let Shard { index, start, ref audio } = *shard;
        let actual = start..start + audio.frames();
        let exists = index < mix.shards.count(mix.frames);
        let expected = if exists { mix.shards.input(index, mix.frames) } else { 0..0 };
        if !exists || actual != expected {
            return Err(SeparateError::Shard { index, expected, actual });
        }
        let segments = mix.shards.segments(index, mix.frames);
        Ok(Self { audio, start, segments, output: mix.shards.output(index, mix.frames) })
    }
}

impl Mix {
    /// In the precision that the reference computes in.
    fn normalization(&self) -> Normalization {
        Normalization { mean: self.mean as f32, std: self.std as f32 + 1e-8 }
    }
}

/// Between a song's samples and those that the model sees.
#[derive(Clone, Copy)]
struct Normalization {
    mean: f32,
    std: f32,
}

impl Normalization {
    fn apply(self, sample: f32) -> f32 {
        (sample - self.mean) / self.std
    }

    fn undo(self, sample: f32) -> f32 {
        sample * self.std + self.mean
    }
}

impl Demucs {
    /// For each of the `wanted` sources, the sum of the segments' results times their weights, in
    /// the scale of the song, over `run.output`.
    ///
    /// One segment at a time goes through the model, whatever run it is in: several at once are
    /// summed up in another order inside libtorch, and differ in the last digits.
    pub(crate) fn weighted_sums(
        &self,
        mix: &Mix,
        run: &Run,
        wanted: &[usize],
        mut progress: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Vec<Waveform>, SeparateError> {
        let _guard = tch::no_grad_guard();
        let grid = mix.shards.grid();
        let weights = grid.weights();
        let normalization = mix.normalization();
        let mut sums = vec![Waveform::silence(run.output.len()); wanted.len()];
        let total = run.segments.len();
        for (done, segment) in run.segments.clone().enumerate() {
            let window = grid.window(segment, mix.frames);
            let chunk = grid.chunk(segment, mix.frames);
            let shown = show(run, &window, normalization).f_to_device(self.device)?;
            let separated = self.model.forward(&shown);
            let results = separated.narrow(3, window.offset as i64, chunk.len() as i64);
            for (sum, source) in sums.iter_mut().zip(wanted) {
                let result = results.get(0).get(*source as i64);
                let weighted = weigh(&result, &weights, normalization)?;
                sum.add(chunk.start - run.output.start, &weighted);
            }
            if progress(done + 1, total).is_break() {
                return Err(SeparateError::Cancelled);
            }
        }
        Ok(sums)
    }
}

/// What the model sees through `window`: `[1, 2, segment]`. The silence around the song is added
/// after normalization.
fn show(run: &Run, window: &Window, normalization: Normalization) -> Tensor {
    let from = window.range.start - run.start;
    let to = window.range.end - run.start;
    let mut samples = Vec::with_capacity(CHANNELS * (window.before + to - from + window.after));
    for plane in run.audio.planes() {
        samples.extend(iter::repeat_n(0.0, window.before));
        samples.extend(plane[from..to].iter().map(|sample| normalization.apply(*sample)));
        samples.extend(iter::repeat_n(0.0, window.after));
    }
    Tensor::from_slice(&samples).view([1, CHANNELS as i64, -1])
}

/// One source of one segment, `[2, l]`, in the scale of the song and times the weights.
fn weigh(
    result: &Tensor,
    weights: &[f32],
    normalization: Normalization,
) -> Result<Waveform, SeparateError> {
    let mut left = vec![0.0; result.numel()];
    let samples = left.len();
    result.f_copy_data(&mut left, samples)?;
    let mut right = left.split_off(samples / CHANNELS);
    for plane in [&mut left, &mut right] {
        for (sample, weight) in plane.iter_mut().zip(weights) {
            *sample = weight * normalization.undo(*sample);
        }
    }
    Ok(Waveform::new(left, right))
}
