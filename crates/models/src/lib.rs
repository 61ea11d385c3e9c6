//! Demucs models as files: what they hold, what they ask for, and where they come from.
//!
//! Nothing here computes with a model, so nothing here knows libtorch: a program that lists, fetches
//! or verifies models stays small. `demucs` builds the networks.
//!
//! - [`config`]: how a network is built, from the arguments that Demucs called its constructor
//!   with;
//! - [`package`]: what a file holds, in each form that Demucs has written;
//! - [`bag`]: which networks make up a model;
//! - [`Model::find`]: the files of a model, in a folder;
//! - [`published`]: the models that there are for everyone;
//! - `hub`, a feature: how they get here.

pub mod bag;
pub mod config;
mod find;
#[cfg(feature = "hub")]
pub mod hub;
mod options;
pub mod package;
pub mod published;

pub use bag::{Bag, BagError};
pub use config::{Config, ConfigError, Fit};
pub use find::{FindError, Misfit, Model, Summary, SummaryError};
pub use options::Refused;
pub use package::{Package, PackageError, State};
