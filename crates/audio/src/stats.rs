use crate::Waveform;

/// Mean, deviation and peak of a song, gathered block by block.
///
/// Mean and deviation are those of the mono mix (left + right) / 2: the model's input is
/// normalized by them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    frames: u64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    squares: f64,
    peak: f32,
}

impl Stats {
    /// Takes one more block into account.
    pub fn push(&mut self, block: &Waveform) {
        if block.is_empty() {
            return;
        }
        let mono = || {
            let pairs = block.left().iter().zip(block.right());
            pairs.map(|(left, right)| (f64::from(*left) + f64::from(*right)) / 2.0)
        };
        let count = block.frames() as f64;
        let mean = mono().sum::<f64>() / count;
        let squares = mono().map(|sample| (sample - mean).powi(2)).sum::<f64>();
        self.merge(count, mean, squares);
        self.frames += block.frames() as u64;
        self.peak = self.peak.max(block.peak());
    }

    /// Joins a block's moments to those before it (Chan, Golub and LeVeque): unlike a sum of
    /// squares, this keeps its digits where a small signal rides on a large offset.
    fn merge(&mut self, count: f64, mean: f64, squares: f64) {
        let before = self.frames as f64;
        let apart = mean - self.mean;
        self.mean += apart * count / (before + count);
        self.squares += squares + apart.powi(2) * before * count / (before + count);
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The mean of the mono mix; 0 without a frame.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The unbiased standard deviation of the mono mix; 0 below two frames.
    pub fn std(&self) -> f64 {
        if self.frames < 2 { 0.0 } else { (self.squares / (self.frames - 1) as f64).sqrt() }
    }

    /// The greatest absolute sample of either channel.
    pub fn peak(&self) -> f32 {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-12, "{actual} instead of {expected}");
    }

    #[test]
    fn blocks_of_any_size_give_the_moments_of_the_whole() {
        let left: Vec<f32> = (0..1000).map(|n| 0.5 + (n as f32 * 0.1).sin()).collect();
        let right: Vec<f32> = (0..1000).map(|n| -1.25 * (n as f32 * 0.07).cos()).collect();
        let song = Waveform::new(left.clone(), right.clone());

        let mono = || left.iter().zip(&right).map(|(l, r)| f64::from(l + r) / 2.0);
        let mono: Vec<f64> = mono().collect();
        let mean = mono.iter().sum::<f64>() / 1000.0;
        let variance = mono.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 999.0;

        for size in [1, 7, 500, 1000] {
            let mut stats = Stats::default();
            for start in (0..1000).step_by(size) {
                stats.push(&song.slice(start..1000.min(start + size)));
            }
            assert_eq!(stats.frames(), 1000);
            assert!((stats.mean() - mean).abs() < 1e-7);
            assert!((stats.std() - variance.sqrt()).abs() < 1e-7);
            assert_eq!(stats.peak(), song.peak());
        }
    }

    #[test]
    fn a_small_signal_on_a_large_offset_keeps_its_deviation() {
        let mut stats = Stats::default();
        for _ in 0..1000 {
            stats.push(&Waveform::new(vec![4096.5, 4095.5], vec![4096.5, 4095.5]));
        }
        assert_close(stats.mean(), 4096.0);
        assert_close(stats.std(), (0.25_f64 * 2000.0 / 1999.0).sqrt());
    }

    #[test]
    fn silence_and_nothing_have_no_deviation() {
        let mut stats = Stats::default();
        stats.push(&Waveform::default());
        assert_eq!((stats.frames(), stats.mean(), stats.std()), (0, 0.0, 0.0));
        stats.push(&Waveform::silence(1));
        assert_eq!(stats.std(), 0.0);
        stats.push(&Waveform::silence(100));
        assert_eq!((stats.mean(), stats.std(), stats.peak()), (0.0, 0.0, 0.0));
    }
}
