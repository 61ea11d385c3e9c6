//! Separates a song without anything around the model, and so shows how to try one:
//!
//!     cargo run --release -p demucs --example separate -- song.mp3 out --model models/mini.safetensors
//!
//! writes one 32-bit float WAV file per source, named after it. The song is read twice, first for
//! its length and loudness, and never held: an hour takes no more memory than a minute.

use std::fs::{self, File};
use std::io::BufWriter;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use audio::{SAMPLE_RATE, Shifts, Song, Stats, WavWriter};
use clap::Parser;
use demucs::{Demucs, Device, Options, Precision, Stems};
use models::Model;

/// Separates a song into one WAV file per source.
#[derive(Parser)]
struct Args {
    /// The song: any audio file.
    mix: PathBuf,
    /// Where the stems are written to.
    outdir: PathBuf,
    /// A model: the file of a network, of a bag, or a folder.
    #[arg(long)]
    model: PathBuf,
    /// Which model of a folder.
    #[arg(long)]
    name: Option<String>,
    /// The sources that are wanted; all if none is named.
    #[arg(long)]
    source: Vec<String>,
    /// The part of each segment that it shares with the next.
    #[arg(long, default_value_t = Options::default().overlap)]
    overlap: f64,
    /// Seconds of a segment.
    #[arg(long)]
    segment: Option<f64>,
    /// How many times to separate the song, each time shifted a little.
    #[arg(long, default_value_t = 0)]
    shifts: usize,
    /// What the shifts follow from.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to compute: cpu, cuda or cuda:<index>.
    #[arg(long, default_value_t = Device::Cpu)]
    device: Device,
    /// In what to compute: f32, f16 or bf16. By default f32 on the CPU, f16 on a GPU.
    #[arg(long)]
    precision: Option<Precision>,
    /// Segments at a time on the CPU, by default one per core.
    #[arg(long)]
    threads: Option<NonZero<usize>>,
    /// Segments that go through the network together.
    #[arg(long)]
    batch: Option<NonZero<usize>>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let model = Model::find(&args.model, args.name.as_deref())?;
    let precision = args.precision.unwrap_or(args.device.precision());
    let demucs = Demucs::load_model(&model, args.device, precision)?;
    let stats = stats(&args.mix)?;

    let start = Instant::now();
    separate(&args, &demucs, &stats)?;
    let elapsed = start.elapsed().as_secs_f64();
    let seconds = stats.frames() as f64 / f64::from(SAMPLE_RATE);
    println!("{seconds:.1} s of audio in {elapsed:.2} s: {:.2} times real time", seconds / elapsed);
    Ok(())
}

fn separate(args: &Args, demucs: &Demucs, stats: &Stats) -> Result<()> {
    let options = Options {
        overlap: args.overlap,
        segment: args.segment.map(|seconds| (seconds * f64::from(SAMPLE_RATE)) as usize),
        shifts: Shifts::new(args.shifts, args.seed),
        threads: args.threads,
        batch: args.batch,
    };
    let sources = if args.source.is_empty() { demucs.sources() } else { &args.source };
    let mut stream = demucs.stream(stats, sources, &options)?;
    let mut files = Files::create(&args.outdir, sources, stats.frames())?;
    for block in open(&args.mix)? {
        files.write(&stream.push(&block?)?)?;
    }
    files.write(&stream.finish()?)?;
    files.finish()
}

/// Reads the whole song once.
fn stats(mix: &Path) -> Result<Stats> {
    let mut stats = Stats::default();
    for block in open(mix)? {
        stats.push(&block?);
    }
    Ok(stats)
}

fn open(mix: &Path) -> Result<Song> {
    let read = || format!("failed to read {}", mix.display());
    Song::open(File::open(mix).with_context(read)?).with_context(read)
}

/// One WAV file per source.
struct Files(Vec<(PathBuf, WavWriter<BufWriter<File>>)>);

impl Files {
    fn create(folder: &Path, sources: &[String], frames: u64) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let file = |source: &String| {
            let path = folder.join(format!("{source}.wav"));
            let file = BufWriter::new(File::create(&path)?);
            Ok((path, WavWriter::new(file, frames)?))
        };
        Ok(Self(sources.iter().map(file).collect::<Result<_>>()?))
    }

    fn write(&mut self, stems: &Stems) -> Result<()> {
        for ((path, wav), (_, stem)) in self.0.iter_mut().zip(stems.iter()) {
            wav.write(stem).with_context(|| format!("failed to write {}", path.display()))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        for (path, wav) in self.0 {
            wav.finish().with_context(|| format!("failed to write {}", path.display()))?;
            println!("{}", path.display());
        }
        Ok(())
    }
}
