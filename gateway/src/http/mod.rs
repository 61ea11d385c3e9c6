//! The HTTP door, one file per family of routes.

pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod models;
pub(crate) mod observe;
pub(crate) mod page;
pub(crate) mod range;
pub(crate) mod separate;
pub(crate) mod stems;
pub(crate) mod tracks;

use axum::extract::State;
use std::sync::Arc;

use crate::error::ApiError;
use crate::gateway::Gateway;

/// What every handler is given.
pub(crate) type Shared = State<Arc<Gateway>>;

pub(crate) async fn no_path() -> ApiError {
    ApiError::NoPath
}

pub(crate) async fn no_method() -> ApiError {
    ApiError::NoMethod
}
