//! The models that can be asked for: what `models.toml` lists, and each folder beside it that holds
//! a `model.toml`.

mod error;
mod model;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

pub use error::CatalogueError;
pub use model::{Model, ModelEntry, ModelFile};

/// The models that can be asked for by name.
#[derive(Clone, Debug)]
pub struct Catalogue {
    folder: PathBuf,
    models: Vec<Model>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct BuiltIn {
    model: Vec<ModelEntry>,
}

impl Catalogue {
    /// Reads the built-in models in `folder`, and those in folders of their own in it.
    pub fn read(folder: &Path) -> Result<Self, CatalogueError> {
        let path = folder.join("models.toml");
        let built_in: BuiltIn = parse(&path)?;
        if built_in.model.is_empty() {
            return Err(CatalogueError::Empty { path });
        }
        let mut catalogue = Self { folder: folder.to_owned(), models: Vec::new() };
        for entry in built_in.model {
            catalogue.add(entry, None, &path)?;
        }
        for name in folders(folder)? {
            let path = folder.join(&name).join(ModelEntry::FILE);
            // It is written last: without it, something else is in the folder, or not all.
            if path.exists() {
                catalogue.add(parse(&path)?, Some(&name), &path)?;
            }
        }
        Ok(catalogue)
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

    /// Where a model's file is.
    pub fn path(&self, file: &ModelFile) -> PathBuf {
        self.folder.join(&file.file)
    }

    /// What to load `model` from, once all its files are known to be the right ones: the file of
    /// its bag, or its only file.
    pub fn verified_weights(&self, model: &Model) -> Result<PathBuf, CatalogueError> {
        for file in &model.files {
            self.verify(file)?;
        }
        Ok(self.path(model.main_file()))
    }

    /// Holds a file against its digest.
    pub fn verify(&self, file: &ModelFile) -> Result<(), CatalogueError> {
        let path = self.path(file);
        let found = sha256(&path)?;
        if found == file.sha256 {
            return Ok(());
        }
        Err(CatalogueError::Digest { path, found, expected: file.sha256.clone() })
    }

    fn add(
        &mut self,
        entry: ModelEntry,
        folder: Option<&str>,
        path: &Path,
    ) -> Result<(), CatalogueError> {
        let wrong = |why| CatalogueError::Entry { path: path.to_owned(), why };
        let model = Model::new(entry, folder).map_err(wrong)?;
        if self.find(&model.name).is_some() {
            return Err(wrong(format!("there is another model called {}", model.name)));
        }
        self.models.push(model);
        Ok(())
    }
}

/// SHA-256 of a file, in hex.
fn sha256(path: &Path) -> Result<String, CatalogueError> {
    let read = |source| CatalogueError::File { path: path.to_owned(), source };
    let mut sha256 = Sha256::new();
    io::copy(&mut File::open(path).map_err(read)?, &mut sha256).map_err(read)?;
    Ok(hex::encode(sha256.finalize()))
}

fn parse<T: DeserializeOwned>(path: &Path) -> Result<T, CatalogueError> {
    let read = |source| CatalogueError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(read)?;
    let parse = |source| CatalogueError::Parse { path: path.to_owned(), source };
    toml::from_str(&text).map_err(parse)
}

/// The names of the folders in `folder` that are not hidden, in their order.
fn folders(folder: &Path) -> Result<Vec<String>, CatalogueError> {
    let read = |source| CatalogueError::Read { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if entry.path().is_dir() && !name.starts_with('.') && !name.is_empty() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const BUILT_IN: &str = r#"
        [[model]]
        name = "mini"
        files = [{ file = "mini.safetensors", sha256 = "00" }]
        sources = ["drums", "vocals"]
        segment_frames = 4410
        reach_frames = [2205, 0]
        licence = "MIT"
        about = "for tests"
    "#;

    fn entry(name: &str) -> ModelEntry {
        let file = |file: &str, content: &str| ModelFile {
            file: file.to_owned(),
            sha256: hex::encode(Sha256::digest(content)),
        };
        ModelEntry {
            name: name.to_owned(),
            files: vec![file("a.safetensors", "a"), file("bag.yaml", "bag")],
            sources: vec!["drums".to_owned()],
            segment_frames: 44_100,
            reach_frames: [1, 2],
            licence: "theirs".to_owned(),
            about: "a bag".to_owned(),
        }
    }

    /// A catalogue with a model in a folder of its own, if it is named.
    fn folder(pulled: Option<&str>) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("models.toml"), BUILT_IN).unwrap();
        if let Some(name) = pulled {
            let own = folder.path().join(name);
            fs::create_dir(&own).unwrap();
            fs::write(own.join("a.safetensors"), "a").unwrap();
            fs::write(own.join("bag.yaml"), "bag").unwrap();
            entry(name).write(&own).unwrap();
        }
        folder
    }

    #[test]
    fn built_in_models_come_first_and_folders_after() {
        let folder = folder(Some("bag"));
        fs::create_dir(folder.path().join("half")).unwrap();
        fs::create_dir(folder.path().join(".pulling")).unwrap();
        entry("other").write(&folder.path().join(".pulling")).unwrap();
        let catalogue = Catalogue::read(folder.path()).unwrap();
        let names: Vec<_> = catalogue.models().iter().map(|model| model.name.as_str()).collect();
        assert_eq!(names, ["mini", "bag"]);
        let bag = catalogue.find("bag").unwrap();
        assert_eq!((bag.segment_frames, bag.reach_frames), (44_100, [1, 2]));
        assert_eq!(catalogue.verified_weights(bag).unwrap(), folder.path().join("bag/bag.yaml"));
    }

    #[test]
    fn a_model_of_one_file_is_its_file_and_a_bag_is_all_of_them() {
        let folder = folder(Some("bag"));
        let catalogue = Catalogue::read(folder.path()).unwrap();
        assert_eq!(catalogue.models()[0].sha256, "00");
        let bag = &catalogue.models()[1].sha256;
        assert_eq!(bag.len(), 64);
        // The folder is of no matter to what it is; each file is.
        assert_eq!(*bag, Model::new(entry("renamed"), Some("renamed")).unwrap().sha256);
        let mut other = entry("bag");
        other.files[0].sha256 = "00".to_owned();
        assert_ne!(*bag, Model::new(other, Some("bag")).unwrap().sha256);
    }

    #[test]
    fn a_file_that_is_not_the_right_one_is_named() {
        let folder = folder(Some("bag"));
        let catalogue = Catalogue::read(folder.path()).unwrap();
        let bag = catalogue.find("bag").unwrap();
        fs::write(folder.path().join("bag/a.safetensors"), "b").unwrap();
        let error = catalogue.verified_weights(bag).unwrap_err().to_string();
        assert!(error.contains("bag/a.safetensors has SHA-256"), "{error}");
        let error = catalogue.verified_weights(&catalogue.models()[0]).unwrap_err().to_string();
        assert!(error.contains("mini.safetensors"), "{error}");
    }

    #[test]
    fn an_entry_that_makes_no_sense_is_refused() {
        for (name, change, part) in [
            ("mini", (|_| ()) as fn(&mut ModelEntry), "another model called mini"),
            ("bag", |entry| entry.name = "gab".to_owned(), "it is called gab"),
            ("bag", |entry| entry.files.clear(), "no file"),
            ("bag", |entry| entry.files[0].file = "../a".to_owned(), "no plain name"),
            ("bag", |entry| entry.files[1].file = "b.th".to_owned(), "which of them is the bag"),
        ] {
            let folder = folder(Some(name));
            let mut entry = entry(name);
            change(&mut entry);
            entry.write(&folder.path().join(name)).unwrap();
            let error = Catalogue::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
