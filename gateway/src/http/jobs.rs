//! Jobs: all that wait or run, one of them, the end of one.

use axum::Json;
use axum::extract::{Path, State};

use super::Shared;
use crate::desk::{Ended, Queue, Status};
use crate::error::ApiError;

pub(crate) async fn queue(State(gateway): Shared) -> Result<Json<Queue>, ApiError> {
    Ok(Json(gateway.desk()?.queue().await?))
}

pub(crate) async fn status(
    State(gateway): Shared,
    Path(hash): Path<String>,
) -> Result<Json<Status>, ApiError> {
    Ok(Json(gateway.desk()?.status(&hash).await?))
}

pub(crate) async fn end(
    State(gateway): Shared,
    Path(hash): Path<String>,
) -> Result<Json<Ended>, ApiError> {
    Ok(Json(gateway.desk()?.cancel_or_delete(&hash).await?))
}
