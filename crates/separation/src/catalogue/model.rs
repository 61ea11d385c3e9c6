use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::CatalogueError;

/// One model, as far as it can be known without loading it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What it is asked for by.
    pub name: String,
    /// What it is told from all others by, in hex: the SHA-256 of its file, or, if it has several,
    /// of the lines that `sha256sum` would write of them.
    pub sha256: String,
    /// Its files, by their paths from the catalogue.
    pub files: Vec<ModelFile>,
    /// What it separates into, in the order of its outputs.
    pub sources: Vec<String>,
    /// How many frames at 44.1 kHz it looks at, at once.
    pub segment_frames: usize,
    /// How many more frames before a segment and after it change its result.
    pub reach_frames: [usize; 2],
    /// Under what terms its weights may be used.
    pub licence: String,
    /// What it is, in a line.
    pub about: String,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Its path.
    pub file: String,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// A model as a catalogue lists it, with its files by their names in its folder; the fields are
/// those of [`Model`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "they are those of `Model`")]
pub struct ModelEntry {
    pub name: String,
    pub sources: Vec<String>,
    pub segment_frames: usize,
    pub reach_frames: [usize; 2],
    pub licence: String,
    pub about: String,
    pub files: Vec<ModelFile>,
}

impl ModelEntry {
    /// What the entry of a model in a folder of its own is called by.
    pub const FILE: &str = "model.toml";

    /// Writes the entry into the model's folder, whole or not at all. Do so last: with it, the
    /// model is there.
    pub fn write(&self, folder: &Path) -> Result<(), CatalogueError> {
        let path = folder.join(Self::FILE);
        let write = |source| CatalogueError::Write { path: path.clone(), source };
        let text = toml::to_string(self).expect("names, numbers and lists of these can be written");
        let new = folder.join(".model.toml");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(write)
    }
}

impl Model {
    /// The model of an entry; `folder` is its own, if it has one. The error is what is wrong.
    pub(super) fn new(entry: ModelEntry, folder: Option<&str>) -> Result<Self, String> {
        let ModelEntry { name, sources, segment_frames, reach_frames, licence, about, files } =
            entry;
        if folder.is_some_and(|folder| folder != name) {
            return Err(format!("it is called {name}, and its folder is not"));
        }
        let is_plain = |file: &str| Path::new(file).file_name().is_some_and(|name| name == file);
        if let Some(file) = files.iter().find(|file| !is_plain(&file.file)) {
            return Err(format!("{:?} is no plain name of a file", file.file));
        }
        let bags = files.iter().filter(|file| is_bag(file)).count();
        match (files.len(), bags) {
            (0, _) => return Err(format!("{name} has no file")),
            (1, _) | (_, 1) => {}
            _ => {
                return Err(format!("of the files of {name}, it is open which of them is the bag"));
            }
        }
        let sha256 = identity(&files);
        let in_folder = |file: ModelFile| match folder {
            Some(folder) => ModelFile { file: format!("{folder}/{}", file.file), ..file },
            None => file,
        };
        let files = files.into_iter().map(in_folder).collect();
        Ok(Self { name, sha256, files, sources, segment_frames, reach_frames, licence, about })
    }

    /// The file of its bag, or its only file.
    pub(super) fn main_file(&self) -> &ModelFile {
        self.files.iter().find(|file| is_bag(file)).unwrap_or(&self.files[0])
    }
}

fn is_bag(file: &ModelFile) -> bool {
    file.file.ends_with(".yaml")
}

fn identity(files: &[ModelFile]) -> String {
    if let [file] = files {
        return file.sha256.clone();
    }
    let mut lines: Vec<String> =
        files.iter().map(|file| format!("{}  {}\n", file.sha256, file.file)).collect();
    lines.sort();
    hex::encode(Sha256::digest(lines.concat()))
}
