//! `GET /apiv1/events/{hash}`: a job's status as server-sent events, until it ends.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Sse};
use futures::StreamExt;

use super::Shared;
use crate::desk::{Follower, Status};
use crate::error::ApiError;

/// Proxies close connections on which nothing comes for a minute, mostly.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) async fn events(
    State(gateway): Shared,
    Path(hash): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    let follower = Follower::new(gateway.desk()?, &hash).await?;
    let shutdown = gateway.shutdown().clone();
    let events = futures::stream::unfold(follower, |mut follower| async {
        let event = next(&mut follower).await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let events = events.take_until(shutdown.cancelled_owned());
    // nginx would keep them back until there are many.
    let unbuffered = [("x-accel-buffering", "no")];
    Ok((unbuffered, Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))))
}

/// The stream ends where it cannot go on: whoever listens connects again.
async fn next(follower: &mut Follower) -> Option<Event> {
    let status: Status = match follower.next().await {
        Ok(status) => status?,
        Err(error) => {
            tracing::warn!(%error, "events of a job end early");
            return None;
        }
    };
    Event::default().event("status").json_data(status).ok()
}
