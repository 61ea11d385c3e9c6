//! The songs that are sent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use futures::StreamExt;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::api::{ApiError, Gateway, Options, Submitted};
use crate::bar::Bar;

/// Bytes that are read at a time.
const CHUNK: usize = 256 * 1024;
/// How often a song is offered to a gateway that is busy.
const ATTEMPTS: u32 = 10;

/// A song, and where its stems go.
pub(super) struct Song {
    pub(super) path: PathBuf,
    /// Its file name.
    pub(super) name: String,
    pub(super) out: PathBuf,
    size: u64,
}

/// Looks at all songs before the first is sent.
pub(super) fn open_all(paths: &[PathBuf], out: &Path) -> anyhow::Result<Vec<Song>> {
    let mut taken = BTreeSet::new();
    let mut songs = Vec::new();
    for path in paths {
        let out = match paths {
            [_] => out.to_owned(),
            _ => out.join(folder_name(path, &mut taken)),
        };
        songs.push(Song::open(path, out)?);
    }
    Ok(songs)
}

/// The song's name without its ending; with a number where two songs have the same.
fn folder_name(path: &Path, taken: &mut BTreeSet<String>) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let numbered = (2..).map(|number| format!("{stem}-{number}"));
    let mut names = std::iter::once(stem.to_string()).chain(numbered);
    names.find(|name| taken.insert(name.clone())).unwrap_or_default()
}

impl Song {
    fn open(path: &Path, out: PathBuf) -> anyhow::Result<Self> {
        let shown = path.display();
        let metadata = fs::metadata(path).with_context(|| format!("failed to read {shown}"))?;
        if !metadata.is_file() {
            bail!("{shown} is not a file: name an audio file");
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { path: path.to_owned(), name, out, size: metadata.len() })
    }

    /// Sends the song, again if the gateway is busy.
    pub(super) async fn send(
        &self,
        gateway: &Gateway,
        mut options: Options,
    ) -> anyhow::Result<Submitted> {
        options.push(("name", self.name.clone()));
        let mut attempt = 1;
        loop {
            let bar = Bar::of_upload(&self.name, self.size);
            let result = self.send_once(gateway, &options, &bar).await;
            bar.end();
            match result {
                Ok(submitted) => return Ok(submitted),
                Err(error) => match error.downcast_ref() {
                    Some(ApiError::Busy { message, retry_after }) if attempt < ATTEMPTS => {
                        eprintln!("{message} ({} s)", retry_after.as_secs());
                        tokio::time::sleep(*retry_after).await;
                    }
                    _ => return Err(error),
                },
            }
            attempt += 1;
        }
    }

    async fn send_once(
        &self,
        gateway: &Gateway,
        options: &Options,
        bar: &Bar,
    ) -> anyhow::Result<Submitted> {
        let file = File::open(&self.path).await;
        let file = file.with_context(|| format!("failed to read {}", self.path.display()))?;
        let bar = bar.clone();
        let chunks = ReaderStream::with_capacity(file, CHUNK).inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                bar.add(chunk.len() as u64);
            }
        });
        Ok(gateway.submit(options, chunks, self.size).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn songs_of_one_name_have_folders_of_their_own() {
        let mut taken = BTreeSet::new();
        let mut name = |path: &str| folder_name(Path::new(path), &mut taken);
        assert_eq!(
            [name("a/song.mp3"), name("b/song.mp3"), name("song-2.mp3"), name("other.wav")],
            ["song", "song-2", "song-2-2", "other"]
        );
    }

    #[test]
    fn what_is_not_a_file_is_told_before_anything_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let error = Song::open(folder.path(), PathBuf::new()).err().unwrap().to_string();
        assert!(error.ends_with("is not a file: name an audio file"), "{error}");
        let missing = folder.path().join("missing.mp3");
        let error = Song::open(&missing, PathBuf::new()).err().unwrap();
        assert!(crate::error::describe(&error).contains("missing.mp3: No such file"), "{error}");
    }
}
