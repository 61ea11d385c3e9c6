//! How a song is cut for the model, and laid together again.
//!
//! The model sees *segments* of one fixed length. Segments overlap; each result is weighted with a
//! triangle, and added to its neighbours; the weights add up to 1 at each frame. The arithmetic is
//! that of Demucs 4.1 (`demucs/apply.py: apply_model` with `split=True`), to the frame.
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
        let weights = self.weights();
        let first = (range.start + 1).saturating_sub(self.segment).div_ceil(self.stride);
        let end = self.segments(range.end.min(frames));
        let mut sums = vec![0.0; range.len()];
        for index in first..end {
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

/// A song separated several times, each time with another little silence before it, and the mean
/// taken of the results (`demucs/apply.py: apply_model` with `shifts`). Segments then begin
/// elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shifts {
    count: usize,
    seed: u64,
}

/// The longest silence: half a second.
const MAX_LEAD: u64 = 22_050;

impl Shifts {
    /// The song as it is, once.
    pub const NONE: Self = Self { count: 0, seed: 0 };

    /// `count` times, with always the same silences; 0 is the song as it is, once.
    pub fn times(count: u32) -> Self {
        Self::new(count as usize, 0)
    }

    /// `count` times, with silences that follow from `seed`; 0 is the song as it is, once.
    pub fn new(count: usize, seed: u64) -> Self {
        Self { count, seed }
    }

    /// Frames of silence before the song, each time.
    pub fn leads(&self) -> impl Iterator<Item = usize> + use<> {
        let Self { count, seed } = *self;
        let none = (count == 0).then_some(0);
        none.into_iter().chain((0..count).map(move |shift| lead(seed, shift as u64)))
    }

    /// The longest of them.
    fn most(&self) -> usize {
        self.leads().max().unwrap_or(0)
    }

    /// The shortest of them.
    fn least(&self) -> usize {
        self.leads().min().unwrap_or(0)
    }
}

/// Draw number `shift` of the generator SplitMix64 (Steele, Lea, Flood 2014), up to [`MAX_LEAD`].
fn lead(seed: u64, shift: u64) -> usize {
    let mut z = seed.wrapping_add((shift + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) % (MAX_LEAD + 1)) as usize
}

/// A [`Grid`] whose segments are handed out `per_shard` at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    grid: Grid,
    per_shard: usize,
    shifts: Shifts,
    reach: [usize; 2],
}

impl Shards {
    /// Shards of `per_shard` segments each; the last may have fewer.
    ///
    /// # Panics
    /// If `per_shard` is 0.
    pub fn new(grid: Grid, per_shard: usize) -> Self {
        assert!(per_shard > 0, "a shard has at least one segment");
        Self { grid, per_shard, shifts: Shifts::NONE, reach: [0, 0] }
    }

    /// Shards of `per_shard` segments of `segment` frames that share `overlap` of their length: see
    /// [`Grid::new`].
    ///
    /// # Panics
    /// If `per_shard` is 0.
    pub fn cut(segment: usize, overlap: f64, per_shard: usize) -> Result<Self, GridError> {
        Ok(Self::new(Grid::new(segment, overlap)?, per_shard))
    }

    /// The same of a song that is separated several times.
    pub fn shifted(self, shifts: Shifts) -> Self {
        Self { shifts, ..self }
    }

    /// The same for a model that looks at up to so many frames before a chunk and after it.
    pub fn reaching(self, [before, after]: [usize; 2]) -> Self {
        Self { reach: [before, after], ..self }
    }

    /// The grid that is handed out.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// How often the song is separated, and with how much silence before it.
    pub fn shifts(&self) -> Shifts {
        self.shifts
    }

    /// How many shards a song of `frames` frames has.
    pub fn count(&self, frames: usize) -> usize {
        if frames == 0 { 0 } else { self.segments_of(frames).div_ceil(self.per_shard) }
    }

    /// The segments of shard `index`. Where the song is separated several times, they are counted
    /// from the beginning of the silence, and the last may be there only after the longest.
    pub fn segments(&self, index: usize, frames: usize) -> Range<usize> {
        let first = index * self.per_shard;
        first..self.segments_of(frames).min(first.saturating_add(self.per_shard))
    }

    fn segments_of(&self, frames: usize) -> usize {
        self.grid.segments(frames.saturating_add(self.shifts.most()))
    }

    /// The frames of the song that are looked at for shard `index`. With `frames` = `usize::MAX`
    /// this is what the shard needs while the song's end is not in sight.
    pub fn input(&self, index: usize, frames: usize) -> Range<usize> {
        let output = self.output(index, frames);
        let [before, after] = self.reach;
        output.start.saturating_sub(before)..frames.min(output.end.saturating_add(after))
    }

    /// The frames of the song that shard `index` gives a partial sum for.
    pub fn output(&self, index: usize, frames: usize) -> Range<usize> {
        let segments = self.segments(index, frames);
        let start = (segments.start * self.grid.stride).saturating_sub(self.shifts.most());
        let last = (segments.end - 1) * self.grid.stride;
        let end = last.saturating_add(self.grid.segment).saturating_sub(self.shifts.least());
        start.min(frames)..frames.min(end)
    }

    /// The part that shard `index` has in the stem, at each frame of its
    /// [`output`](Self::output): over all shards they add up to 1.
    pub fn parts(&self, index: usize, frames: usize) -> Vec<f32> {
        let output = self.output(index, frames);
        let leads: Vec<usize> = self.shifts.leads().collect();
        let mut parts = vec![0.0; output.len()];
        for lead in &leads {
            for segment in self.segments(index, frames) {
                let Some(piece) = self.piece(segment, *lead, frames) else { continue };
                let at = piece.frames.start - output.start;
                for (part, weight) in parts[at..].iter_mut().zip(&piece.weights) {
                    *part += weight;
                }
            }
        }
        parts
    }

    /// Whether segment `index` has anything to give, where `lead` frames of silence stand before
    /// the song: not if it ends within them, or begins after the song.
    pub fn gives(&self, index: usize, lead: usize, frames: usize) -> bool {
        let chunk = self.grid.chunk(index, frames + lead);
        index < self.grid.segments(frames + lead) && chunk.end > lead
    }

    /// What segment `index` has to give, where `lead` frames of silence stand before the song.
    pub fn piece(&self, index: usize, lead: usize, frames: usize) -> Option<Piece> {
        if !self.gives(index, lead, frames) {
            return None;
        }
        let led = frames + lead;
        let chunk = self.grid.chunk(index, led);
        let heard = chunk.start.max(lead)..chunk.end;
        let times = self.shifts.count.max(1) as f32;
        let triangle = &self.grid.weights()[heard.start - chunk.start..];
        let sums = self.grid.weight_sums(heard.clone(), led);
        let weights = triangle.iter().zip(sums).map(|(weight, sum)| weight / sum / times);
        Some(Piece {
            frames: heard.start - lead..heard.end - lead,
            before: heard.start - chunk.start,
            chunk: chunk.len(),
            weights: weights.collect(),
        })
    }
}

/// What one segment gives to the song.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// For which frames of the song.
    pub frames: Range<usize>,
    /// Frames of the segment's chunk before them: the rest of the silence before the song.
    pub before: usize,
    /// Frames of the chunk.
    pub chunk: usize,
    /// What part it has in each of the frames: over all segments they add up to 1.
    pub weights: Vec<f32>,
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
    fn shards_share_out_all_segments_and_carry_what_they_reach() {
        let shards = Shards::new(grid(), 3).reaching([50, 7]);
        for frames in 1..900 {
            let mut next = 0;
            for index in 0..shards.count(frames) {
                let segments = shards.segments(index, frames);
                assert_eq!(segments.start, next);
                next = segments.end;
                let input = shards.input(index, frames);
                for segment in segments {
                    let chunk = grid().chunk(segment, frames);
                    assert!(input.start <= chunk.start.saturating_sub(50));
                    assert!(frames.min(chunk.end + 7) <= input.end);
                }
            }
            assert_eq!(next, grid().segments(frames));
        }
        assert_eq!(shards.count(0), 0);
    }

    #[test]
    fn the_parts_of_all_shards_add_up_to_one() {
        for shifts in [Shifts::NONE, Shifts::new(1, 7), Shifts::new(3, 1)] {
            let shards = Shards::new(grid(), 3).shifted(shifts);
            for frames in [1, 24, 99, 100, 101, 175, 311, 800] {
                let mut sums = vec![0.0; frames];
                for index in 0..shards.count(frames) {
                    let range = shards.output(index, frames);
                    for (sum, part) in sums[range].iter_mut().zip(shards.parts(index, frames)) {
                        *sum += part;
                    }
                }
                assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{shifts:?}, {frames}");
            }
        }
    }

    #[test]
    fn leads_follow_from_the_seed_and_stay_within_half_a_second() {
        let leads = |seed| Shifts::new(50, seed).leads().collect::<Vec<_>>();
        assert_eq!(leads(3), leads(3));
        assert_ne!(leads(3), leads(4));
        assert!(leads(3).iter().all(|lead| *lead <= 22_050));
        assert!(leads(3).iter().any(|lead| *lead > 11_025));
        assert_eq!(Shifts::NONE.leads().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn a_grid_without_progress_is_refused() {
        assert_eq!(Grid::new(100, 1.0), Err(GridError::Overlap(1.0)));
        assert_eq!(Grid::new(100, -0.1), Err(GridError::Overlap(-0.1)));
        assert!(Grid::new(100, f64::NAN).is_err());
        assert_eq!(Grid::new(1, 0.5), Err(GridError::Segment(1)));
    }
}
