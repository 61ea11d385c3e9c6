//! Small models with random weights against what Demucs 4.1.0 for Python makes of them.
//!
//! `parity/reference.py fixtures` made the files; it can do the same at full size.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use audio::{Shifts, WavReader, Waveform};
use demucs::{Demucs, Device, Options, Stems};
use safetensors::SafeTensors;

/// A tenth of what is promised for models of any size: a wrong detail would hide in more.
const TOLERANCE: f32 = 1e-5;

/// Of what is expected, every eighth frame is kept.
const SPARSE: usize = 8;

/// What the reference drew its shifts with.
const SEED: u64 = 5;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn mix() -> Waveform {
    WavReader::new(File::open(fixture("mix.wav")).unwrap()).unwrap().read_all().unwrap()
}

fn assert_close(stems: &Stems, shifts: usize, expected: &SafeTensors) {
    assert_eq!(stems.iter().count() * 2, expected.len(), "each source, with and without shifts");
    for (source, stem) in stems.iter() {
        let expected = expected.tensor(&format!("{source}, {shifts} shifts")).unwrap();
        let (expected, _) = expected.data().as_chunks::<4>();
        let stem = stem.planes().iter().flat_map(|plane| plane.iter().step_by(SPARSE));
        assert_eq!(stem.clone().count(), expected.len(), "{source}");
        for (actual, expected) in stem.zip(expected) {
            let expected = f32::from_le_bytes(*expected);
            let apart = (actual - expected).abs();
            assert!(apart <= TOLERANCE, "{source}, {shifts} shifts: {actual}, not {expected}");
        }
    }
}

fn assert_parity(name: &str, model: &str) {
    let demucs = Demucs::load(&fixture(name).join(model), Device::Cpu).unwrap();
    let bytes = fs::read(fixture(name).join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    for shifts in [0, 2] {
        let threads = NonZero::new(2);
        let options = Options { shifts: Shifts::new(shifts, SEED), threads, ..Options::default() };
        assert_close(&demucs.separate(&mix(), &options).unwrap(), shifts, &expected);
    }
}

#[test]
fn an_htdemucs_of_complex_spectrograms_gives_what_the_reference_gives() {
    assert_parity("complex", "model.safetensors");
}

#[test]
fn an_htdemucs_of_magnitudes_gives_what_the_reference_gives() {
    assert_parity("magnitude", "model.safetensors");
}

#[test]
fn a_quantized_hdemucs_gives_what_the_reference_gives() {
    assert_parity("hybrid", "model.safetensors");
}

#[test]
fn a_quantized_demucs_of_the_old_form_gives_what_the_reference_gives() {
    assert_parity("time", "model.th");
}

#[test]
fn a_bag_of_all_kinds_gives_what_the_reference_gives() {
    assert_parity("bag", "model.yaml");
}
