use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The models that can be asked for by name: `models.toml` and the weights beside it.
#[derive(Clone, Debug)]
pub struct Catalogue {
    folder: PathBuf,
    models: Vec<Model>,
}

/// One model, as far as it can be known without loading it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// What it is asked for by.
    pub name: String,
    /// The file of its weights, beside the catalogue.
    pub file: String,
    /// SHA-256 of that file, in hex: the model's identity.
    pub sha256: String,
    /// What it separates into, in the order of its outputs.
    pub sources: Vec<String>,
    /// How many frames at 44.1 kHz it looks at, at once.
    pub segment_frames: usize,
    /// Under what terms its weights may be used.
    pub licence: String,
    /// What it is, in a line.
    pub about: String,
}

/// Why there is no catalogue, or not the model in it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message says it all")]
pub enum CatalogueError {
    #[error("failed to read {path}: {source}; set STEMFLOW_MODELS to the folder of models.toml")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a catalogue of models: {source}")]
    Parse { path: PathBuf, source: toml::de::Error },
    #[error("{path} lists no model")]
    Empty { path: PathBuf },
    #[error("{path} has SHA-256 {found}, the catalogue says {expected}")]
    Digest { path: PathBuf, found: String, expected: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Model>,
}

impl Catalogue {
    /// Reads `models.toml` in `folder`.
    pub fn read(folder: &Path) -> Result<Self, CatalogueError> {
        let path = folder.join("models.toml");
        let text = fs::read_to_string(&path)
            .map_err(|source| CatalogueError::Read { path: path.clone(), source })?;
        let file: File = toml::from_str(&text)
            .map_err(|source| CatalogueError::Parse { path: path.clone(), source })?;
        if file.model.is_empty() {
            return Err(CatalogueError::Empty { path });
        }
        Ok(Self { folder: folder.to_owned(), models: file.model })
    }

    /// Reads the catalogue in the folder that `STEMFLOW_MODELS` names, `models` by default.
    pub fn from_env() -> Result<Self, CatalogueError> {
        let folder = std::env::var_os("STEMFLOW_MODELS").unwrap_or_else(|| "models".into());
        Self::read(Path::new(&folder))
    }

    /// All models; the first is taken when none is asked for.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The model of that name.
    pub fn find(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }

    /// The weights of `model`, once they are known to be the right ones.
    pub fn verified_weights(&self, model: &Model) -> Result<PathBuf, CatalogueError> {
        let path = self.folder.join(&model.file);
        let read = |source| CatalogueError::Read { path: path.clone(), source };
        let mut sha256 = Sha256::new();
        io::copy(&mut fs::File::open(&path).map_err(read)?, &mut sha256).map_err(read)?;
        let found = hex::encode(sha256.finalize());
        if found != model.sha256 {
            let expected = model.sha256.clone();
            return Err(CatalogueError::Digest { path, found, expected });
        }
        Ok(path)
    }
}
