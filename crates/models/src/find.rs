//! Models on disk: a file, or one of a folder's (`demucs/repo.py: AnyModelRepo`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::bag::{Bag, BagError};
use crate::config::{ConfigError, SAMPLE_RATE};
use crate::package::split_checksum;
use crate::{Config, Package, PackageError};

/// One network, or several whose results are averaged.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The file of the bag, if it is one.
    pub bag: Option<PathBuf>,
    /// The file of each network. One may be there twice.
    pub nets: Vec<PathBuf>,
    /// For each network, its weight in each source; all 1 if there are none.
    pub weights: Option<Vec<Vec<f64>>>,
    /// The segment in seconds, in place of the networks' own; an HTDemucs takes it only if it is
    /// not longer.
    pub segment: Option<f64>,
}

/// What can be said of a model without loading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What a mix is separated into.
    pub sources: Vec<String>,
    /// The length of a segment at 44.1 kHz.
    pub segment_frames: usize,
    /// The most frames before a segment and after it that a network looks at.
    pub reach_frames: [usize; 2],
}

/// Why a model is not found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is no such file or folder, or it cannot be read.
    #[error("failed to read {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file has a name that no model has.
    #[error("{0} is not a model: these are .safetensors, .th and, for bags, .yaml")]
    Kind(PathBuf),
    /// The folder has none of that name, or several and none was named.
    #[error("{folder} has {what}; it has {}", list(.known))]
    Choice {
        /// Which folder.
        folder: PathBuf,
        /// What is missing, or too much.
        what: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// Two files are for the same network.
    #[error("{first} and {second} are the same network: delete one of them")]
    Duplicate {
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A bag asks for a network that is not beside it.
    #[error("{bag} asks for {net}, and there is no {net}.safetensors or {net}-….th beside it")]
    Net {
        /// The bag's file.
        bag: PathBuf,
        /// The network's name.
        net: String,
    },
    /// The bag's file is wrong.
    #[error(transparent)]
    Bag(#[from] BagError),
}

/// Why nothing can be said of a model.
#[derive(Debug, thiserror::Error)]
pub enum SummaryError {
    /// A network's file cannot be read.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A network cannot be built.
    #[error("{path}: {source}")]
    Config {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: ConfigError,
    },
    /// The networks of a bag do not go together.
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

/// A network does not go together with the others of its bag, or with the bag's weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path} does not fit into its bag: {why}")]
pub struct Misfit {
    /// The network's file.
    pub path: PathBuf,
    /// In what it does not fit.
    pub why: String,
}

impl Model {
    /// Finds a model: a file of one network (`.safetensors` or `.th`) or of a bag (`.yaml`), or,
    /// in a folder, the network or bag `name`. A folder with one bag, or with one network and no
    /// bag, needs no name.
    pub fn find(path: &Path, name: Option<&str>) -> Result<Self, FindError> {
        let metadata = fs::metadata(path).map_err(read(path))?;
        if metadata.is_dir() {
            return Folder::read(path)?.find(name);
        }
        match extension(path) {
            "safetensors" | "th" => Ok(Self::single(path)),
            "yaml" => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                Folder::read(folder.unwrap_or(Path::new(".")))?.bag(path)
            }
            _ => Err(FindError::Kind(path.to_owned())),
        }
    }

    fn single(path: &Path) -> Self {
        Self { bag: None, nets: vec![path.to_owned()], weights: None, segment: None }
    }

    /// All its files: the bag's, if it is one, and those of the networks.
    pub fn files(&self) -> Vec<&Path> {
        let bag = self.bag.as_deref().into_iter();
        bag.chain(self.different_nets()).collect()
    }

    /// The files of the networks, each once.
    pub fn different_nets(&self) -> Vec<&Path> {
        let mut paths: Vec<&Path> = Vec::new();
        for path in &self.nets {
            if !paths.contains(&path.as_path()) {
                paths.push(path);
            }
        }
        paths
    }

    /// Reads the options of all networks, and holds them against each other and the weights.
    pub fn summary(&self) -> Result<Summary, SummaryError> {
        let mut configs = Vec::new();
        for path in self.different_nets() {
            let config = Package::read(path)?.config();
            let config =
                config.map_err(|source| SummaryError::Config { path: path.to_owned(), source })?;
            configs.push(config);
        }
        Ok(self.agree(&configs)?)
    }

    /// Holds the options of all networks, in the order of [`Model::different_nets`], against each
    /// other and the weights.
    ///
    /// # Panics
    /// If there are none.
    pub fn agree(&self, configs: &[Config]) -> Result<Summary, Misfit> {
        let mut summary: Option<Summary> = None;
        for (path, config) in self.different_nets().into_iter().zip(configs) {
            let next = self.summary_of(config);
            let merged = match summary {
                None => self.check_weights(&next).map(|()| next),
                Some(others) => merge(others, next),
            };
            let misfit = |why| Misfit { path: path.to_owned(), why };
            summary = Some(merged.map_err(misfit)?);
        }
        Ok(summary.expect("a model has at least one network"))
    }

    /// The segment of a network of this model, in frames at 44.1 kHz.
    pub fn segment_frames(&self, config: &Config) -> usize {
        let wanted = self.segment.map(|seconds| (seconds * SAMPLE_RATE as f64) as usize);
        wanted.filter(|frames| *frames <= config.longest_segment()).unwrap_or(config.segment())
    }

    fn summary_of(&self, config: &Config) -> Summary {
        let segment_frames = self.segment_frames(config);
        let reach_frames = config.fit().reach(segment_frames);
        Summary { sources: config.sources().to_owned(), segment_frames, reach_frames }
    }

    fn check_weights(&self, summary: &Summary) -> Result<(), String> {
        let sources = summary.sources.len();
        match self.weights.as_ref().and_then(|weights| weights.first()) {
            Some(row) if row.len() != sources => {
                Err(format!("the bag has weights for {} sources, it has {sources}", row.len()))
            }
            _ => Ok(()),
        }
    }
}

fn merge(first: Summary, next: Summary) -> Result<Summary, String> {
    if first.sources != next.sources {
        let (sources, others) = (list(&next.sources), list(&first.sources));
        return Err(format!("its sources are {sources}, those of the others are {others}"));
    }
    // Songs are cut once, for all networks of a bag.
    if first.segment_frames != next.segment_frames {
        let (frames, others) = (next.segment_frames, first.segment_frames);
        return Err(format!("its segment is of {frames} frames, those of the others of {others}"));
    }
    let [before, after] = first.reach_frames;
    let [next_before, next_after] = next.reach_frames;
    Ok(Summary { reach_frames: [before.max(next_before), after.max(next_after)], ..first })
}

/// What a folder has: networks and bags, by their names.
struct Folder {
    path: PathBuf,
    nets: BTreeMap<String, PathBuf>,
    bags: BTreeMap<String, PathBuf>,
}

impl Folder {
    fn read(path: &Path) -> Result<Self, FindError> {
        let mut folder =
            Self { path: path.to_owned(), nets: BTreeMap::new(), bags: BTreeMap::new() };
        for entry in fs::read_dir(path).map_err(read(path))? {
            folder.add(entry.map_err(read(path))?.path())?;
        }
        Ok(folder)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), FindError> {
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { return Ok(()) };
        let (map, name) = match extension(&path) {
            "yaml" => (&mut self.bags, stem),
            "safetensors" => (&mut self.nets, stem),
            "th" => (&mut self.nets, split_checksum(stem).0),
            _ => return Ok(()),
        };
        match map.insert(name.to_owned(), path.clone()) {
            Some(first) => Err(FindError::Duplicate { first, second: path }),
            None => Ok(()),
        }
    }

    fn find(&self, name: Option<&str>) -> Result<Model, FindError> {
        let Some(name) = name else { return self.only() };
        match (self.nets.get(name), self.bags.get(name)) {
            (Some(net), _) => Ok(Model::single(net)),
            (None, Some(bag)) => self.bag(bag),
            (None, None) => Err(self.choice(format!("no model {name}"))),
        }
    }

    fn only(&self) -> Result<Model, FindError> {
        let mut bags = self.bags.values();
        let mut nets = self.nets.values();
        match (bags.next(), bags.next(), nets.next(), nets.next()) {
            (Some(bag), None, ..) => self.bag(bag),
            (None, None, Some(net), None) => Ok(Model::single(net)),
            (None, None, None, None) => Err(self.choice("no model".to_owned())),
            _ => Err(self.choice("several models, and none was named".to_owned())),
        }
    }

    fn bag(&self, path: &Path) -> Result<Model, FindError> {
        let bag = Bag::read(path)?;
        let mut nets = Vec::new();
        for net in &bag.nets {
            let missing = || FindError::Net { bag: path.to_owned(), net: net.clone() };
            nets.push(self.nets.get(net).ok_or_else(missing)?.clone());
        }
        let Bag { weights, segment, .. } = bag;
        Ok(Model { bag: Some(path.to_owned()), nets, weights, segment })
    }

    fn choice(&self, what: String) -> FindError {
        let known = self.bags.keys().chain(self.nets.keys()).cloned().collect();
        FindError::Choice { folder: self.path.clone(), what, known }
    }
}

fn read(path: &Path) -> impl Fn(io::Error) -> FindError {
    move |source| FindError::Read { path: path.to_owned(), source }
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
