//! A model's folder: made under another name, and given its own once it is whole.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use models::Model;
use separation::{ModelEntry, ModelFile};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// What a catalogue says of a model beside what its files say.
pub(super) struct Card {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) licence: String,
}

/// Puts the files of a model into a folder of its own in `models`; one that is there goes.
pub(super) fn install(models: &Path, card: Card, files: &[PathBuf]) -> anyhow::Result<ModelEntry> {
    let new = hidden_folder(models)?;
    let mut listed = Vec::new();
    for file in files {
        listed.push(put(file, new.path())?);
    }
    let summary = Model::find(new.path(), None)?.summary().context("this model is of no use")?;
    let Card { name, about, licence } = card;
    let entry = ModelEntry {
        name,
        sources: summary.sources,
        segment_frames: summary.segment_frames,
        reach_frames: summary.reach_frames,
        licence,
        about,
        files: listed,
    };
    entry.write(new.path())?;
    replace(models, new, &entry.name)?;
    Ok(entry)
}

/// A catalogue passes over it.
fn hidden_folder(models: &Path) -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix(".pulling-")
        // As any other folder: the default keeps others from reading it.
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(models)
        .with_context(|| format!("failed to write in {}", models.display()))
}

/// Links or copies a file, and takes its digest from what is there then.
fn put(file: &Path, folder: &Path) -> anyhow::Result<ModelFile> {
    let failed = || format!("failed to copy {}", file.display());
    // The cache has links to its files: it is the file that is wanted.
    let source = file.canonicalize().with_context(failed)?;
    let name = file.file_name().with_context(failed)?;
    let target = folder.join(name);
    if fs::hard_link(&source, &target).is_err() {
        fs::copy(&source, &target).with_context(failed)?;
    }
    let mut sha256 = Sha256::new();
    io::copy(&mut File::open(&target)?, &mut sha256).with_context(failed)?;
    let file = name.to_str().with_context(failed)?.to_owned();
    Ok(ModelFile { file, sha256: hex::encode(sha256.finalize()) })
}

fn replace(models: &Path, new: TempDir, name: &str) -> anyhow::Result<()> {
    let target = models.join(name);
    let failed = || format!("failed to write {}", target.display());
    let old = hidden_folder(models)?;
    if target.exists() {
        fs::rename(&target, old.path().join(name)).with_context(failed)?;
    }
    fs::rename(new.path(), &target).with_context(failed)
}
