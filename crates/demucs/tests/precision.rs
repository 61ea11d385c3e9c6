//! What is lost by computing in numbers of 16 bits.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::fs::File;
use std::path::{Path, PathBuf};

use audio::{WavReader, Waveform};
use demucs::{Demucs, Device, Options, Precision, Stems};
use models::Model;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn mix() -> Waveform {
    WavReader::new(File::open(fixture("mix.wav")).unwrap()).unwrap().read_all().unwrap()
}

fn separate(model: &str, precision: Precision) -> Stems {
    let model = Model::find(&fixture(model), Some("model")).unwrap();
    let demucs = Demucs::load_model(&model, Device::Cpu, precision).unwrap();
    demucs.separate(&mix(), &Options::default()).unwrap()
}

/// How much louder, in dB, the stems are than what they differ by.
fn snr(stems: &Stems, exact: &Stems) -> f64 {
    let power = |stems: &Stems, other: Option<&Stems>| -> f64 {
        let planes = stems.iter().flat_map(|(name, stem)| {
            let other = other.map(|other| other.get(name).unwrap());
            (0..2).map(move |plane| (&stem.planes()[plane], other.map(|it| &it.planes()[plane])))
        });
        let square = |(plane, other): (&Vec<f32>, Option<&Vec<f32>>)| -> f64 {
            let apart = |at: usize| plane[at] - other.map_or(0.0, |other| other[at]);
            (0..plane.len()).map(|at| f64::from(apart(at)).powi(2)).sum()
        };
        planes.map(square).sum()
    };
    10.0 * (power(exact, None) / power(stems, Some(exact))).log10()
}

#[test]
fn half_precision_is_close_for_each_architecture() {
    for model in ["complex", "hybrid", "time"] {
        let exact = separate(model, Precision::Single);
        let half = snr(&separate(model, Precision::Half), &exact);
        let brain = snr(&separate(model, Precision::Brain), &exact);
        println!("{model}: f16 {half:.1} dB, bf16 {brain:.1} dB");
        assert!(half > 45.0, "{model}: {half} dB");
        assert!(brain > 25.0, "{model}: {brain} dB");
    }
}

#[test]
fn precisions_are_read_as_they_are_written() {
    for precision in [Precision::Single, Precision::Half, Precision::Brain] {
        assert_eq!(precision.to_string().parse(), Ok(precision));
    }
    assert!("double".parse::<Precision>().is_err());
}
