//! What a model file holds, in whichever of its forms: the class of a network, the arguments of
//! its constructor, and its weights.
//!
//! - [`tensor`](Tensor): weights as the bytes of the file, not copied;
//! - `safe`: the form of Demucs 4.1, safetensors;
//! - `torch`, on `pickle`: the form before, a zip of a pickle and of the bytes that it speaks of.
//!   The pickle is read, and nothing in it is run;
//! - `node`: the nested state that both can hold;
//! - `packed`, on `bits`: weights that DiffQ has quantized.

mod bits;
mod node;
mod packed;
mod pickle;
mod safe;
mod tensor;
mod torch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use bytes::Bytes;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{Config, ConfigError};
use node::Node;

pub use packed::Packed;
pub use tensor::{Dtype, Tensor};

/// One network, as its file holds it.
#[derive(Clone, Debug)]
pub struct Package {
    /// The full name of its class, as `demucs.htdemucs.HTDemucs`.
    pub class: String,
    /// What its constructor was called with, by position.
    pub args: Vec<Value>,
    /// The same, by name. Fractions are `{"_type": "fraction", "numerator": …, "denominator": …}`.
    pub kwargs: Map<String, Value>,
    /// Its weights.
    pub state: State,
}

/// The weights of a network.
#[derive(Clone, Debug)]
pub enum State {
    /// By name, as 16-bit or 32-bit floats.
    Named(BTreeMap<String, Tensor>),
    /// Quantized by DiffQ: without names.
    Packed(Packed),
}

/// Why a model file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The system does not give it.
    #[error("failed to read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not a model that Demucs saved, or is damaged.
    #[error("{path} is not a model that can be read: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: Damaged,
    },
    /// It is another file than its name says.
    #[error("the SHA-256 of {path} begins with {found}, its name says {expected}")]
    Checksum {
        /// Which file.
        path: PathBuf,
        /// The hex digits in its name.
        expected: String,
        /// As many of its own.
        found: String,
    },
}

/// What is wrong with what a file holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(String);

impl Damaged {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// What a zip file begins with.
const ZIP: &[u8] = b"PK\x03\x04";

impl Package {
    /// Reads a file of either form, and keeps its bytes in memory once. A checksum in its name, as
    /// in `955717e8-8726e21a.th`, has to be right.
    pub fn read(path: &Path) -> Result<Self, PackageError> {
        let file = fs::read(path)
            .map_err(|source| PackageError::Read { path: path.to_owned(), source })?;
        if let Some(expected) = checksum_in_name(path) {
            let found = hex::encode(Sha256::digest(&file))[..expected.len()].to_owned();
            if found != expected {
                let expected = expected.to_owned();
                return Err(PackageError::Checksum { path: path.to_owned(), expected, found });
            }
        }
        Self::parse(file.into()).map_err(|why| PackageError::Damaged { path: path.to_owned(), why })
    }

    /// Reads the bytes of a file of either form.
    pub fn parse(file: Bytes) -> Result<Self, Damaged> {
        if file.starts_with(ZIP) { torch::read(&file) } else { safe::read(&file) }
    }

    /// How the network is built.
    pub fn config(&self) -> Result<Config, ConfigError> {
        Config::new(&self.class, self.args.clone(), self.kwargs.clone())
    }
}

/// Splits `955717e8-8726e21a` into the network's name and the checksum behind it.
pub(crate) fn split_checksum(stem: &str) -> (&str, Option<&str>) {
    let of_checksum = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    match stem.rsplit_once('-') {
        Some((name, digits))
            if (8..=64).contains(&digits.len()) && digits.chars().all(of_checksum) =>
        {
            (name, Some(digits))
        }
        _ => (stem, None),
    }
}

fn checksum_in_name(path: &Path) -> Option<&str> {
    let is_old = path.extension().is_some_and(|extension| extension == "th");
    let stem = path.file_stem()?.to_str()?;
    if is_old { split_checksum(stem).1 } else { None }
}

/// The state of a network from its nested form.
fn state(node: Node) -> Result<State, Damaged> {
    let mut entries = node.into_dict("the state")?;
    if entries.remove("__quantized").is_some_and(|flag| flag.is_true()) {
        return Packed::new(entries).map(State::Packed);
    }
    let mut named = BTreeMap::new();
    for (name, node) in entries {
        let tensor = node.into_tensor(&name)?;
        if !tensor.dtype.is_float() {
            let dtype = tensor.dtype;
            return Err(Damaged::new(format!("{name} is of type {dtype:?}, not F16, BF16 or F32")));
        }
        named.insert(name, tensor);
    }
    Ok(State::Named(named))
}
