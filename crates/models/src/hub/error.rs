use std::io;
use std::path::{Path, PathBuf};

use crate::bag::BagError;
use crate::published::PUBLISHED;

/// Why a model cannot be had from the hub, split by what can be done.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// No model can have this name.
    #[error("{0:?} is not the name of a model: it is like `htdemucs`, or `someuser/htdemucs`")]
    Name(String),
    /// The hub does not have it.
    #[error(
        "the hub shows no {file} in {repository}; published are {}. For one that is not public, \
         set HF_TOKEN",
        names()
    )]
    Unknown {
        /// Where it was looked for.
        repository: String,
        /// What was looked for.
        file: String,
    },
    /// The hub wants to know who asks.
    #[error("the hub does not give {0} to everyone: accept its terms there, and set HF_TOKEN")]
    Denied(String),
    /// There is no answer, or not a whole one. Asking again may help; what has come is kept.
    #[error("{url} does not answer: {why}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// The answer is not one of a hub.
    #[error("{url} does not answer as a hub does: {why}")]
    Strange {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// What has come, or was there, is not what the hub says it is.
    #[error("{file} has SHA-256 {found}, the hub says {expected}: it was not taken. Pull it again")]
    Digest {
        /// Which file.
        file: String,
        /// What the hub says.
        expected: String,
        /// What it has.
        found: String,
    },
    /// Nobody was asked, and it is not there.
    #[error("{0} is not in the cache, and HF_HUB_OFFLINE keeps from asking the hub: unset it")]
    NotCached(String),
    /// The cache cannot be read or written.
    #[error("failed to use the cache at {path}: {source}")]
    Cache {
        /// Which part of it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The bag's file is wrong.
    #[error(transparent)]
    Bag(#[from] BagError),
}

impl HubError {
    pub(super) fn cache(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Cache { path: path.to_owned(), source }
    }
}

fn names() -> String {
    PUBLISHED.map(|model| model.name).join(", ")
}
