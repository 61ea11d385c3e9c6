use std::ops::Range;

use crate::{Shards, Waveform};

/// A piece of a song, as one worker takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    /// Which one, from 0.
    pub index: usize,
    /// The frame of the song that it begins with.
    pub start: usize,
    /// The frames of [`Shards::input`].
    pub audio: Waveform,
}

/// Cuts a song into shards while it is still being decoded and its length is not known.
///
/// Holds about one shard. Push blocks, and take what is ready after each of them.
#[derive(Debug)]
pub struct Cutter {
    shards: Shards,
    next: usize,
    /// The frames that came so far, from where the next shard begins.
    pending: Waveform,
    start: usize,
}

impl Cutter {
    /// A cutter at the start of a song.
    pub fn new(shards: Shards) -> Self {
        Self { shards, next: 0, pending: Waveform::default(), start: 0 }
    }

    /// Frames of the song so far.
    pub fn frames(&self) -> usize {
        self.start + self.pending.frames()
    }

    /// Appends the song's next frames.
    pub fn push(&mut self, block: &Waveform) {
        self.pending.extend(block);
    }

    /// The next shard, if all of it has come.
    pub fn ready(&mut self) -> Option<Shard> {
        // A shard that is complete without knowing the end is the same with any later end.
        let input = self.shards.input(self.next, usize::MAX);
        (input.end <= self.frames()).then(|| self.cut(input))
    }

    /// The shards that are left when the song has ended; together with those before them
    /// [`Shards::count`].
    pub fn finish(mut self) -> impl Iterator<Item = Shard> {
        let frames = self.frames();
        let rest = self.next..self.shards.count(frames);
        rest.map(move |index| self.cut(self.shards.input(index, frames)))
    }

    fn cut(&mut self, input: Range<usize>) -> Shard {
        let shard = Shard {
            index: self.next,
            start: self.start,
            audio: self.pending.slice(0..input.len()),
        };
        self.next += 1;
        let start = self.shards.input(self.next, usize::MAX).start.min(self.frames());
        self.pending.drop_front(start - self.start);
        self.start = start;
        shard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Grid;

    /// A song in which every sample says where it stands.
    fn song(frames: usize) -> Waveform {
        let left: Vec<f32> = (0..frames).map(|n| n as f32).collect();
        let right = left.iter().map(|n| -n).collect();
        Waveform::new(left, right)
    }

    fn cut(shards: Shards, song: &Waveform, block: usize) -> Vec<Shard> {
        let mut cutter = Cutter::new(shards);
        let mut cut = Vec::new();
        for start in (0..song.frames()).step_by(block) {
            cutter.push(&song.slice(start..song.frames().min(start + block)));
            cut.extend(std::iter::from_fn(|| cutter.ready()));
        }
        cut.extend(cutter.finish());
        cut
    }

    #[test]
    fn shards_of_a_stream_are_those_of_the_whole_song() {
        for (overlap, per_shard) in [(0.0, 1), (0.25, 1), (0.25, 3), (0.8, 2)] {
            let grid = Grid::new(20, overlap).unwrap();
            let shards = Shards::new(grid, per_shard).reaching([10, 3]);
            for frames in 0..160 {
                let song = song(frames);
                for block in [1, 2, 7, 20, 61, 200] {
                    let cut = cut(shards, &song, block);
                    assert_eq!(cut.len(), shards.count(frames), "of {frames} frames");
                    for (index, shard) in cut.into_iter().enumerate() {
                        let input = shards.input(index, frames);
                        let (start, audio) = (input.start, song.slice(input));
                        assert_eq!(shard, Shard { index, start, audio }, "of {frames} frames");
                    }
                }
            }
        }
    }

    #[test]
    fn no_more_than_a_shard_and_a_block_is_held() {
        let shards = Shards::new(Grid::new(100, 0.25).unwrap(), 4);
        let longest = shards.input(1, usize::MAX).len();
        let mut cutter = Cutter::new(shards);
        for _ in 0..1000 {
            cutter.push(&Waveform::silence(10));
            while cutter.ready().is_some() {}
            assert!(cutter.pending.frames() < longest + 10);
        }
    }
}
