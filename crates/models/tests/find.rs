//! Models in folders, as Demucs for Python finds them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use models::{FindError, Model, Summary};
use tempfile::TempDir;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repository")
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn error(folder: &TempDir, name: Option<&str>) -> String {
    let error = Model::find(folder.path(), name).unwrap_err();
    let folder = format!("{}/", folder.path().display());
    error.to_string().replace(&folder, "").replace(&folder[..folder.len() - 1], "the folder")
}

#[test]
fn a_bag_is_found_by_its_file_its_folder_and_its_name() {
    let path = repository();
    let model = Model::find(&path, None).unwrap();
    let nets = ["0a1b2c3d.safetensors", "4e5f6071.safetensors"].map(|name| path.join(name));
    assert_eq!(model.nets, nets);
    assert_eq!(model.files(), [&path.join("tiny.yaml"), &nets[0], &nets[1]]);
    assert_eq!(model.weights, Some(vec![vec![1.0, 0.0], vec![0.5, 1.0]]));
    assert_eq!(model.segment, Some(2.0));
    assert_eq!(Model::find(&path, Some("tiny")).unwrap(), model);
    assert_eq!(Model::find(&path.join("tiny.yaml"), None).unwrap(), model);

    let one = Model::find(&path, Some("4e5f6071")).unwrap();
    let nets = vec![nets[1].clone()];
    assert_eq!(one, Model { bag: None, nets: nets.clone(), weights: None, segment: None });
    assert_eq!(one.files(), [&nets[0]]);
    assert_eq!(Model::find(&nets[0], None).unwrap(), one);
}

#[test]
fn a_network_may_be_in_a_bag_twice() {
    let bag = "models: [aa, aa, bb, bb]\n";
    let folder = folder(&[("twice.yaml", bag), ("aa-01234567.th", ""), ("bb.th", "")]);
    let model = Model::find(folder.path(), None).unwrap();
    assert_eq!(model.nets.len(), 4);
    assert_eq!(model.different_nets().len(), 2);
    assert_eq!(model.nets[1], folder.path().join("aa-01234567.th"));
}

#[test]
fn what_is_missing_or_too_much_is_named() {
    let none = folder(&[("notes.txt", "")]);
    assert_eq!(error(&none, None), "the folder has no model; it has none");

    let two = folder(&[("a.th", ""), ("b.safetensors", "")]);
    assert_eq!(error(&two, None), "the folder has several models, and none was named; it has a, b");
    assert_eq!(error(&two, Some("c")), "the folder has no model c; it has a, b");

    let twice = folder(&[("a.th", ""), ("a-01234567.th", "")]);
    assert!(error(&twice, Some("a")).ends_with("are the same network: delete one of them"));

    let bag = folder(&[("bag.yaml", "models: [a, b]"), ("a.th", "")]);
    assert!(error(&bag, None).starts_with("bag.yaml asks for b, and there is no b.safetensors"));

    let weights = folder(&[("bag.yaml", "models: [a]\nweights: [[1], [1]]"), ("a.th", "")]);
    let told = error(&weights, None);
    assert_eq!(told, "bag.yaml is not a bag of models: `weights` has 2 rows for 1 networks");

    let other = folder(&[("song.mp3", "")]);
    let path = other.path().join("song.mp3");
    assert!(matches!(Model::find(&path, None), Err(FindError::Kind(_))));
    let path = other.path().join("nowhere");
    assert!(matches!(Model::find(&path, None), Err(FindError::Read { .. })));
}

#[test]
fn a_summary_is_of_all_networks() {
    let model = Model::find(&repository(), None).unwrap();
    let expected = Summary {
        sources: vec!["drums".to_owned(), "vocals".to_owned()],
        segment_frames: 88_200,
        // Those of the network over the waveform; the other one looks at its segment alone.
        reach_frames: [17, 18],
    };
    assert_eq!(model.summary().unwrap(), expected);

    let weights = Some(vec![vec![1.0; 3]; 2]);
    let error = Model { weights, ..model.clone() }.summary().unwrap_err().to_string();
    assert!(error.contains("0a1b2c3d.safetensors does not fit into its bag"), "{error}");
    assert!(error.ends_with("the bag has weights for 3 sources, it has 2"), "{error}");
    // A segment of its own is what each network has without the bag's.
    assert_eq!(Model { segment: None, ..model }.summary().unwrap().segment_frames, 40 * 44_100);
}
