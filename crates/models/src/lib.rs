//! Demucs models as files: what they hold, what they ask for, and where they come from.
//!
//! Nothing here computes with a model, so nothing here knows libtorch: a program that lists, fetches
//! or verifies models stays small. `demucs` builds the networks.
//!
//! - [`config`]: how a network is built, from the arguments that Demucs called its constructor
//!   with.

pub mod config;
mod options;

pub use config::{Config, ConfigError, Fit};
pub use options::Refused;
