use std::ops::Range;

/// Which of a track's coded frames are the song: all but the encoder's delay before `start` and
/// its padding in `padding`.
///
/// Frames beyond the padding are kept. They are where the header's count is wrong, as in MP3
/// files that were simply appended to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trim {
    pub(super) start: i64,
    pub(super) padding: Range<i64>,
}

impl Trim {
    /// Keeps everything.
    pub(super) fn nothing() -> Self {
        Self { start: i64::MIN, padding: i64::MAX..i64::MAX }
    }

    /// Of a block of `frames` frames, the first of them at `at`, the parts to keep, in order: the
    /// song, and what lies beyond the padding. Either may be empty.
    pub(super) fn kept(&self, at: i64, frames: usize) -> [Range<usize>; 2] {
        let end = at.saturating_add(frames as i64);
        let within = |from: i64, to: i64| {
            let offset = |frame: i64| frame.clamp(at, end).abs_diff(at) as usize;
            offset(from)..offset(to).max(offset(from))
        };
        let song = within(self.start, self.padding.start.max(self.start));
        let beyond = within(self.padding.end.max(self.start), i64::MAX);
        [song, beyond]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_is_kept_or_not_whatever_the_blocks() {
        let trims = [
            Trim::nothing(),
            Trim { start: 0, padding: 20..25 },
            Trim { start: 3, padding: i64::MAX..i64::MAX },
            Trim { start: 30, padding: 10..20 },
            Trim { start: 5, padding: 9..i64::MAX },
        ];
        for trim in trims {
            for size in [1, 3, 10, 64] {
                let mut kept = Vec::new();
                for at in (-10..54).step_by(size as usize) {
                    for range in trim.kept(at, size as usize) {
                        kept.extend(range.map(|offset| at + offset as i64));
                    }
                }
                kept.retain(|frame| *frame < 54);
                let expected =
                    (-10..54).filter(|frame| *frame >= trim.start && !trim.padding.contains(frame));
                assert_eq!(kept, expected.collect::<Vec<_>>(), "{trim:?} by {size}");
            }
        }
    }
}
