use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use models::{ConfigError, FindError, Misfit, PackageError};
use tch::TchError;

use crate::DeviceError;

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such model.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A file of it cannot be read, or is damaged.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A network is of a class, or has options, that are not implemented.
    #[error("{path}: {source}")]
    Config {
        /// Its file.
        path: PathBuf,
        /// What is not.
        source: ConfigError,
    },
    /// The networks of a bag do not go together.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// The file's tensors are not those that its options ask for.
    #[error("the weights in {path} do not fit the network: {mismatch}")]
    Weights {
        /// The network's file.
        path: PathBuf,
        /// Which are not.
        mismatch: Mismatch,
    },
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl LoadError {
    pub(crate) fn config(path: &Path) -> impl FnOnce(ConfigError) -> Self {
        move |source| Self::Config { path: path.to_owned(), source }
    }

    pub(crate) fn weights(path: &Path) -> impl FnOnce(Mismatch) -> Self {
        move |mismatch| Self::Weights { path: path.to_owned(), mismatch }
    }
}

/// How the tensors of a file differ from those of the model, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Asked for, and not in the file.
    pub missing: Vec<String>,
    /// In the file, and not asked for.
    pub surplus: Vec<String>,
    /// With the shape in the file and the one asked for.
    pub misshapen: Vec<String>,
}

impl Mismatch {
    pub(crate) fn is_none(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty() && self.misshapen.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kinds = [
            ("missing", &self.missing),
            ("surplus", &self.surplus),
            ("of another shape", &self.misshapen),
        ];
        let told = kinds.iter().filter(|(_, names)| !names.is_empty());
        let told: Vec<String> =
            told.map(|(kind, names)| format!("{kind}: {}", list(names))).collect();
        f.write_str(&told.join("; "))
    }
}

/// `a, b, c`.
pub(crate) fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why a mix cannot be separated.
#[derive(Debug, thiserror::Error)]
pub enum SeparateError {
    /// The caller said so.
    #[error("cancelled")]
    Cancelled,
    /// The model has no such source.
    #[error("the model has no source {name:?}, it has {}", list(.sources))]
    Source {
        /// The source that was wanted.
        name: String,
        /// Those that there are.
        sources: Vec<String>,
    },
    /// The model cannot take segments that long.
    #[error("segments are of {actual} frames, the model takes {longest} at most")]
    Segment {
        /// What the model takes.
        longest: usize,
        /// What was asked for.
        actual: usize,
    },
    /// A stream ended elsewhere than was said when it began.
    #[error("the song has {actual} frames, {expected} were announced")]
    Length {
        /// What was said.
        expected: usize,
        /// What came.
        actual: usize,
    },
    /// There is no such shard, or it is not the audio that belongs to it.
    #[error("shard {index} holds frames {actual:?} of the song, not {expected:?}")]
    Shard {
        /// Which shard, from 0.
        index: usize,
        /// The frames that it should hold.
        expected: Range<usize>,
        /// The frames that it holds.
        actual: Range<usize>,
    },
    /// The overlap cannot be had.
    #[error(transparent)]
    Grid(#[from] audio::GridError),
    /// libtorch failed, most likely for want of memory.
    #[error(transparent)]
    Torch(#[from] TchError),
}
