//! Model files that are whole, damaged, or of another kind.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use demucs::{Demucs, Device, DeviceError, LoadError};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/complex/model.safetensors")
}

/// Loads the fixture after `change` was made to its tensors and its metadata.
fn load_changed(
    change: impl FnOnce(&mut HashMap<String, TensorView>, &mut HashMap<String, String>),
) -> LoadError {
    let bytes = fs::read(fixture()).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut tensors: HashMap<String, TensorView> = file.tensors().into_iter().collect();
    let mut metadata = header.metadata().clone().unwrap();
    change(&mut tensors, &mut metadata);
    load(&safetensors::serialize(tensors, Some(metadata)).unwrap())
}

fn load(bytes: &[u8]) -> LoadError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    Demucs::load(&path, Device::Cpu).unwrap_err()
}

#[test]
fn missing_surplus_and_misshapen_tensors_are_all_named() {
    let error = load_changed(|tensors, _| {
        let bias = tensors.remove("encoder.0.conv.bias").unwrap();
        tensors.insert("encoder.0.conv.bios".to_owned(), bias);
        let weight = tensors["tdecoder.1.rewrite.bias"].clone();
        tensors.insert("decoder.2.conv_tr.bias".to_owned(), weight);
    });
    let LoadError::Weights { mismatch, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(mismatch.missing, ["encoder.0.conv.bias"]);
    assert_eq!(mismatch.surplus, ["encoder.0.conv.bios"]);
    assert_eq!(mismatch.misshapen, ["decoder.2.conv_tr.bias [32], not [12]"]);
    assert!(
        error.to_string().ends_with(
            "model.safetensors do not fit the network: missing: encoder.0.conv.bias; \
             surplus: encoder.0.conv.bios; \
             of another shape: decoder.2.conv_tr.bias [32], not [12]"
        ),
        "{error}"
    );
}

#[test]
fn another_option_is_refused_by_name() {
    let error = load_changed(|_, metadata| {
        let kwargs = metadata.get_mut("kwargs").unwrap();
        *kwargs = kwargs.replacen('{', "{\"t_emb\": \"cape\", \"t_cosine\": 3, ", 1);
    });
    assert!(
        error.to_string().ends_with(
            "this model cannot be built: t_emb = \"cape\" (only \"sin\" is implemented), \
         t_cosine = 3 (no such option is known)"
        ),
        "{error}"
    );
}

#[test]
fn another_architecture_is_refused_by_name() {
    let error = load_changed(|_, metadata| {
        metadata.insert("klass".to_owned(), "demucs.wdemucs.WDemucs".to_owned());
    });
    assert!(error.to_string().contains("demucs.wdemucs.WDemucs is not implemented"), "{error}");
}

#[test]
fn a_damaged_file_is_an_error() {
    let bytes = fs::read(fixture()).unwrap();
    for damaged in [&bytes[..0], &bytes[..100], &bytes[..bytes.len() - 1], b"<html>no</html>"] {
        assert!(matches!(load(damaged), LoadError::Package(_)));
    }
    let error = load_changed(|_, metadata| metadata.clear());
    assert!(matches!(error, LoadError::Package(_)), "{error}");
    let absent = Demucs::load(Path::new("/no/such/model"), Device::Cpu).unwrap_err();
    assert!(matches!(absent, LoadError::Find(_)));
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let error = Demucs::load(&fixture(), Device::Cuda(99)).unwrap_err();
    assert!(matches!(
        error,
        LoadError::Device(DeviceError::NoCuda { .. } | DeviceError::NoSuchCuda { .. })
    ));
}
