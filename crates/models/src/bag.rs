//! Bags: several networks whose results are averaged, as a YAML file beside them says
//! (`demucs/repo.py: BagOnlyRepo`, `demucs/apply.py: BagOfModels`).

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

use crate::config::MAX_SEGMENT_SECONDS;

/// What a bag's file says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bag {
    /// The networks, each by the name of its file. One may be there twice.
    #[serde(rename = "models")]
    pub nets: Vec<String>,
    /// For each network, its weight in each source; all 1 if there are none.
    #[serde(default)]
    pub weights: Option<Vec<Vec<f64>>>,
    /// The segment in seconds, in place of the networks' own; an HTDemucs takes it only if it is
    /// not longer.
    #[serde(default)]
    pub segment: Option<f64>,
}

/// Why there is no bag.
#[derive(Debug, thiserror::Error)]
pub enum BagError {
    /// The system does not give its file.
    #[error("failed to read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its file makes no sense.
    #[error("{path} is not a bag of models: {why}")]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Bag {
    /// Reads a bag's file.
    pub fn read(path: &Path) -> Result<Self, BagError> {
        let text = fs::read_to_string(path)
            .map_err(|source| BagError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|why| BagError::Wrong { path: path.to_owned(), why })
    }

    /// Reads what a bag's file says. The error is what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bag: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        bag.check()?;
        Ok(bag)
    }

    /// The names of the networks, each once.
    pub fn different_nets(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in &self.nets {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    fn check(&self) -> Result<(), String> {
        if self.nets.is_empty() {
            return Err("`models` is empty".to_owned());
        }
        // They become names of files.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if let Some(name) =
            self.nets.iter().find(|name| !name.chars().all(plain) || name.is_empty())
        {
            return Err(format!("`models` has {name:?}, which is no name of a network"));
        }
        let nets = self.nets.len();
        if let Some(weights) = &self.weights {
            check_weights(weights, nets)?;
        }
        match self.segment {
            Some(seconds) if !(seconds > 0.0 && seconds <= MAX_SEGMENT_SECONDS as f64) => {
                Err(format!("`segment` is {seconds}, not seconds up to {MAX_SEGMENT_SECONDS}"))
            }
            _ => Ok(()),
        }
    }
}

fn check_weights(weights: &[Vec<f64>], nets: usize) -> Result<(), String> {
    if weights.len() != nets {
        return Err(format!("`weights` has {} rows for {nets} networks", weights.len()));
    }
    let sources = weights[0].len();
    if let Some(row) = weights.iter().find(|row| row.len() != sources || row.is_empty()) {
        return Err(format!("`weights` has rows of {sources} and of {} sources", row.len()));
    }
    if weights.iter().flatten().any(|weight| !(*weight >= 0.0 && weight.is_finite())) {
        return Err("`weights` has one that is not 0 or above".to_owned());
    }
    // The sum is what results are divided by.
    let unheard = (0..sources).find(|source| weights.iter().all(|row| row[*source] == 0.0));
    match unheard {
        Some(source) => Err(format!("`weights` has no network for source {source}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bags_are_read_as_they_are_published() {
        let bag = Bag::parse("models: ['75fc33f5']\nsegment: 44\n").unwrap();
        assert_eq!((bag.nets, bag.weights), (vec!["75fc33f5".to_owned()], None));
        assert_eq!(bag.segment, Some(44.0));

        let bag = Bag::parse(
            "models: ['04573f0d', '92cfc3b6']\nweights: [\n  [1., 0.],\n  [0.5, 1.],\n]\n",
        );
        assert_eq!(bag.unwrap().weights, Some(vec![vec![1.0, 0.0], vec![0.5, 1.0]]));

        // A name of digits, with or without quotes, and one that looks like a number.
        let bag = Bag::parse("models: [04573000, '12e45678', 12e45678]").unwrap();
        assert_eq!(bag.nets, ["04573000", "12e45678", "12e45678"]);
        assert_eq!(bag.different_nets(), ["04573000", "12e45678"]);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, part) in [
            ("models: []", "is empty"),
            ("weights: [[1.0]]", "models"),
            ("models: [a]\nweight: [[1.0]]", "weight"),
            ("models: [../a]", "no name of a network"),
            ("models: [a, b]\nweights: [[1.0]]", "1 rows for 2 networks"),
            ("models: [a, b]\nweights: [[1.0], [1.0, 2.0]]", "rows of 1 and of 2 sources"),
            ("models: [a]\nweights: [[]]", "rows of 0"),
            ("models: [a]\nweights: [[-1.0]]", "not 0 or above"),
            ("models: [a, b]\nweights: [[1.0, 0.0], [1.0, 0.0]]", "no network for source 1"),
            ("models: [a]\nsegment: 0", "not seconds up to 600"),
            ("just a text", ""),
        ] {
            let error = Bag::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
