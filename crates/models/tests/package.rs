//! Files that Demucs for Python has written; `fixtures/make.py` is the script.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use models::package::{Dtype, Packed, Tensor};
use models::{Package, PackageError, State};
use safetensors::SafeTensors;
use serde_json::json;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn read(name: &str) -> Package {
    Package::read(&fixture(name)).unwrap()
}

fn named(package: Package) -> BTreeMap<String, Tensor> {
    match package.state {
        State::Named(tensors) => tensors,
        State::Packed(_) => panic!("the state is packed"),
    }
}

fn packed(package: Package) -> Packed {
    match package.state {
        State::Packed(packed) => packed,
        State::Named(_) => panic!("the state is not packed"),
    }
}

#[test]
fn the_old_form_holds_what_the_new_one_holds() {
    let (new, old) = (read("named.safetensors"), read("named-2ae870b5.th"));
    assert_eq!(new.class, "demucs.demucs.Demucs");
    assert_eq!((&new.class, &new.args, &new.kwargs), (&old.class, &old.args, &old.kwargs));
    assert_eq!(new.config().unwrap().sources(), ["drums", "vocals"]);
    let (new, old) = (named(new), named(old));
    assert!(new.len() > 40);
    assert_eq!(new, old);
    assert!(new.values().all(|tensor| tensor.dtype == Dtype::F16));
}

#[test]
fn tensors_may_share_a_storage_and_lie_in_it_as_they_like() {
    let expected = read("views.safetensors");
    let fraction = json!({ "_type": "fraction", "numerator": 39, "denominator": 5 });
    assert_eq!(expected.kwargs["segment"], fraction);
    for name in ["views.th", "deflated.th"] {
        let found = read(name);
        assert_eq!(found.kwargs, expected.kwargs, "{name}");
        assert_eq!(named(found), named(expected.clone()), "{name}");
    }
}

#[test]
fn quantized_weights_are_what_diffq_makes_of_them() {
    for (name, unpacked) in [
        ("packed.th", "unpacked.safetensors"),
        ("packed.safetensors", "unpacked.safetensors"),
        ("half.th", "unhalved.safetensors"),
    ] {
        let file = fs::read(fixture(unpacked)).unwrap();
        let expected = SafeTensors::deserialize(&file).unwrap();
        let expected: BTreeMap<_, _> = expected.iter().collect();
        let mut packed = packed(read(name));
        assert_eq!(packed.left(), expected.len(), "{name}");
        for (parameter, view) in expected {
            let found = packed.take(view.shape()).unwrap();
            assert_eq!(found.shape, view.shape());
            assert_eq!(f32s(&found), f32s_of(view.data()), "{name}: {parameter}");
        }
        assert_eq!(packed.left(), 0);
        assert!(packed.take(&[1]).is_err());
    }
}

fn f32s(tensor: &Tensor) -> Vec<f32> {
    match tensor.dtype {
        Dtype::F32 => f32s_of(&tensor.data),
        Dtype::F16 => {
            let (pairs, _) = tensor.data.as_chunks();
            pairs.iter().map(|pair| half::f16::from_le_bytes(*pair).to_f32()).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn f32s_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

#[test]
fn parameters_are_taken_in_their_order() {
    let mut packed = packed(read("packed.th"));
    let error = packed.take(&[3, 5]).unwrap_err().to_string();
    assert!(error.ends_with("is where [3, 5] is due"), "{error}");
    // So large ones are quantized, in groups of 8.
    let error = packed.take(&[1, 1001]).unwrap_err().to_string();
    assert!(error.contains("no groups of 8"), "{error}");
}

#[test]
fn what_a_pickle_asks_for_is_not_done() {
    let error = Package::read(&fixture("hostile.th")).unwrap_err().to_string();
    let system = ["posix.system", "nt.system"].iter().any(|name| error.contains(name));
    assert!(system && error.contains("which no model needs"), "{error}");
    assert!(!Path::new("hostile-was-here").exists());
}

#[test]
fn a_checksum_in_the_name_is_held_against_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("named-00000000.th");
    fs::copy(fixture("named-2ae870b5.th"), &path).unwrap();
    match Package::read(&path).unwrap_err() {
        PackageError::Checksum { expected, found, .. } => {
            assert_eq!((expected.as_str(), found.as_str()), ("00000000", "2ae870b5"));
        }
        other => panic!("{other}"),
    }
    // What is no checksum is a name.
    let path = folder.path().join("my-model.th");
    fs::copy(fixture("named-2ae870b5.th"), &path).unwrap();
    assert!(Package::read(&path).is_ok());
}

#[test]
fn whatever_is_damaged_is_an_error_and_never_a_panic() {
    for name in ["views.th", "deflated.th", "views.safetensors", "half.th"] {
        let whole = fs::read(fixture(name)).unwrap();
        let step = whole.len().div_ceil(3000);
        for at in (0..whole.len()).step_by(step) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0xff;
            if let Ok(Package { state: State::Packed(mut packed), .. }) =
                Package::parse(flipped.into())
            {
                while packed.left() > 0 && packed.take(&[16, 8, 8]).is_ok() {}
            }
            let cut = Package::parse(whole[..at].to_vec().into());
            assert!(cut.is_err(), "{name}: {at} bytes");
        }
    }
    let error = Package::parse((&b"Rar!"[..]).into()).unwrap_err().to_string();
    assert!(error.contains("neither safetensors"), "{error}");
}
