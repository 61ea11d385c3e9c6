//! Any audio file to a 44.1 kHz stereo float WAV: `decode SONG [OUT.wav]`. Prints what it finds.

use std::error::Error;
use std::fs::File;

use audio::{Song, Stats, WavWriter};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (input, output) = match &arguments[..] {
        [input] => (input, None),
        [input, output] => (input, Some(output)),
        _ => return Err("usage: decode SONG [OUT.wav]".into()),
    };
    let mut song = Song::open(File::open(input)?)?;
    let mut stats = Stats::default();
    for block in song.by_ref() {
        stats.push(&block?);
    }
    println!("{:?}\n{:?}", song.tags(), song.facts());
    println!("mean {:.6}, std {:.6}, peak {:.6}", stats.mean(), stats.std(), stats.peak());
    let Some(output) = output else { return Ok(()) };

    // A WAV file begins with its length, which is only known now: decode it once more.
    let mut wav = WavWriter::new(File::create(output)?, stats.frames())?;
    for block in Song::open(File::open(input)?)? {
        wav.write(&block?)?;
    }
    wav.finish()?;
    Ok(())
}
