use std::ops::ControlFlow;

use audio::{Cutter, Join, Shard, Shards, Stats, Waveform};

use crate::apply::Run;
use crate::workers::Workers;
use crate::{Demucs, Options, SeparateError, Stems};

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

/// A song that is separated while it comes, made by [`Demucs::stream`].
///
/// Holds some segments of the song and of its stems, however long it is.
#[derive(Debug)]
pub struct Stream<'a> {
    demucs: &'a Demucs,
    mix: Mix,
    workers: Workers,
    wanted: Vec<usize>,
    cutter: Cutter,
    joins: Vec<Join>,
    segments_done: usize,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(
        demucs: &'a Demucs,
        stats: &Stats,
        wanted: Vec<usize>,
        options: &Options,
    ) -> Result<Self, SeparateError> {
        let workers = options.workers(demucs.on);
        let segment = options.segment.unwrap_or(demucs.segment_frames);
        demucs.refuse_longer(segment)?;
        let shards = Shards::cut(segment, options.overlap, workers.segments())?;
        let shards = shards.shifted(options.shifts).reaching(demucs.reach(segment));
        let frames = stats.frames() as usize;
        let mix = Mix { frames, mean: stats.mean(), std: stats.std(), shards };
        let joins = wanted.iter().map(|_| Join::new(shards, frames)).collect();
        Ok(Self {
            demucs,
            mix,
            workers,
            wanted,
            cutter: Cutter::new(shards),
            joins,
            segments_done: 0,
        })
    }

    /// Takes the song's next frames, and gives those of the stems that are ready: none at first,
    /// later more or fewer than were taken.
    pub fn push(&mut self, block: &Waveform) -> Result<Stems, SeparateError> {
        self.push_with(block, |_, _| ControlFlow::Continue(()))
    }

    /// The same; `progress` is told after each segment how many of how many are done, and may
    /// break off.
    ///
    /// # Errors
    /// [`SeparateError::Cancelled`] if it did; the stream is of no further use then.
    pub fn push_with(
        &mut self,
        block: &Waveform,
        mut progress: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Stems, SeparateError> {
        self.cutter.push(block);
        let mut stems = self.empty();
        while let Some(shard) = self.cutter.ready() {
            self.separate(&shard, &mut stems, &mut progress)?;
        }
        Ok(stems)
    }

    /// Ends the song, and gives the rest of the stems.
    ///
    /// # Errors
    /// [`SeparateError::Length`] if it was not as long as was said when the stream was made.
    pub fn finish(self) -> Result<Stems, SeparateError> {
        self.finish_with(|_, _| ControlFlow::Continue(()))
    }

    /// The same; `progress` as in [`Stream::push_with`].
    pub fn finish_with(
        mut self,
        mut progress: impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Stems, SeparateError> {
        let (expected, actual) = (self.mix.frames, self.cutter.frames());
        if expected != actual {
            return Err(SeparateError::Length { expected, actual });
        }
        let mut stems = self.empty();
        let rest = std::mem::replace(&mut self.cutter, Cutter::new(self.mix.shards)).finish();
        for shard in rest {
            self.separate(&shard, &mut stems, &mut progress)?;
        }
        Ok(stems)
    }

    fn empty(&self) -> Stems {
        let names = self.wanted.iter().map(|source| self.demucs.sources[*source].clone());
        Stems(names.map(|name| (name, Waveform::default())).collect())
    }

    fn separate(
        &mut self,
        shard: &Shard,
        stems: &mut Stems,
        progress: &mut impl FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<(), SeparateError> {
        let run = Run::new(self.demucs, &self.mix, shard)?;
        let before = self.segments_done;
        let shards = self.mix.shards;
        let segments = shards.segments(shard.index, self.mix.frames).len();
        let all = shards.grid().segments(self.mix.frames);
        let tell = |done: usize, of: usize| progress(before + segments * done / of, all);
        let sums = self.demucs.sums(&run, &self.wanted, &self.workers, tell)?;
        self.segments_done += segments;
        for ((join, (_, stem)), sum) in self.joins.iter_mut().zip(&mut stems.0).zip(&sums) {
            stem.extend(&join.push(sum).expect("sums are cut as the join expects"));
        }
        Ok(())
    }
}
