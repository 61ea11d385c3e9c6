//! Separates a song without anything around the model, and so shows how to try one:
//!
//!     cargo run --release -p demucs --example separate -- song.mp3 out --model models/mini.safetensors
//!
//! writes one 32-bit float WAV file per source, named after it.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use audio::{SAMPLE_RATE, Song, WavWriter, Waveform};
use clap::Parser;
use demucs::{Demucs, Device, Options};

/// Separates a song into one WAV file per source.
#[derive(Parser)]
struct Args {
    /// The song: any audio file.
    mix: PathBuf,
    /// Where the stems are written to.
    outdir: PathBuf,
    /// A model in the form that Demucs 4.1 publishes.
    #[arg(long)]
    model: PathBuf,
    /// The part of each segment that it shares with the next.
    #[arg(long, default_value_t = Options::default().overlap)]
    overlap: f64,
    /// Where to compute: cpu, cuda or cuda:<index>.
    #[arg(long, default_value_t = Device::Cpu)]
    device: Device,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mix = read(&args.mix).with_context(|| format!("failed to read {}", args.mix.display()))?;
    let demucs = Demucs::load(&args.model, args.device)?;

    let start = Instant::now();
    let options = Options { overlap: args.overlap, ..Options::default() };
    let stems = demucs.separate(&mix, &options)?;
    let elapsed = start.elapsed().as_secs_f64();
    let seconds = mix.frames() as f64 / f64::from(SAMPLE_RATE);

    fs::create_dir_all(&args.outdir)?;
    for (name, stem) in stems.iter() {
        let path = args.outdir.join(format!("{name}.wav"));
        write(&path, stem).with_context(|| format!("failed to write {}", path.display()))?;
        println!("{}", path.display());
    }
    println!("{seconds:.1} s of audio in {elapsed:.1} s: {:.2} times real time", seconds / elapsed);
    Ok(())
}

fn read(path: &Path) -> Result<Waveform> {
    let mut song = Waveform::default();
    for block in Song::open(File::open(path)?)? {
        song.extend(&block?);
    }
    Ok(song)
}

fn write(path: &Path, stem: &Waveform) -> Result<()> {
    let file = BufWriter::new(File::create(path)?);
    let mut wav = WavWriter::new(file, stem.frames() as u64)?;
    wav.write(stem)?;
    wav.finish()?;
    Ok(())
}
