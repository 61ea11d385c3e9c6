//! The stems: fetched under another name, and given their own once they are whole.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use separation::{Manifest, ManifestStem};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use workflow::{JobId, ObjectRef};

use crate::api::Gateway;

/// A stem on this machine.
#[derive(Debug, Serialize)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// Fetches all stems that are there into `folder`.
pub(super) async fn stems(
    gateway: &Gateway,
    manifest: &Manifest,
    job: &JobId,
    folder: &Path,
) -> anyhow::Result<Vec<File>> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    let mut files = Vec::new();
    for stem in manifest.stems.iter().filter(|stem| !stem.removed) {
        let fetched = fetch(gateway, job, stem, folder).await;
        files.push(fetched.with_context(|| format!("failed to fetch {}", stem.file))?);
    }
    Ok(files)
}

async fn fetch(
    gateway: &Gateway,
    job: &JobId,
    stem: &ManifestStem,
    folder: &Path,
) -> anyhow::Result<File> {
    let path = folder.join(plain_name(&stem.file)?);
    let mut response = gateway.track(job, &stem.file).await?;
    let mut arriving = Arriving::new(folder)?;
    while let Some(chunk) = response.chunk().await.map_err(|error| gateway.unreachable(&error))? {
        arriving.write(&chunk)?;
    }
    arriving.keep_as(&path, &stem.object)?;
    Ok(File { path, bytes: stem.object.size })
}

/// The name comes from the other side: it must not lead out of the folder.
fn plain_name(file: &str) -> anyhow::Result<&str> {
    if Path::new(file).file_name().is_none_or(|name| name != file) {
        bail!("`{file}` is not the name of a file");
    }
    Ok(file)
}

/// A file that is not whole yet; gone if it never is.
struct Arriving {
    file: NamedTempFile,
    sha256: Sha256,
    bytes: u64,
}

impl Arriving {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(".arriving-")
            // As any other file: the default keeps others from reading it.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .with_context(|| format!("failed to write in {}", folder.display()))?;
        Ok(Self { file, sha256: Sha256::new(), bytes: 0 })
    }

    fn write(&mut self, chunk: &[u8]) -> anyhow::Result<()> {
        self.sha256.update(chunk);
        self.bytes += chunk.len() as u64;
        self.file.write_all(chunk).context("failed to write")
    }

    /// Gives it its name, if it is what was stored.
    fn keep_as(self, path: &Path, expected: &ObjectRef) -> anyhow::Result<()> {
        if self.bytes != expected.size {
            bail!("{} bytes came of {}: try again", self.bytes, expected.size);
        }
        let digest = format!("SHA-256={}", BASE64_URL_SAFE.encode(self.sha256.finalize()));
        if digest != expected.digest {
            bail!("it arrived damaged, with {digest} instead of {}: try again", expected.digest);
        }
        let kept = self.file.persist(path);
        kept.with_context(|| format!("failed to write {}", path.display()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use workflow::Bucket;

    use super::*;

    fn arrived(folder: &Path, bytes: &[u8]) -> Arriving {
        let mut arriving = Arriving::new(folder).unwrap();
        bytes.chunks(2).for_each(|chunk| arriving.write(chunk).unwrap());
        arriving
    }

    fn stored() -> ObjectRef {
        ObjectRef {
            bucket: Bucket::Output,
            name: "x/vocals.mp3".into(),
            nuid: "n".into(),
            size: 5,
            chunks: 1,
            digest: "SHA-256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=".into(),
        }
    }

    #[test]
    fn only_a_whole_file_gets_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocals.mp3");
        for (bytes, complaint) in [(&b"hell"[..], "4 bytes came of 5"), (b"jello", "damaged")] {
            let error = arrived(folder.path(), bytes).keep_as(&path, &stored()).unwrap_err();
            assert!(error.to_string().contains(complaint), "{error}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        arrived(folder.path(), b"hello").keep_as(&path, &stored()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_stays_in_its_folder() {
        assert!(plain_name("vocals.mp3").is_ok());
        for name in ["", "..", "../vocals.mp3", "/etc/passwd", "a/b.mp3"] {
            assert!(plain_name(name).is_err(), "{name}");
        }
    }
}
