//! Objects: put as a stream, got as a stream, verified to the last byte.
//!
//! The layout is that of ADR-20, so `nats object` reads and writes the same buckets. The library's
//! own `put` waits for each chunk before it sends the next and leaves chunks behind when it fails;
//! its `get` waits for ever for chunks that are gone. Here up to [`WINDOW`] full chunks are on
//! their way at once, a put that does not finish takes its chunks back, and a get ends: with all
//! bytes and the right digest, or with an error.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::{StatusCode, Subscriber};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use crate::bus::{Bus, BusError, During, from_json, to_json};
use crate::job::RunId;

/// Bytes of one chunk: the server takes messages of up to 1 MiB.
const CHUNK: usize = 512 * 1024;
/// Chunks of one put that may be unacknowledged.
const WINDOW: usize = 8;
/// Chunks that are asked for at a time.
const BATCH: usize = 8;
/// How long to wait for the next chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a batch is asked for again that did not come whole.
const GET_ATTEMPTS: u32 = 4;

/// The object buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bucket {
    /// What comes in.
    Queue,
    /// What one stage hands to the next; gone when the run has ended.
    Work,
    /// What goes out.
    Output,
}

impl Bucket {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Queue, Self::Work, Self::Output];

    /// The bucket's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Work => "work",
            Self::Output => "output",
        }
    }

    /// The name of the stream under it.
    pub fn stream(self) -> String {
        format!("OBJ_{}", self.name())
    }

    fn chunks(self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.name())
    }

    fn meta(self, name: &str) -> String {
        format!("$O.{}.M.{}", self.name(), BASE64_URL_SAFE.encode(name))
    }
}

/// All that is needed to read an object, and to be sure that it is the one that was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its bucket.
    pub bucket: Bucket,
    /// Its name there.
    pub name: String,
    /// The token that its chunks stand under.
    pub nuid: String,
    /// Its length in bytes.
    pub size: u64,
    /// How many chunks it has.
    pub chunks: u64,
    /// `SHA-256=` and the digest in URL-safe base64.
    pub digest: String,
}

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It is not there, or no longer.
    #[error("the object {bucket}/{name} is not there", bucket = bucket.name())]
    Missing {
        /// The bucket that was asked.
        bucket: Bucket,
        /// The object's name.
        name: String,
    },
    /// What came is not what was stored.
    #[error("the object {bucket}/{name} is damaged: {what}", bucket = bucket.name())]
    Damaged {
        /// The bucket that was asked.
        bucket: Bucket,
        /// The object's name.
        name: String,
        /// What does not fit.
        what: String,
    },
    /// NATS did not do its part; try again.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// The message that describes an object (ADR-20 `ObjectInfo`).
#[derive(Serialize, Deserialize)]
struct Meta {
    name: String,
    bucket: String,
    nuid: String,
    size: u64,
    chunks: u64,
    #[serde(default)]
    digest: String,
    mtime: Option<Timestamp>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    options: Options,
}

#[derive(Default, Serialize, Deserialize)]
struct Options {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<Link>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_chunk_size: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct Link {
    bucket: String,
    name: String,
}

impl Bus {
    /// Begins an object. `owner` is the run that it goes with, if any: all chunks of a run can be
    /// freed at once.
    pub fn put(&self, bucket: Bucket, name: String, owner: Option<&RunId>) -> ObjectWriter {
        let unique = self.unique();
        let nuid = owner.map_or(unique.clone(), |run| format!("{run}.{unique}"));
        ObjectWriter {
            bus: self.clone(),
            bucket,
            name,
            nuid,
            buffer: BytesMut::with_capacity(CHUNK),
            in_flight: VecDeque::with_capacity(WINDOW),
            sha256: Sha256::new(),
            size: 0,
            chunks: 0,
            finished: false,
            runtime: Handle::current(),
        }
    }

    /// A token that was never used before.
    pub fn unique(&self) -> String {
        let inbox = self.client.new_inbox();
        inbox.rsplit('.').next().unwrap_or(&inbox).to_owned()
    }

    /// Finds an object by its name, through a link if it is one.
    pub async fn find(&self, bucket: Bucket, name: &str) -> Result<ObjectRef, ObjectError> {
        let missing = || ObjectError::Missing { bucket, name: name.to_owned() };
        let meta = self.meta(bucket, name).await?.ok_or_else(missing)?;
        let Some(link) = meta.options.link else { return Ok(reference(bucket, meta)) };
        let target = Bucket::ALL.into_iter().find(|known| known.name() == link.bucket);
        let target = target.ok_or_else(missing)?;
        let meta = self.meta(target, &link.name).await?.ok_or_else(missing)?;
        Ok(reference(target, meta))
    }

    async fn meta(&self, bucket: Bucket, name: &str) -> Result<Option<Meta>, ObjectError> {
        use async_nats::jetstream::stream::LastRawMessageErrorKind::NoMessageFound;
        let stream = self.stream_of(bucket).await?;
        let message = match stream.get_last_raw_message_by_subject(&bucket.meta(name)).await {
            Ok(message) => message,
            Err(error) if error.kind() == NoMessageFound => return Ok(None),
            Err(error) => return Err(BusError::new(format!("look up {name}"), error).into()),
        };
        let meta: Meta = from_json("an object's description", &message.payload)?;
        Ok(Some(meta).filter(|meta| !meta.deleted))
    }

    /// Gives an object a second name, in the same bucket or another. Repeatable.
    pub async fn link(
        &self,
        bucket: Bucket,
        name: &str,
        target: &ObjectRef,
    ) -> Result<(), BusError> {
        let link = Link { bucket: target.bucket.name().to_owned(), name: target.name.clone() };
        let meta = Meta {
            name: name.to_owned(),
            bucket: bucket.name().to_owned(),
            nuid: self.unique(),
            size: 0,
            chunks: 0,
            digest: String::new(),
            mtime: Some(Timestamp::now()),
            deleted: false,
            options: Options { link: Some(link), max_chunk_size: None },
        };
        self.publish_meta(bucket, &meta).await
    }

    async fn publish_meta(&self, bucket: Bucket, meta: &Meta) -> Result<(), BusError> {
        let message = PublishMessage::build()
            .payload(to_json(meta)?)
            .header(async_nats::header::NATS_ROLLUP, "sub");
        let what = || format!("describe the object {}", meta.name);
        let stored = self.js.send_publish(bucket.meta(&meta.name), message).await.during(what())?;
        stored.await.during(what())?;
        Ok(())
    }

    /// Deletes an object: its chunks and its name, and leaves no tombstone. Repeatable.
    pub async fn delete(&self, object: &ObjectRef) -> Result<(), BusError> {
        self.forget_name(object.bucket, &object.name).await?;
        self.purge_chunks(object.bucket, &object.nuid).await
    }

    /// Deletes a name, link or object, but no chunks.
    pub async fn forget_name(&self, bucket: Bucket, name: &str) -> Result<(), BusError> {
        let stream = self.stream_of(bucket).await?;
        stream.purge().filter(bucket.meta(name)).await.during(format!("delete {name}"))?;
        Ok(())
    }

    /// Frees all chunks of one object, or with `<run>.>` those of a run.
    pub(crate) async fn purge_chunks(&self, bucket: Bucket, nuid: &str) -> Result<(), BusError> {
        let stream = self.stream_of(bucket).await?;
        stream.purge().filter(bucket.chunks(nuid)).await.during(format!("free {nuid}"))?;
        Ok(())
    }

    async fn stream_of(
        &self,
        bucket: Bucket,
    ) -> Result<async_nats::jetstream::stream::Stream<()>, BusError> {
        let stream = self.js.get_stream_no_info(bucket.stream()).await;
        stream.during(format!("open the bucket `{}`", bucket.name()))
    }

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

fn reference(bucket: Bucket, meta: Meta) -> ObjectRef {
    let Meta { name, nuid, size, chunks, digest, .. } = meta;
    ObjectRef { bucket, name, nuid, size, chunks, digest }
}

/// An object on its way in. If it is dropped before [`finish`](Self::finish), what was stored of
/// it is taken back.
pub struct ObjectWriter {
    bus: Bus,
    bucket: Bucket,
    name: String,
    nuid: String,
    buffer: BytesMut,
    in_flight: VecDeque<PublishAckFuture>,
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
        let chunk = self.buffer.split().freeze();
        self.buffer.reserve(CHUNK);
        self.sha256.update(&chunk);
        self.size += chunk.len() as u64;
        self.chunks += 1;
        if self.in_flight.len() == WINDOW {
            self.confirm_oldest().await?;
        }
        let sent = self.bus.js.publish(self.bucket.chunks(&self.nuid), chunk).await;
        self.in_flight.push_back(sent.during(format!("store {}", self.name))?);
        Ok(())
    }

    async fn confirm_oldest(&mut self) -> Result<(), BusError> {
        if let Some(sent) = self.in_flight.pop_front() {
            sent.await.during(format!("store {}", self.name))?;
        }
        Ok(())
    }

    /// Stores the last bytes and gives the object its name.
    pub async fn finish(mut self) -> Result<ObjectRef, BusError> {
        if !self.buffer.is_empty() {
            self.send_chunk().await?;
        }
        while !self.in_flight.is_empty() {
            self.confirm_oldest().await?;
        }
        let digest = BASE64_URL_SAFE.encode(self.sha256.finalize_reset());
        let meta = Meta {
            name: self.name.clone(),
            bucket: self.bucket.name().to_owned(),
            nuid: self.nuid.clone(),
            size: self.size,
            chunks: self.chunks,
            digest: format!("SHA-256={digest}"),
            mtime: Some(Timestamp::now()),
            deleted: false,
            options: Options { link: None, max_chunk_size: Some(CHUNK) },
        };
        self.bus.publish_meta(self.bucket, &meta).await?;
        self.finished = true;
        Ok(reference(self.bucket, meta))
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
            for sent in in_flight {
                let _ = sent.await;
            }
            if let Err(error) = bus.purge_chunks(bucket, &nuid).await {
                tracing::warn!(%error, "failed to take back an unfinished object");
            }
        });
    }
}

/// An object on its way out.
pub struct ObjectReader {
    bus: Bus,
    object: ObjectRef,
    batch: Option<Subscriber>,
    /// Stream sequence of the last chunk that came.
    sequence: u64,
    chunks: u64,
    size: u64,
    /// Of what has come so far; `None` once it was found right.
    sha256: Option<Sha256>,
}

impl ObjectReader {
    /// The next bytes; `None` once all of them have come and their digest is right, and from then
    /// on.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        if self.chunks == self.object.chunks {
            self.verify()?;
            return Ok(None);
        }
        for attempt in 1.. {
            match self.next_of_batch().await? {
                Some(chunk) => {
                    self.chunks += 1;
                    self.size += chunk.len() as u64;
                    if let Some(sha256) = &mut self.sha256 {
                        sha256.update(&chunk);
                    }
                    return Ok(Some(chunk));
                }
                // A replica that lags behind may not have it yet.
                None if attempt < GET_ATTEMPTS => {
                    tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
                }
                None => break,
            }
        }
        let (bucket, name) = (self.object.bucket, self.object.name.clone());
        Err(ObjectError::Missing { bucket, name })
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
            let message = tokio::time::timeout(CHUNK_TIMEOUT, batch.next()).await;
            let Ok(Some(message)) = message else {
                self.batch = None;
                return Ok(None);
            };
            if message.status.is_none_or(|status| status == StatusCode::OK) {
                self.sequence = sequence_of(&message).unwrap_or(self.sequence + 1);
                return Ok(Some(message.payload));
            }
            // 204 ends a batch, 404 says that there is nothing.
            self.batch = None;
            if fresh || message.status == Some(StatusCode::NOT_FOUND) {
                return Ok(None);
            }
        }
    }

    /// Asks for the next chunks by direct get (ADR-31): no consumer to make and to clean up, and
    /// any replica may answer.
    async fn ask(&self) -> Result<Subscriber, BusError> {
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
        Ok(replies)
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
