//! An object on its way in.

mod again;

use std::collections::VecDeque;
use std::time::Instant;

use async_nats::jetstream::context::PublishAckFuture;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use bytes::BytesMut;
use futures::future::join_all;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use self::again::Chunk;
use super::{Bucket, Meta, ObjectRef};
use crate::bus::{Bus, BusError, During};
use crate::job::RunId;
use crate::metrics::{self, Direction};
use crate::write::is_final;

/// Bytes of one chunk: the server takes messages of up to 1 MiB.
pub(super) const CHUNK: usize = 512 * 1024;
/// Chunks of one put that may be unacknowledged. More than that gives little more speed
/// (`tests/benches/objects.rs`), and each costs its size in memory.
const WINDOW: usize = 3;

impl Bus {
    /// Begins an object. `owner` is the run that it goes with, if any: all chunks of a run can be
    /// freed at once. Such an object has no name of its own in the bucket, for a name could not be
    /// found again once the attempt that gave it had died.
    pub fn put(&self, bucket: Bucket, name: String, owner: Option<&RunId>) -> ObjectWriter {
        let unique = self.unique();
        let nuid = owner.map_or(unique.clone(), |run| format!("{run}.{unique}"));
        ObjectWriter {
            bus: self.clone(),
            bucket,
            name,
            nuid,
            is_named: owner.is_none(),
            buffer: BytesMut::with_capacity(CHUNK),
            in_flight: VecDeque::with_capacity(WINDOW),
            confirmed: 0,
            sha256: Sha256::new(),
            size: 0,
            chunks: 0,
            finished: false,
            runtime: Handle::current(),
        }
    }
}

/// An object on its way in. If it is dropped before [`finish`](Self::finish), what was stored of
/// it is taken back.
pub struct ObjectWriter {
    bus: Bus,
    bucket: Bucket,
    name: String,
    nuid: String,
    is_named: bool,
    buffer: BytesMut,
    in_flight: VecDeque<(Chunk, PublishAckFuture)>,
    /// The stream sequence of the last chunk that is known to stand in its place.
    confirmed: u64,
    sha256: Sha256,
    size: u64,
    chunks: u64,
    finished: bool,
    runtime: Handle,
}

impl ObjectWriter {
    /// How many bytes it has so far.
    pub fn size(&self) -> u64 {
        self.size + self.buffer.len() as u64
    }

    /// Appends `bytes`.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), BusError> {
        while !bytes.is_empty() {
            let room = CHUNK - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == CHUNK {
                self.send_chunk().await?;
            }
        }
        Ok(())
    }

    async fn send_chunk(&mut self) -> Result<(), BusError> {
        let began = Instant::now();
        let chunk = self.buffer.split().freeze();
        let bytes = chunk.len();
        self.buffer.reserve(CHUNK);
        self.sha256.update(&chunk);
        self.size += chunk.len() as u64;
        self.chunks += 1;
        if self.in_flight.len() == WINDOW {
            self.confirm_oldest().await?;
        }
        let chunk = Chunk { id: format!("{}.{}", self.nuid, self.chunks), bytes: chunk };
        let sent = self.bus.js.send_publish(self.subject(), chunk.message()).await;
        self.in_flight.push_back((chunk, sent.during(format!("store {}", self.name))?));
        metrics::moved(self.bucket, Direction::Put, bytes, began);
        Ok(())
    }

    async fn confirm_oldest(&mut self) -> Result<(), BusError> {
        let Some((chunk, sent)) = self.in_flight.pop_front() else { return Ok(()) };
        match sent.await {
            Ok(stored) if stored.sequence > self.confirmed => {
                self.confirmed = stored.sequence;
                Ok(())
            }
            Err(error) if is_final(&error) => Err(error).during(format!("store {}", self.name)),
            // Lost, or behind one that was sent after it.
            _ => self.store_again(chunk).await,
        }
    }

    fn subject(&self) -> String {
        self.bucket.chunks(&self.nuid)
    }

    /// Stores the last bytes, and gives the object its name if it belongs to no run.
    pub async fn finish(mut self) -> Result<ObjectRef, BusError> {
        if !self.buffer.is_empty() {
            self.send_chunk().await?;
        }
        let began = Instant::now();
        while !self.in_flight.is_empty() {
            self.confirm_oldest().await?;
        }
        metrics::moved(self.bucket, Direction::Put, 0, began);
        let digest = BASE64_URL_SAFE.encode(self.sha256.finalize_reset());
        let object = ObjectRef {
            bucket: self.bucket,
            name: self.name.clone(),
            nuid: self.nuid.clone(),
            size: self.size,
            chunks: self.chunks,
            digest: format!("SHA-256={digest}"),
        };
        if self.is_named {
            self.bus.publish_meta(&Meta::of(&object, &self.name)).await?;
        }
        self.finished = true;
        Ok(object)
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        if self.finished || self.chunks == 0 {
            return;
        }
        let (bus, bucket, nuid) = (self.bus.clone(), self.bucket, self.nuid.clone());
        let in_flight = std::mem::take(&mut self.in_flight);
        self.runtime.spawn(async move {
            // What is still on its way would arrive after the purge.
            join_all(in_flight.into_iter().map(|(_, sent)| sent.into_future())).await;
            if let Err(error) = bus.purge_chunks(bucket, &nuid).await {
                tracing::warn!(%error, "failed to take back an unfinished object");
            }
        });
    }
}
