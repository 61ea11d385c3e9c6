//! Models from the Hugging Face hub.
//!
//! What is fetched goes into the cache that `huggingface_hub` for Python keeps, in its layout: a
//! model that either has fetched is there for both.
//!
//! - here: a model is a bag's file and the files of its networks, all of one commit;
//! - `fetch`: one file's description, and its bytes, from where they broke off;
//! - `cache`: where they are kept, and when they are taken for good.
//!
//! There are crates for this; the official one brings 280 others along, and these are two
//! requests.

mod cache;
mod error;
mod fetch;
mod settings;

use std::path::PathBuf;

use crate::bag::Bag;
use crate::published::Repository;
use cache::{Cache, Snapshot};
use fetch::{Client, Described};

pub use error::HubError;
pub use settings::HubSettings;

/// A hub, and the cache before it.
#[derive(Debug)]
pub struct Hub {
    client: Client,
    cache: PathBuf,
    offline: bool,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The file.
    pub file: &'a str,
    /// How many bytes of it are there.
    pub bytes: u64,
    /// How many there will be.
    pub of: u64,
}

/// A model that lies in the cache, all of it, and is what the hub said it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its files under their own names: the bag's, then one for each different network.
    pub files: Vec<PathBuf>,
    /// The commit that they are of.
    pub commit: String,
    /// Why the hub was not asked, if it was not: then there may be a newer one.
    pub unasked: Option<String>,
}

impl Hub {
    /// Asks nobody yet.
    pub fn new(settings: HubSettings) -> Result<Self, HubError> {
        let HubSettings { endpoint, token, cache, offline } = settings;
        Ok(Self { client: Client::new(&endpoint, token)?, cache, offline })
    }

    /// Fetches a model by its name, as [`Repository::of`] understands it: what is not in the cache
    /// yet, from where it broke off the last time. `progress` is told while bytes arrive.
    ///
    /// Every file of weights is held against the SHA-256 that the hub gives for it, whether it has
    /// just arrived or was there before. If the hub does not answer, what the cache has is taken.
    pub async fn pull(
        &self,
        name: &str,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Pulled, HubError> {
        let repository = Repository::of(name).ok_or_else(|| HubError::Name(name.to_owned()))?;
        let cache = Cache::new(&self.cache, &repository.id);
        if self.offline {
            let unasked = "HF_HUB_OFFLINE is set".to_owned();
            let cached = cached(&cache, &repository, unasked)?;
            return cached.ok_or_else(|| HubError::NotCached(name.to_owned()));
        }
        match self.pull_commit(&cache, &repository, progress).await {
            Err(error @ HubError::Unreachable { .. }) => {
                cached(&cache, &repository, error.to_string())?.ok_or(error)
            }
            pulled => pulled,
        }
    }

    async fn pull_commit(
        &self,
        cache: &Cache,
        repository: &Repository,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Pulled, HubError> {
        let bag = repository.bag();
        let described = self.client.describe(repository, "main", &bag).await?;
        let commit = described.commit.clone();
        let snapshot = cache.snapshot(&commit);
        let path = self.pull_file(&snapshot, &bag, &described, progress).await?;
        let mut files = vec![path.clone()];
        for net in Bag::read(&path)?.different_nets() {
            let file = format!("{net}.safetensors");
            let described = self.client.describe(repository, &commit, &file).await?;
            files.push(self.pull_file(&snapshot, &file, &described, progress).await?);
        }
        // Last: until then, whoever is offline finds the commit before, which is whole.
        cache.set_main(&commit)?;
        Ok(Pulled { files, commit, unasked: None })
    }

    async fn pull_file(
        &self,
        snapshot: &Snapshot,
        file: &str,
        described: &Described,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<PathBuf, HubError> {
        let blob = snapshot.cache().blob(&described.etag);
        // Others wait here, Python among them, and find it when it is their turn.
        let _lock = blob.lock().await?;
        if !blob.is_good().await? {
            let of = described.size;
            let mut tell = |bytes| progress(Progress { file, bytes, of });
            self.client.fetch(described, blob.partial(), &mut tell).await?;
            blob.accept(file).await?;
        }
        snapshot.link(file, &described.etag)
    }
}

/// The model as the cache has it, if that is all of it.
fn cached(
    cache: &Cache,
    repository: &Repository,
    unasked: String,
) -> Result<Option<Pulled>, HubError> {
    let Some(commit) = cache.main() else { return Ok(None) };
    let snapshot = cache.snapshot(&commit);
    let Some(path) = snapshot.verified(&repository.bag())? else { return Ok(None) };
    let mut files = vec![path.clone()];
    for net in Bag::read(&path)?.different_nets() {
        match snapshot.verified(&format!("{net}.safetensors"))? {
            Some(path) => files.push(path),
            None => return Ok(None),
        }
    }
    Ok(Some(Pulled { files, commit, unasked: Some(unasked) }))
}
