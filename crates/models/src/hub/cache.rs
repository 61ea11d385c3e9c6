//! The cache of `huggingface_hub` for Python: for each repository a folder of blobs, each called by
//! the hub's tag for it; of snapshots, a folder for each commit, whose files are links to blobs;
//! and of refs, which name the commit that a branch was at.
//!
//! The tag of a file of weights is its SHA-256. Nothing is called by it that does not have it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::HubError;

/// The cached files of one repository.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub(super) fn new(root: &Path, repository: &str) -> Self {
        let name = format!("models--{}", repository.replace('/', "--"));
        Self { locks: root.join(".locks").join(&name), folder: root.join(name) }
    }

    /// The commit that the branch `main` was at, when it was fetched the last time.
    pub(super) fn main(&self) -> Option<String> {
        let commit = fs::read_to_string(self.folder.join("refs/main")).ok()?;
        Some(commit.trim().to_owned())
    }

    pub(super) fn set_main(&self, commit: &str) -> Result<(), HubError> {
        let refs = self.folder.join("refs");
        make(&refs)?;
        let main = refs.join("main");
        fs::write(&main, commit).map_err(HubError::cache(&main))
    }

    pub(super) fn snapshot(&self, commit: &str) -> Snapshot {
        Snapshot { folder: self.folder.join("snapshots").join(commit), cache: self.clone() }
    }

    pub(super) fn blob(&self, etag: &str) -> Blob {
        let blobs = self.folder.join("blobs");
        Blob {
            sha256: is_sha256(etag).then(|| etag.to_owned()),
            path: blobs.join(etag),
            partial: blobs.join(format!("{etag}.incomplete")),
            lock: self.locks.join(format!("{etag}.lock")),
        }
    }
}

/// The files of one commit.
#[derive(Debug)]
pub(super) struct Snapshot {
    folder: PathBuf,
    cache: Cache,
}

impl Snapshot {
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Calls a blob by the name of a file.
    pub(super) fn link(&self, file: &str, etag: &str) -> Result<PathBuf, HubError> {
        let (path, target) = (self.folder.join(file), Path::new("../../blobs").join(etag));
        if fs::read_link(&path).is_ok_and(|present| present == target) {
            return Ok(path);
        }
        make(&self.folder)?;
        let new = self.folder.join(format!(".{file}.{}", std::process::id()));
        let linked = symlink(&target, &new).and_then(|()| fs::rename(&new, &path));
        linked.map_err(HubError::cache(&path))?;
        Ok(path)
    }

    /// The path of a file, if it is there; an error if it is not what its blob is called by.
    pub(super) fn verified(&self, file: &str) -> Result<Option<PathBuf>, HubError> {
        let path = self.folder.join(file);
        let Ok(blob) = path.canonicalize() else { return Ok(None) };
        let etag = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_sha256(etag) {
            let found = sha256(&blob)?;
            if found != etag {
                let (file, expected) = (file.to_owned(), etag.to_owned());
                return Err(HubError::Digest { file, expected, found });
            }
        }
        Ok(Some(path))
    }
}

/// The bytes of a file, or the place for them.
#[derive(Debug)]
pub(super) struct Blob {
    /// Its digest; the tag of a file that is not of weights is none.
    sha256: Option<String>,
    path: PathBuf,
    partial: PathBuf,
    lock: PathBuf,
}

impl Blob {
    /// Where bytes are put that are not all yet.
    pub(super) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Keeps all others from this blob, until what is returned is dropped.
    pub(super) async fn lock(&self) -> Result<File, HubError> {
        let path = self.lock.clone();
        for folder in [&self.lock, &self.path] {
            make(folder.parent().unwrap_or(Path::new(".")))?;
        }
        let locked = spawn_blocking(move || {
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        });
        joined(locked.await).and_then(|locked| locked).map_err(HubError::cache(&self.lock))
    }

    /// Whether it is there, and is what it is called by. If it is not, it goes.
    pub(super) async fn is_good(&self) -> Result<bool, HubError> {
        if !self.path.exists() {
            return Ok(false);
        }
        let Some(expected) = &self.sha256 else { return Ok(true) };
        if self.digest(&self.path).await? == *expected {
            return Ok(true);
        }
        fs::remove_file(&self.path).map_err(HubError::cache(&self.path))?;
        Ok(false)
    }

    /// Gives the bytes their name, if they are those that it stands for. If not, they go.
    pub(super) async fn accept(&self, file: &str) -> Result<(), HubError> {
        if let Some(expected) = &self.sha256 {
            let found = self.digest(&self.partial).await?;
            if found != *expected {
                fs::remove_file(&self.partial).map_err(HubError::cache(&self.partial))?;
                let (file, expected) = (file.to_owned(), expected.clone());
                return Err(HubError::Digest { file, expected, found });
            }
        }
        fs::rename(&self.partial, &self.path).map_err(HubError::cache(&self.path))
    }

    async fn digest(&self, path: &Path) -> Result<String, HubError> {
        let path = path.to_owned();
        let digest = spawn_blocking(move || sha256(&path)).await;
        joined(digest).map_err(HubError::cache(&self.path))?
    }
}

/// Whether a tag of the hub is a digest.
pub(super) fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn sha256(path: &Path) -> Result<String, HubError> {
    let mut sha256 = Sha256::new();
    let hashed = File::open(path).and_then(|mut file| io::copy(&mut file, &mut sha256));
    hashed.map_err(HubError::cache(path))?;
    Ok(hex::encode(sha256.finalize()))
}

fn make(folder: &Path) -> Result<(), HubError> {
    fs::create_dir_all(folder).map_err(HubError::cache(folder))
}

/// A thread of ours that panicked, as an error of the system.
fn joined<T>(result: Result<T, tokio::task::JoinError>) -> io::Result<T> {
    result.map_err(io::Error::other)
}
