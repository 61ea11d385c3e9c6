//! A fifth stage, to show what one takes: this file and a table in `workflow.toml`.

use std::convert::Infallible;
use std::process::ExitCode;

use audio::WavReader;
use workflow::{Failure, Output, Stage, Task};

/// The level of each shard of the song.
struct Loudness;

impl Stage for Loudness {
    fn name(&self) -> &'static str {
        "loudness"
    }

    fn run(&self, task: &Task) -> Result<Output, Failure> {
        let decoded = task.fact("decode")?;
        let shard = task.open(decoded.object(&format!("{}.wav", task.key()))?);
        let failure = |error: audio::WavError| Failure::transient(error.to_string());
        let mut wav = WavReader::new(shard).map_err(failure)?;
        let audio = wav.read_all().map_err(failure)?;
        wav.finish().map_err(failure)?.finish()?;
        let samples = audio.planes().iter().flatten();
        let power: f64 = samples.map(|sample| f64::from(sample * sample)).sum();
        let level = 10.0 * (power / (2 * audio.frames()) as f64).log10();
        Output::of(&level)
    }
}

fn main() -> ExitCode {
    workflow::serve("loudness", || Ok::<_, Infallible>(Loudness))
}
