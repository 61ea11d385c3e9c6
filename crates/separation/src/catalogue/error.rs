use std::io;
use std::path::PathBuf;

/// Why there is no catalogue, or not the model in it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message says it all")]
pub enum CatalogueError {
    #[error("failed to read {path}: {source}; set STEMFLOW_MODELS to the folder of models.toml")]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to read {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("failed to write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} is not a catalogue of models: {source}")]
    Parse { path: PathBuf, source: toml::de::Error },
    #[error("{path} lists no model")]
    Empty { path: PathBuf },
    #[error("{path} has an entry that makes no sense: {why}")]
    Entry { path: PathBuf, why: String },
    #[error("{path} has SHA-256 {found}, the catalogue says {expected}")]
    Digest { path: PathBuf, found: String, expected: String },
}
