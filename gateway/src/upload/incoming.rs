use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::ApiError;
use crate::gateway::Limits;

/// A client that is still sending does not see a reply: it is listened to for a while longer.
const DRAIN_TIME: Duration = Duration::from_secs(5);
const DRAIN_BYTES: u64 = 32 << 20;

/// The body of a request, with an end to everything: to its length and to each wait for more.
///
/// Clones read on where the others stopped.
#[derive(Clone)]
pub(crate) struct Incoming(Arc<Mutex<Source>>);

struct Source {
    body: BodyDataStream,
    /// Bytes that may still come.
    room: u64,
    limits: Limits,
}

impl Incoming {
    /// A body of up to `room` bytes, with a song in it.
    pub(crate) fn new(body: Body, room: u64, limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Source { body: body.into_data_stream(), room, limits })))
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&self) -> Result<Option<Bytes>, ApiError> {
        let mut source = self.0.lock().await;
        let Limits { idle, song_bytes, .. } = source.limits;
        let Ok(next) = timeout(idle, source.body.next()).await else {
            return Err(ApiError::Stalled { seconds: idle.as_secs() });
        };
        let Some(bytes) = next else { return Ok(None) };
        let bytes = bytes.map_err(|_| {
            ApiError::Malformed("the body broke off: send the song again".to_owned())
        })?;
        let too_large = ApiError::TooLarge { limit: song_bytes };
        source.room = source.room.checked_sub(bytes.len() as u64).ok_or(too_large)?;
        Ok(Some(bytes))
    }

    /// The same as a stream.
    pub(crate) fn stream(&self) -> impl Stream<Item = Result<Bytes, ApiError>> + use<> {
        futures::stream::try_unfold(self.clone(), |body| async move {
            let next = body.next().await?;
            Ok(next.map(|bytes| (bytes, body)))
        })
    }

    /// Reads on for a while, so that a client that writes all before it reads gets to the reply.
    pub(crate) async fn drain(&self) {
        let mut source = self.0.lock().await;
        let read = async {
            let mut bytes = 0;
            while let Some(Ok(more)) = source.body.next().await {
                bytes += more.len() as u64;
                if bytes > DRAIN_BYTES {
                    return;
                }
            }
        };
        let _ = timeout(DRAIN_TIME, read).await;
    }
}
