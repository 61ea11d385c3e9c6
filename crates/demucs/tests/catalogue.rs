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
    files: Vec<File>,
    sources: Vec<String>,
    segment_frames: usize,
    reach_frames: [usize; 2],
    licence: String,
    about: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    file: String,
    sha256: String,
}

#[test]
fn the_catalogue_says_what_the_files_say() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let text = fs::read_to_string(models.join("models.toml")).unwrap();
    let catalogue: Catalogue = toml::from_str(&text).unwrap();
    for entry in &catalogue.model {
        let [File { file, sha256 }] = &entry.files[..] else { panic!("it is of one file") };
        let path = models.join(file);
        assert_eq!(hex::encode(Sha256::digest(fs::read(&path).unwrap())), *sha256);
        let demucs = Demucs::load(&path, Device::Cpu).unwrap();
        assert_eq!(demucs.sources(), entry.sources, "{}", entry.name);
        assert_eq!(demucs.segment_frames(), entry.segment_frames, "{}", entry.name);
        let summary = models::Model::find(&path, None).unwrap().summary().unwrap();
        assert_eq!(summary.reach_frames, entry.reach_frames, "{}", entry.name);
        assert!(!entry.licence.is_empty() && !entry.about.is_empty());
    }
    assert!(catalogue.model.iter().any(|entry| entry.name == "mini"));
}
