//! How a song is cut for the model, and laid together again.
//!
//! The model sees *segments* of one fixed length. Segments overlap; each result is weighted with a
//! triangle, added to its neighbours and divided by the sum of the weights. The arithmetic is that
//! of Demucs 4.1 (`demucs/apply.py`: `apply_model` with `split=True`, `TensorChunk.padded`), to
//! the frame.
//!
//! A *shard* is a run of whole segments: what one worker takes at a time.

use std::ops::Range;

/// The cutting of any song into segments of `segment` frames, one every `stride` frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    segment: usize,
    stride: usize,
}

/// Why there is no such [`Grid`].
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum GridError {
    /// Segments would stand apart or on top of each other.
    #[error("overlap is {0}, must be at least 0 and less than 1")]
    Overlap(f64),
    /// The segment is so short that its stride would be no frame at all.
    #[error("a segment of {0} frames is too short to be cut")]
    Segment(usize),
}

/// What the model sees of one segment: `range` of the song, with silence around it where the
/// song has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Frames of silence before `range`.
    pub before: usize,
    /// Frames of the song.
    pub range: Range<usize>,
    /// Frames of silence after `range`.
    pub after: usize,
    /// Where in the window the segment's own frames begin: the result is cut there.
    pub offset: usize,
}

impl Grid {
    /// A grid of segments of `segment` frames that share `overlap` (0 ≤ overlap < 1) of their
    /// length with the next.
    pub fn new(segment: usize, overlap: f64) -> Result<Self, GridError> {
        if !(0.0..1.0).contains(&overlap) {
            return Err(GridError::Overlap(overlap));
        }
        let stride = ((1.0 - overlap) * segment as f64) as usize;
        if stride == 0 {
            return Err(GridError::Segment(segment));
        }
        Ok(Self { segment, stride })
    }

    /// Frames of one segment.
    pub fn segment(&self) -> usize {
        self.segment
    }

    /// Frames from the start of one segment to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// How many segments a song of `frames` frames has.
    pub fn segments(&self, frames: usize) -> usize {
        frames.div_ceil(self.stride)
    }

    /// The frames that segment `index` gives a result for; shorter than a segment at the end.
    pub fn chunk(&self, index: usize, frames: usize) -> Range<usize> {
        let start = index * self.stride;
        start..frames.min(start.saturating_add(self.segment))
    }

    /// What the model sees for segment `index`: a short chunk is padded to a whole segment around
    /// its centre, with the song itself where there is some and silence where there is none.
    pub fn window(&self, index: usize, frames: usize) -> Window {
        let chunk = self.chunk(index, frames);
        let missing = self.segment - chunk.len();
        let offset = missing / 2;
        let before = offset.saturating_sub(chunk.start);
        let start = chunk.start.saturating_sub(offset);
        let end = frames.min(start + self.segment - before);
        Window { before, range: start..end, after: self.segment - before - (end - start), offset }
    }

    /// The triangle that a segment's result is weighted with: `segment` values in (0, 1].
    pub fn weights(&self) -> Vec<f32> {
        let half = self.segment / 2;
        let peak = (self.segment - half) as f32;
        let rise = 1..=half;
        let fall = (1..=self.segment - half).rev();
        rise.chain(fall).map(|n| n as f32 / peak).collect()
    }

    /// The sum of all segments' weights at each frame of `range`: what a weighted sum is divided
    /// by.
    pub fn weight_sums(&self, range: Range<usize>, frames: usize) -> Vec<f32> {
        let first = (range.start + 1).saturating_sub(self.segment).div_ceil(self.stride);
        let end = self.segments(range.end.min(frames));
        self.weights_of(first..end, range, frames)
    }

    fn weights_of(&self, segments: Range<usize>, range: Range<usize>, frames: usize) -> Vec<f32> {
        let weights = self.weights();
        let mut sums = vec![0.0; range.len()];
        for index in segments {
            let chunk = self.chunk(index, frames);
            let from = chunk.start.max(range.start);
            let to = chunk.end.min(range.end);
            for frame in from..to {
                sums[frame - range.start] += weights[frame - chunk.start];
            }
        }
        sums
    }
}

/// A [`Grid`] whose segments are handed out `per_shard` at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    grid: Grid,
    per_shard: usize,
}

impl Shards {
    /// Shards of `per_shard` segments each; the last may have fewer.
    ///
    /// # Panics
    /// If `per_shard` is 0.
    pub fn new(grid: Grid, per_shard: usize) -> Self {
        assert!(per_shard > 0, "a shard has at least one segment");
        Self { grid, per_shard }
    }

    /// Shards of `per_shard` segments of `segment` frames that share `overlap` of their length: see
    /// [`Grid::new`].
    ///
    /// # Panics
    /// If `per_shard` is 0.
    pub fn cut(segment: usize, overlap: f64, per_shard: usize) -> Result<Self, GridError> {
        Ok(Self::new(Grid::new(segment, overlap)?, per_shard))
    }

    /// The grid that is handed out.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// How many shards a song of `frames` frames has.
    pub fn count(&self, frames: usize) -> usize {
        self.grid.segments(frames).div_ceil(self.per_shard)
    }

    /// The segments of shard `index`.
    pub fn segments(&self, index: usize, frames: usize) -> Range<usize> {
        let first = index * self.per_shard;
        first..self.grid.segments(frames).min(first.saturating_add(self.per_shard))
    }

    /// The frames of the song that the windows of shard `index` show. With `frames` =
    /// `usize::MAX` this is what the shard needs while the song's end is not in sight.
    pub fn input(&self, index: usize, frames: usize) -> Range<usize> {
        let output = self.output(index, frames);
        output.start.saturating_sub(self.grid.segment / 2)..output.end
    }

    /// The frames of the song that shard `index` gives a weighted partial sum for.
    pub fn output(&self, index: usize, frames: usize) -> Range<usize> {
        let segments = self.segments(index, frames);
        let last = self.grid.chunk(segments.end - 1, frames);
        self.grid.chunk(segments.start, frames).start..last.end
    }

    /// The sum of the weights of the segments of shard `index` alone, at each frame of its
    /// [`output`](Self::output).
    pub fn weights(&self, index: usize, frames: usize) -> Vec<f32> {
        let (segments, output) = (self.segments(index, frames), self.output(index, frames));
        self.grid.weights_of(segments, output, frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid::new(100, 0.25).unwrap()
    }

    #[test]
    fn chunks_cover_the_song_at_any_length() {
        for frames in 1..500 {
            let grid = grid();
            let last = grid.segments(frames) - 1;
            assert_eq!(grid.chunk(last, frames).end, frames, "of {frames}");
            for index in 0..last {
                assert!(grid.chunk(index + 1, frames).start <= grid.chunk(index, frames).end);
            }
        }
    }

    #[test]
    fn windows_are_whole_segments_and_hold_their_chunk() {
        for frames in 1..500 {
            for index in 0..grid().segments(frames) {
                let chunk = grid().chunk(index, frames);
                let window = grid().window(index, frames);
                assert_eq!(window.before + window.range.len() + window.after, 100);
                let at = window.range.start + window.offset - window.before;
                assert_eq!(at, chunk.start, "segment {index} of {frames} frames");
                assert!(window.range.end >= chunk.end);
            }
        }
    }

    #[test]
    fn a_short_last_chunk_sees_the_song_before_it() {
        // 10 frames left of 160: 45 frames of the song before them, 45 of silence after.
        let window = grid().window(2, 160);
        assert_eq!(window, Window { before: 0, range: 105..160, after: 45, offset: 45 });
        // A song shorter than a segment stands in the middle of silence.
        let window = grid().window(0, 9);
        assert_eq!(window, Window { before: 45, range: 0..9, after: 46, offset: 45 });
    }

    #[test]
    fn weights_rise_and_fall_and_are_never_zero() {
        for segment in [4, 5, 66_150] {
            let weights = Grid::new(segment, 0.25).unwrap().weights();
            assert_eq!(weights.len(), segment);
            assert!(weights.iter().all(|w| *w > 0.0 && *w <= 1.0));
            assert!(weights.contains(&1.0));
        }
    }

    #[test]
    fn weight_sums_are_the_same_from_any_start() {
        for frames in [1, 99, 100, 101, 175, 311] {
            let whole = grid().weight_sums(0..frames, frames);
            assert!(whole.iter().all(|sum| *sum > 0.0));
            for start in 0..frames {
                assert_eq!(grid().weight_sums(start..frames, frames), whole[start..]);
                assert_eq!(grid().weight_sums(0..start, frames), whole[..start]);
            }
        }
    }

    #[test]
    fn shards_share_out_all_segments_and_carry_what_their_windows_show() {
        for frames in 1..900 {
            let shards = Shards::new(grid(), 3);
            let mut next = 0;
            for index in 0..shards.count(frames) {
                let segments = shards.segments(index, frames);
                assert_eq!(segments.start, next);
                next = segments.end;
                let input = shards.input(index, frames);
                for segment in segments {
                    let shown = grid().window(segment, frames).range;
                    assert!(input.start <= shown.start && shown.end <= input.end);
                }
            }
            assert_eq!(next, grid().segments(frames));
        }
    }

    #[test]
    fn the_weights_of_all_shards_together_are_those_of_the_song() {
        for frames in 1..900 {
            let shards = Shards::new(grid(), 3);
            let mut sums = vec![0.0; frames];
            for index in 0..shards.count(frames) {
                let range = shards.output(index, frames);
                for (sum, weight) in sums[range].iter_mut().zip(shards.weights(index, frames)) {
                    *sum += weight;
                }
            }
            assert_eq!(sums, grid().weight_sums(0..frames, frames));
        }
    }

    #[test]
    fn a_grid_without_progress_is_refused() {
        assert_eq!(Grid::new(100, 1.0), Err(GridError::Overlap(1.0)));
        assert_eq!(Grid::new(100, -0.1), Err(GridError::Overlap(-0.1)));
        assert!(Grid::new(100, f64::NAN).is_err());
        assert_eq!(Grid::new(1, 0.5), Err(GridError::Segment(1)));
    }
}
