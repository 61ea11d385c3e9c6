//! Chunks that were not confirmed: stored again, each in its place, when the server that had them
//! is gone.
//!
//! A chunk may be there all the same, behind others that were sent after it; or it may still be on
//! its way, and arrive when nobody expects it any more. So what stands behind the last chunk that
//! is known to be in its place is deleted; then one chunk at a time is stored, on condition that it
//! follows its predecessor. What arrives late has the message id of one that is stored already,
//! and the server drops it: nothing that was stored is sent again under the same id.

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};

use super::ObjectWriter;
use crate::bus::BusError;
use crate::write::{Pauses, is_final, next_message, patiently};

/// A part of an object that is not known to be stored.
pub(super) struct Chunk {
    pub(super) id: String,
    pub(super) bytes: Bytes,
}

impl Chunk {
    pub(super) fn message(&self) -> PublishMessage {
        PublishMessage::build().payload(self.bytes.clone()).message_id(&self.id)
    }
}

impl ObjectWriter {
    /// Stores `first`, and all that was sent after it.
    pub(super) async fn store_again(&mut self, first: Chunk) -> Result<(), BusError> {
        let (others, sent): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.in_flight).into_iter().unzip();
        // Whether they were stored is looked at, not believed.
        join_all(sent.into_iter().map(IntoFuture::into_future)).await;
        let mut chunks = vec![first];
        chunks.extend(others);
        tracing::debug!(name = self.name, chunks = chunks.len(), "storing again");
        let mut pauses = Pauses::new();
        let mut next = 0;
        loop {
            self.clear(&mut chunks[next..]).await?;
            let Err(error) = self.store_each(&chunks, &mut next).await else { return Ok(()) };
            let is_hopeless = error.as_ref().is_some_and(|error| is_final(error));
            if is_hopeless || !pauses.pause().await {
                let what = format!("store {}", self.name);
                return Err(match error {
                    Some(error) => BusError::new(what, error),
                    None => BusError::new(what, "its chunks come in disorder"),
                });
            }
        }
    }

    /// Stores chunks one after the other, from `next` on.
    async fn store_each(
        &mut self,
        chunks: &[Chunk],
        next: &mut usize,
    ) -> Result<(), Option<PublishError>> {
        while let Some(chunk) = chunks.get(*next) {
            let stored = self.store_behind(chunk).await.map_err(Some)?;
            if stored.duplicate {
                // It came late, and others may stand between it and its predecessor.
                return Err(None);
            }
            self.confirmed = stored.sequence;
            *next += 1;
        }
        Ok(())
    }

    async fn store_behind(&self, chunk: &Chunk) -> Result<PublishAck, PublishError> {
        let message = chunk.message().expected_last_subject_sequence(self.confirmed);
        self.bus.js.send_publish(self.subject(), message).await?.await
    }

    /// Deletes what stands behind the last chunk that is in its place.
    async fn clear(&self, chunks: &mut [Chunk]) -> Result<(), BusError> {
        let stream = self.bus.stream_of(self.bucket).await?;
        let what = || format!("clear {}", self.name);
        let api = format!("STREAM.MSG.DELETE.{}", self.bucket.stream());
        while let Some(found) = next_message(&stream, &self.subject(), self.confirmed).await? {
            let id = found.headers.get(NATS_MESSAGE_ID).map(|id| id.as_str());
            for chunk in chunks.iter_mut().filter(|chunk| Some(chunk.id.as_str()) == id) {
                chunk.id = format!("{}.{}", self.nuid, self.bus.unique());
            }
            let request = json!({ "seq": found.sequence, "no_erase": true });
            // Not there any more, if it is the second try: then that is the answer.
            let delete = || async {
                let deleted = self.bus.js.request::<_, _, Response<Value>>(api.clone(), &request);
                deleted.await.map(drop)
            };
            patiently(what, delete).await?;
        }
        Ok(())
    }
}
