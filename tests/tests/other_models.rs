//! A model that is not built in, taken through the whole service: what comes out is what Demucs for
//! Python makes of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use audio::{WavReader, Waveform};
use safetensors::SafeTensors;
use tests::{Stack, binary, tree};

/// As at the model itself: `crates/demucs/tests/parity.rs`.
const TOLERANCE: f32 = 1e-5;
const SPARSE: usize = 8;

fn fixture(name: &str) -> PathBuf {
    tree().join("crates/demucs/tests/fixtures").join(name)
}

/// A folder of models with `mini`, and a bag of three networks of two architectures, pulled.
fn pull(models: &Path) {
    for file in ["models.toml", "mini.safetensors"] {
        fs::copy(tree().join("models").join(file), models.join(file)).unwrap();
    }
    let pull = Command::new(binary("stemflow"))
        .args(["models", "pull", "model", "--from"])
        .arg(fixture("bag"))
        .arg("--models")
        .arg(models)
        .output()
        .unwrap();
    assert!(pull.status.success(), "{}", String::from_utf8_lossy(&pull.stderr));
}

fn wav(file: Vec<u8>) -> Waveform {
    WavReader::new(Cursor::new(file)).unwrap().read_all().unwrap()
}

fn assert_close(stem: &Waveform, expected: &[u8], source: &str) {
    let (expected, _) = expected.as_chunks::<4>();
    let samples = stem.planes().iter().flat_map(|plane| plane.iter().step_by(SPARSE));
    assert_eq!(samples.clone().count(), expected.len(), "{source}");
    for (actual, expected) in samples.zip(expected) {
        let expected = f32::from_le_bytes(*expected);
        assert!((actual - expected).abs() <= TOLERANCE, "{source}: {actual}, not {expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_bag_gives_through_the_service_what_the_reference_gives() {
    let models = tempfile::tempdir().unwrap();
    pull(models.path());
    let stack = Stack::with_env(&[("STEMFLOW_MODELS", models.path().to_str().unwrap())]);
    let mix = fs::read(fixture("mix.wav")).unwrap();
    let hash = stack.submit(mix.clone(), "model=model&format=wav").await;
    let status = stack.wait_for(&hash).await;
    assert_eq!(status["state"], "done", "{status:#}");

    let bytes = fs::read(fixture("bag/expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    for source in ["drums", "bass"] {
        let stem = wav(stack.track(&hash, source).await);
        assert_close(
            &stem,
            expected.tensor(&format!("{source}, 0 shifts")).unwrap().data(),
            source,
        );
    }

    // One of its stems, shifted twice, is another job; the model in use changes and comes back.
    let shifted = stack.submit(mix.clone(), "model=model&stems=bass&shifts=2&format=wav").await;
    let mini = stack.submit(mix, "model=mini&format=wav").await;
    assert_ne!(shifted, hash);
    for job in [&shifted, &mini] {
        let status = stack.wait_for(job).await;
        assert_eq!(status["state"], "done", "{status:#}");
    }
    let stem = wav(stack.track(&shifted, "bass").await);
    assert_eq!(stem.frames(), wav(stack.track(&mini, "bass").await).frames());
    assert!(stem != wav(stack.track(&hash, "bass").await));
}
