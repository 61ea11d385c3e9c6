use crate::{Shards, Waveform};

/// Lays the shards' partial sums over each other again, in order, as a stream.
///
/// Holds about one shard. What it gives are the stem's frames, each once and in order.
#[derive(Debug)]
pub struct Join {
    shards: Shards,
    frames: usize,
    next: usize,
    /// Sums of the frames from `start` on that are not finished.
    sums: Waveform,
    start: usize,
}

/// Why partial sums do not make a stem.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JoinError {
    /// A partial sum is not as long as [`Shards::output`] says.
    #[error("shard {shard} has {actual} frames instead of {expected}")]
    Length {
        /// Which one, from 0.
        shard: usize,
        /// Frames it should have.
        expected: usize,
        /// Frames it has.
        actual: usize,
    },
    /// There are fewer or more partial sums than [`Shards::count`] says.
    #[error("{actual} shards came instead of {expected}")]
    Count {
        /// Shards the song has.
        expected: usize,
        /// Shards that came.
        actual: usize,
    },
}

impl Join {
    /// A join at the start of a song of `frames` frames.
    pub fn new(shards: Shards, frames: usize) -> Self {
        Self { shards, frames, next: 0, sums: Waveform::default(), start: 0 }
    }

    /// Takes the next shard's partial sum, which covers [`Shards::output`], and gives the frames
    /// that no later shard touches.
    pub fn push(&mut self, partial: &Waveform) -> Result<Waveform, JoinError> {
        let (shard, count) = (self.next, self.shards.count(self.frames));
        if shard >= count {
            return Err(JoinError::Count { expected: count, actual: shard + 1 });
        }
        let output = self.shards.output(shard, self.frames);
        let (expected, actual) = (output.len(), partial.frames());
        if expected != actual {
            return Err(JoinError::Length { shard, expected, actual });
        }
        let missing = (output.end - self.start).saturating_sub(self.sums.frames());
        self.sums.extend(&Waveform::silence(missing));
        self.sums.add(output.start - self.start, partial);
        self.next += 1;
        let last = self.next == count;
        let finished =
            if last { self.frames } else { self.shards.output(self.next, self.frames).start };
        Ok(self.take(finished))
    }

    /// Ends the stem.
    ///
    /// # Errors
    /// [`JoinError::Count`] if shards are missing.
    pub fn finish(self) -> Result<(), JoinError> {
        let expected = self.shards.count(self.frames);
        if self.next < expected {
            return Err(JoinError::Count { expected, actual: self.next });
        }
        Ok(())
    }

    /// The frames up to `end`.
    fn take(&mut self, end: usize) -> Waveform {
        let finished = self.sums.slice(0..end - self.start);
        self.sums.drop_front(finished.frames());
        self.start = end;
        finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Grid, Shifts};

    fn song(frames: usize) -> Waveform {
        let left = (0..frames).map(|n| (n as f32 * 0.37).sin()).collect();
        let right = (0..frames).map(|n| (n as f32 * 0.11).cos()).collect();
        Waveform::new(left, right)
    }

    /// What a model that returns its input would give for shard `index`.
    fn partial(shards: Shards, index: usize, song: &Waveform) -> Waveform {
        let output = shards.output(index, song.frames());
        let mut sum = song.slice(output);
        for plane in sum.planes_mut() {
            for (sample, part) in plane.iter_mut().zip(shards.parts(index, song.frames())) {
                *sample *= part;
            }
        }
        sum
    }

    #[test]
    fn a_song_cut_and_joined_is_the_song() {
        for (overlap, per_shard, shifts) in [(0.0, 1, 0), (0.25, 1, 0), (0.25, 3, 2), (0.8, 2, 0)] {
            let grid = Grid::new(20, overlap).unwrap();
            let shards = Shards::new(grid, per_shard).shifted(Shifts::new(shifts, 5));
            for frames in 0..160 {
                let song = song(frames);
                let mut join = Join::new(shards, frames);
                let mut again = Waveform::default();
                for index in 0..shards.count(frames) {
                    again.extend(&join.push(&partial(shards, index, &song)).unwrap());
                }
                join.finish().unwrap();
                assert_eq!(again.frames(), frames);
                for (plane, expected) in again.planes().iter().zip(song.planes()) {
                    for (at, (a, b)) in plane.iter().zip(expected).enumerate() {
                        assert!((a - b).abs() < 1e-6, "frame {at} of {frames}: {a}, not {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_more_than_a_shard_is_held() {
        let shards = Shards::new(Grid::new(100, 0.25).unwrap(), 4);
        let frames = 50_000;
        let mut join = Join::new(shards, frames);
        for index in 0..shards.count(frames) {
            join.push(&Waveform::silence(shards.output(index, frames).len())).unwrap();
            assert!(join.sums.frames() <= 100);
        }
    }

    #[test]
    fn a_shard_too_few_too_many_or_too_short_is_refused() {
        let shards = Shards::new(Grid::new(100, 0.25).unwrap(), 1);
        let mut join = Join::new(shards, 150);
        let short = join.push(&Waveform::silence(99));
        assert_eq!(short, Err(JoinError::Length { shard: 0, expected: 100, actual: 99 }));
        join.push(&Waveform::silence(100)).unwrap();
        let mut missing = Join::new(shards, 150);
        missing.push(&Waveform::silence(100)).unwrap();
        assert_eq!(missing.finish(), Err(JoinError::Count { expected: 2, actual: 1 }));
        join.push(&Waveform::silence(75)).unwrap();
        let more = join.push(&Waveform::silence(75));
        assert_eq!(more, Err(JoinError::Count { expected: 2, actual: 3 }));
        join.finish().unwrap();
    }
}
