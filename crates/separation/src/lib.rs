//! The words in which the gateway and the four stages speak about a song's separation.
//!
//! ```text
//! Request ─► Spec ─► Plan ─► ShardPeaks ─► StemFile ─► Manifest
//! client     gateway decode  separate     encode      publish
//! ```
//!
//! A [`Request`] is what a client asks for. Checked against the [`Catalogue`] of models it becomes
//! a [`Spec`], which a job carries; the others are what the stages put into their facts. No audio
//! is handled here, no model and no HTTP.

mod catalogue;
mod fact;
mod request;

pub use catalogue::{Catalogue, CatalogueError, Model, ModelEntry, ModelFile};
pub use fact::{AUDIO_SECONDS, Manifest, ManifestStem, Plan, ShardPeaks, Source, StemFile};
pub use request::{Format, Request, RequestError, Spec, canonical_stem};
