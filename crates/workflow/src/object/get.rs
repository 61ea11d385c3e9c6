//! An object on its way out.

use std::time::{Duration, Instant};

use async_nats::{StatusCode, Subscriber};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use bytes::Bytes;
use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::{ObjectError, ObjectRef};
use crate::bus::{Bus, BusError, During, to_json};
use crate::metrics::{self, Direction};
use crate::write::next_message;

/// Chunks that are asked for at a time, and may wait here.
const BATCH: usize = 2;
/// How long to wait for the next chunk before the leader is asked for it.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(5);

impl Bus {
    /// Begins to read an object.
    pub fn get(&self, object: &ObjectRef) -> ObjectReader {
        ObjectReader {
            bus: self.clone(),
            object: object.clone(),
            batch: None,
            sequence: 0,
            chunks: 0,
            size: 0,
            sha256: Some(Sha256::new()),
        }
    }
}

/// An object on its way out.
pub struct ObjectReader {
    bus: Bus,
    object: ObjectRef,
    batch: Option<Batch>,
    /// Stream sequence of the last chunk that came.
    sequence: u64,
    chunks: u64,
    size: u64,
    /// Of what has come so far; `None` once it was found right.
    sha256: Option<Sha256>,
}

/// Chunks that were asked for.
struct Batch {
    replies: Subscriber,
    /// How many are still to come.
    left: usize,
}

impl ObjectReader {
    /// The next bytes; `None` once all of them have come and their digest is right, and from then
    /// on.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        if self.chunks == self.object.chunks {
            self.verify()?;
            return Ok(None);
        }
        let began = Instant::now();
        let mut chunk = self.next_of_batch().await?;
        if chunk.is_none() {
            // The replica that was asked is gone, or lags behind.
            chunk = self.next_of_leader().await?;
        }
        let Some(chunk) = chunk else {
            let (bucket, name) = (self.object.bucket, self.object.name.clone());
            return Err(ObjectError::Missing { bucket, name });
        };
        self.chunks += 1;
        self.size += chunk.len() as u64;
        metrics::moved(self.object.bucket, Direction::Get, chunk.len(), began);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(&chunk);
        }
        Ok(Some(chunk))
    }

    async fn next_of_leader(&mut self) -> Result<Option<Bytes>, BusError> {
        let Self { bus, object, sequence, .. } = self;
        let stream = bus.stream_of(object.bucket).await?;
        let subject = object.bucket.chunks(&object.nuid);
        let Some(message) = next_message(&stream, &subject, *sequence).await? else {
            return Ok(None);
        };
        self.sequence = message.sequence;
        Ok(Some(message.payload))
    }

    async fn next_of_batch(&mut self) -> Result<Option<Bytes>, ObjectError> {
        let mut fresh = false;
        loop {
            let batch = match &mut self.batch {
                Some(batch) => batch,
                None => {
                    fresh = true;
                    let batch = self.ask().await?;
                    self.batch.insert(batch)
                }
            };
            let message = tokio::time::timeout(CHUNK_TIMEOUT, batch.replies.next()).await;
            let Ok(Some(message)) = message else {
                self.batch = None;
                return Ok(None);
            };
            if message.status.is_none_or(|status| status == StatusCode::OK) {
                self.sequence = sequence_of(&message).unwrap_or(self.sequence + 1);
                batch.left -= 1;
                if batch.left == 0 {
                    self.ask_ahead().await;
                }
                return Ok(Some(message.payload));
            }
            // 204 ends a batch, 404 says that there is nothing.
            self.batch = None;
            if fresh || message.status == Some(StatusCode::NOT_FOUND) {
                return Ok(None);
            }
        }
    }

    /// Has the next chunks come while the last of these is looked at.
    async fn ask_ahead(&mut self) {
        let is_last = self.chunks + 1 == self.object.chunks;
        // What fails now is asked for again when it is wanted.
        self.batch = if is_last { None } else { self.ask().await.ok() };
    }

    /// Asks for the next chunks by direct get (ADR-31): no consumer to make and to clean up, and
    /// any replica may answer.
    async fn ask(&self) -> Result<Batch, BusError> {
        let what = || format!("read {}", self.object.name);
        let client = &self.bus.client;
        let inbox = client.new_inbox();
        let replies = client.subscribe(inbox.clone()).await.during(what())?;
        let request = serde_json::json!({
            "seq": self.sequence + 1,
            "next_by_subj": self.object.bucket.chunks(&self.object.nuid),
            "batch": BATCH,
        });
        let subject = format!("$JS.API.DIRECT.GET.{}", self.object.bucket.stream());
        client.publish_with_reply(subject, inbox, to_json(&request)?).await.during(what())?;
        Ok(Batch { replies, left: BATCH })
    }

    fn verify(&mut self) -> Result<(), ObjectError> {
        let Some(sha256) = self.sha256.take() else { return Ok(()) };
        let digest = BASE64_URL_SAFE.encode(sha256.finalize());
        let what = if self.size != self.object.size {
            format!("it has {} bytes, expected are {}", self.size, self.object.size)
        } else if format!("SHA-256={digest}") != self.object.digest {
            "its digest is another".to_owned()
        } else {
            return Ok(());
        };
        let (bucket, name) = (self.object.bucket, self.object.name.clone());
        Err(ObjectError::Damaged { bucket, name, what })
    }
}

fn sequence_of(message: &async_nats::Message) -> Option<u64> {
    message.headers.as_ref()?.get(async_nats::header::NATS_SEQUENCE)?.as_str().parse().ok()
}
