//! `models/models.toml` tells those who do not link libtorch what the model files say themselves.

use std::fs;
use std::path::Path;

use demucs::{Demucs, Device};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    model: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    file: String,
    sha256: String,
    sources: Vec<String>,
    segment_frames: usize,
    licence: String,
    about: String,
}

#[test]
fn the_catalogue_says_what_the_files_say() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let text = fs::read_to_string(models.join("models.toml")).unwrap();
    let catalogue: Catalogue = toml::from_str(&text).unwrap();
    for entry in &catalogue.model {
        let path = models.join(&entry.file);
        assert_eq!(hex::encode(Sha256::digest(fs::read(&path).unwrap())), entry.sha256);
        let demucs = Demucs::load(&path, Device::Cpu).unwrap();
        assert_eq!(demucs.sources(), entry.sources, "{}", entry.name);
        assert_eq!(demucs.segment_frames(), entry.segment_frames, "{}", entry.name);
        assert!(!entry.licence.is_empty() && !entry.about.is_empty());
    }
    assert!(catalogue.model.iter().any(|entry| entry.name == "mini"));
}
