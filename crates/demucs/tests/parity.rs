//! Small models with random weights against what Demucs 4.1.0 for Python makes of them.
//!
//! `parity/reference.py make fixtures` made the files; it can do the same at full size.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::fs::File;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use audio::{WavReader, Waveform};
use demucs::{Demucs, Device, Options};

/// A tenth of what is promised for models of any size: a wrong detail would hide in more.
const TOLERANCE: f32 = 1e-5;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn wav(path: &Path) -> Waveform {
    WavReader::new(File::open(path).unwrap()).unwrap().read_all().unwrap()
}

fn assert_close(actual: &Waveform, expected: &Waveform, what: &str) {
    assert_eq!(actual.frames(), expected.frames(), "{what}");
    let planes = actual.planes().iter().zip(expected.planes());
    for (actual, expected) in planes.flat_map(|(actual, expected)| actual.iter().zip(expected)) {
        assert!((actual - expected).abs() <= TOLERANCE, "{what}: {actual}, not {expected}");
    }
}

fn assert_parity(name: &str, sources: &[&str]) {
    // Tests run beside each other.
    demucs::set_threads(NonZero::<u16>::MIN);
    let folder = fixture(name);
    let demucs = Demucs::load(&folder.join("model.safetensors"), Device::Cpu).unwrap();
    assert_eq!(demucs.sources(), sources);
    let mix = wav(&folder.join("mix.wav"));
    let stems = demucs.separate(&mix, &Options::default()).unwrap();
    assert_eq!(stems.iter().map(|(name, _)| name).collect::<Vec<_>>(), sources);
    for (source, stem) in stems.iter() {
        let expected = wav(&folder.join("expected").join(format!("{source}.wav")));
        assert_close(stem, &expected, &format!("{name}, {source}"));
    }
}

#[test]
fn a_model_of_complex_spectrograms_gives_what_the_reference_gives() {
    assert_parity("complex", &["drums", "bass", "other"]);
}

#[test]
fn a_model_of_magnitudes_gives_what_the_reference_gives() {
    assert_parity("magnitude", &["drums", "vocals"]);
}
