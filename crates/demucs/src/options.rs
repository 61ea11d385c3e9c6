use std::num::NonZero;
use std::thread::available_parallelism;

use audio::Shifts;

use crate::Device;
use crate::workers::Workers;

/// Segments that go through a network together on a GPU, unless another number is asked for.
const GPU_BATCH: NonZero<usize> = NonZero::new(8).unwrap();

/// How a song is separated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The part of each segment that it shares with the next, at least 0 and less than 1.
    pub overlap: f64,
    /// Frames of a segment, if not [`segment_frames`](crate::Demucs::segment_frames); at most
    /// [`longest_segment`](crate::Demucs::longest_segment). Shorter ones take less memory, and separate less well.
    pub segment: Option<usize>,
    /// How often the song is separated, each time a little shifted, to take the mean.
    pub shifts: Shifts,
    /// Segments that are computed at a time on the CPU, each by a thread of its own; as many as
    /// there are cores if not said. The result is the same with any number.
    pub threads: Option<NonZero<usize>>,
    /// Segments that go through the network together; if not said, 1 on the CPU, where more only
    /// take more memory, and several on a GPU.
    pub batch: Option<NonZero<usize>>,
}

impl Default for Options {
    /// Those of Demucs on the command line, without shifts.
    fn default() -> Self {
        Self { overlap: 0.25, segment: None, shifts: Shifts::NONE, threads: None, batch: None }
    }
}

impl Options {
    pub(crate) fn workers(&self, device: Device) -> Workers {
        let cores = || available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let (threads, batch) = match device {
            Device::Cpu => (Some(self.threads.unwrap_or_else(cores)), NonZero::<usize>::MIN),
            Device::Cuda(_) => (None, GPU_BATCH),
        };
        Workers { threads, batch: self.batch.unwrap_or(batch) }
    }
}
