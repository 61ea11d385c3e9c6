//! Objects: put as a stream, got as a stream, verified to the last byte.
//!
//! The layout is that of ADR-20, so `nats object` reads and writes the same buckets. The library's
//! own `put` waits for each chunk before it sends the next and leaves chunks behind when it fails;
//! its `get` waits for ever for chunks that are gone. Here several full chunks are on
//! their way at once, a put that does not finish takes its chunks back, and a get ends: with all
//! bytes and the right digest, or with an error.

mod get;
mod name;
mod put;

use async_nats::header::NATS_ROLLUP;
use async_nats::jetstream::message::PublishMessage;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bus::{Bus, BusError, During, from_json, to_json};
use crate::write::{Fate, Fence, Write, last_message, purge};

pub use get::ObjectReader;
pub use put::ObjectWriter;

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

    pub(crate) fn chunks(self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.name())
    }

    pub(crate) fn meta(self, name: &str) -> String {
        meta_subject(self.name(), name)
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
#[derive(Clone, Serialize, Deserialize)]
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

impl Meta {
    /// Describes `object` under that name.
    fn of(object: &ObjectRef, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            bucket: object.bucket.name().to_owned(),
            nuid: object.nuid.clone(),
            size: object.size,
            chunks: object.chunks,
            digest: object.digest.clone(),
            mtime: Some(Timestamp::now()),
            deleted: false,
            options: Options { link: None, max_chunk_size: Some(put::CHUNK) },
        }
    }
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Options {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<Link>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_chunk_size: Option<usize>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Link {
    bucket: String,
    name: String,
}

impl Bus {
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

    async fn meta(&self, bucket: Bucket, name: &str) -> Result<Option<Meta>, BusError> {
        Ok(self.meta_entry(bucket, name).await?.0)
    }

    /// What a name stands for, and the sequence of the message that says so; 0 for none.
    async fn meta_entry(
        &self,
        bucket: Bucket,
        name: &str,
    ) -> Result<(Option<Meta>, u64), BusError> {
        let stream = self.stream_of(bucket).await?;
        let found = last_message(&stream, &bucket.meta(name)).await?;
        let Some(message) = found else { return Ok((None, 0)) };
        let meta: Meta = from_json("an object's description", &message.payload)?;
        Ok((Some(meta).filter(|meta| !meta.deleted), message.sequence))
    }

    /// Describes an object, in the place of what was described by that name before.
    async fn publish_meta(&self, meta: &Meta) -> Result<(), BusError> {
        let message = PublishMessage::build().payload(to_json(meta)?).header(NATS_ROLLUP, "sub");
        self.publish(&meta_subject(&meta.bucket, &meta.name), message).await
    }

    /// The same, but only in the place of what `sequence` is the sequence of; false if something
    /// else is there by now.
    async fn replace_meta(&self, meta: &Meta, sequence: u64) -> Result<bool, BusError> {
        let subject = meta_subject(&meta.bucket, &meta.name);
        let fence = Fence { subject: subject.clone(), sequence };
        let write = Write::new(subject, to_json(meta)?).header(NATS_ROLLUP, "sub");
        let bucket = self.stream_of(Bucket::Output).await?;
        Ok(matches!(self.write(&bucket, write, &fence).await?, Fate::Stored))
    }

    /// Deletes an object: its chunks and its name, and leaves no tombstone. Repeatable.
    pub async fn delete(&self, object: &ObjectRef) -> Result<(), BusError> {
        self.forget_name(object.bucket, &object.name).await?;
        self.purge_chunks(object.bucket, &object.nuid).await
    }

    /// Deletes a name, whatever it leads to, but no chunks.
    async fn forget_name(&self, bucket: Bucket, name: &str) -> Result<(), BusError> {
        purge(&self.stream_of(bucket).await?, &bucket.meta(name)).await
    }

    /// Frees all chunks of one object, or with `<run>.>` those of a run.
    pub(crate) async fn purge_chunks(&self, bucket: Bucket, nuid: &str) -> Result<(), BusError> {
        purge(&self.stream_of(bucket).await?, &bucket.chunks(nuid)).await
    }

    pub(crate) async fn stream_of(
        &self,
        bucket: Bucket,
    ) -> Result<async_nats::jetstream::stream::Stream<()>, BusError> {
        let stream = self.js.get_stream_no_info(bucket.stream()).await;
        stream.during(format!("open the bucket `{}`", bucket.name()))
    }
}

fn meta_subject(bucket: &str, name: &str) -> String {
    format!("$O.{bucket}.M.{}", BASE64_URL_SAFE.encode(name))
}

fn reference(bucket: Bucket, meta: Meta) -> ObjectRef {
    let Meta { name, nuid, size, chunks, digest, .. } = meta;
    ObjectRef { bucket, name, nuid, size, chunks, digest }
}
