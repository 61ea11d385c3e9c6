//! Writes and requests that are tried until it is known what has become of them.
//!
//! A cluster has no leader for some seconds when it has lost one, and an answer may be lost with the
//! server that was to give it. So no write is believed to have failed because it was not
//! confirmed: each says what it builds on, and can be sent again, until it is either confirmed or
//! found. What is looked at meanwhile is asked from the leader, for only that one has all that was
//! confirmed.

use std::error::Error as StdError;
use std::time::Duration;

use async_nats::header::IntoHeaderName;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::bus::{Bus, BusError, Full, to_json};
use crate::trace;

/// How long to wait for a cluster that does not answer: it elects a leader within 10 s, mostly, and
/// a client takes 15 s to notice that its server is cut off.
const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// What became of a message that may exist only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Once {
    /// It is stored.
    Stored,
    /// Another one was there before.
    Existed,
    /// Its fence is down: it came too late.
    Late,
}

/// A message that must still be the last of its subject when another one is stored; with sequence
/// 0, that there is none.
pub(crate) struct Fence {
    pub(crate) subject: String,
    pub(crate) sequence: u64,
}

/// What became of a write.
pub(crate) enum Fate {
    /// It is stored.
    Stored,
    /// Another message stands in its place.
    Taken,
    /// What it builds on is gone.
    Late,
}

/// Whose last sequence is expected, if not that of the message's own subject.
const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

impl Bus {
    /// Publishes a message to a subject of the control stream that may hold one message, ever.
    ///
    /// `Nats-Expected-Last-Subject-Sequence: 0` makes the stream's leader refuse a second one;
    /// unlike a duplicate window it has no end before the stream's `max_age`.
    pub(crate) async fn publish_once(
        &self,
        subject: String,
        message: &impl Serialize,
    ) -> Result<Once, BusError> {
        let fence = Fence { subject: subject.clone(), sequence: 0 };
        self.publish_behind(&fence, subject, message).await
    }

    /// The same, and only while `fence` stands: the leader checks both in one step. That there is
    /// no second message on the subject is then the stream's own rule (`discard_new_per_subject`).
    pub(crate) async fn publish_behind(
        &self,
        fence: &Fence,
        subject: String,
        message: &impl Serialize,
    ) -> Result<Once, BusError> {
        let message = trace::carry(Write::new(subject, to_json(message)?));
        Ok(match self.write(&self.control, message, fence).await? {
            Fate::Stored => Once::Stored,
            Fate::Taken => Once::Existed,
            Fate::Late => Once::Late,
        })
    }

    /// Stores a message while `fence` stands, whatever happens to the servers meanwhile.
    pub(crate) async fn write<I>(
        &self,
        stream: &Stream<I>,
        write: Write,
        fence: &Fence,
    ) -> Result<Fate, BusError> {
        let mut pauses = Pauses::new();
        loop {
            let error = match self.try_write(&write, fence).await {
                Ok(()) => return Ok(Fate::Stored),
                Err(error) => error,
            };
            if is_final(&error) {
                return Err(BusError::new(format!("publish {}", write.subject), error));
            }
            // Refused, or still under way, or stored and not confirmed.
            let is_refused = is_conflict(&error);
            if let Some(fate) = fate(stream, &write, fence, is_refused).await? {
                return Ok(fate);
            }
            if !pauses.pause().await {
                return Err(BusError::new(format!("publish {}", write.subject), error));
            }
        }
    }

    async fn try_write(&self, write: &Write, fence: &Fence) -> Result<(), PublishError> {
        let message = write.message.clone().expected_last_subject_sequence(fence.sequence);
        let message = if fence.subject == write.subject {
            message
        } else {
            message.header(EXPECTED_SUBJECT, fence.subject.as_str())
        };
        self.js.send_publish(write.subject.clone(), message).await?.await?;
        Ok(())
    }

    /// Publishes a message that may be stored several times, such as one that replaces what was on
    /// its subject before.
    pub(crate) async fn publish(
        &self,
        subject: &str,
        message: PublishMessage,
    ) -> Result<(), BusError> {
        let publish = || async {
            self.js.send_publish(subject.to_owned(), message.clone()).await?.await.map(drop)
        };
        patiently(|| format!("publish {subject}"), publish).await
    }
}

/// A message that is to be stored.
pub(crate) struct Write {
    subject: String,
    payload: Bytes,
    message: PublishMessage,
}

impl Write {
    pub(crate) fn new(subject: String, payload: Bytes) -> Self {
        let message = PublishMessage::build().payload(payload.clone());
        Self { subject, payload, message }
    }

    pub(crate) fn header(self, name: impl IntoHeaderName, value: &str) -> Self {
        Self { message: self.message.header(name, value), ..self }
    }
}

/// What became of a write that was not confirmed, if that can be told.
async fn fate<I>(
    stream: &Stream<I>,
    write: &Write,
    fence: &Fence,
    is_refused: bool,
) -> Result<Option<Fate>, BusError> {
    let found = last_message(stream, &write.subject).await?;
    let is_own_fence = fence.subject == write.subject;
    let sequence = found.as_ref().map_or(0, |found| found.sequence);
    if let Some(found) = found.filter(|_| !is_own_fence || sequence != fence.sequence) {
        let is_ours = found.payload == write.payload;
        return Ok(Some(if is_ours { Fate::Stored } else { Fate::Taken }));
    }
    let stands = if is_own_fence {
        sequence == fence.sequence
    } else {
        let base = last_message(stream, &fence.subject).await?;
        base.map_or(0, |base| base.sequence) == fence.sequence
    };
    // A leader also refuses for a write in flight that may yet come to nothing.
    Ok(if stands || !is_refused { None } else { Some(Fate::Late) })
}

/// The message on `subject`, asked from the stream's leader.
pub(crate) async fn last_message<I>(
    stream: &Stream<I>,
    subject: &str,
) -> Result<Option<StreamMessage>, BusError> {
    let read = || async {
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    patiently(|| format!("read {subject}"), read).await
}

/// The first message on `subject`, which may be a wildcard, past the sequence `after`.
pub(crate) async fn next_message<I>(
    stream: &Stream<I>,
    subject: &str,
    after: u64,
) -> Result<Option<StreamMessage>, BusError> {
    let read = || async {
        match stream.get_first_raw_message_by_subject(subject, after + 1).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error),
        }
    };
    patiently(|| format!("read {subject} past {after}"), read).await
}

/// Deletes all messages on a subject, which may be a wildcard.
pub(crate) async fn purge<I>(stream: &Stream<I>, subject: &str) -> Result<(), BusError> {
    let purge = || async { stream.purge().filter(subject).await.map(drop) };
    patiently(|| format!("delete {subject}"), purge).await
}

/// Deletes the message of that sequence on a subject, and what was there before; nothing later.
pub(crate) async fn purge_to<I>(
    stream: &Stream<I>,
    subject: &str,
    sequence: u64,
) -> Result<(), BusError> {
    let purge = || async { stream.purge().sequence(sequence + 1).filter(subject).await.map(drop) };
    patiently(|| format!("delete {subject} up to {sequence}"), purge).await
}

/// Makes a request that can be repeated, until there is an answer.
pub(crate) async fn patiently<T, E, F>(
    what: impl Fn() -> String,
    mut request: impl FnMut() -> F,
) -> Result<T, BusError>
where
    E: StdError + Send + Sync + 'static,
    F: Future<Output = Result<T, E>>,
{
    let mut pauses = Pauses::new();
    loop {
        let error = match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if is_final(&error) || !pauses.pause().await {
            return Err(BusError::new(what(), error));
        }
        tracing::debug!(what = what(), %error, "trying on");
    }
}

/// Pauses between tries, until they have taken too long.
pub(crate) struct Pauses {
    until: Instant,
    next: Duration,
}

impl Pauses {
    pub(crate) fn new() -> Self {
        Self { until: Instant::now() + PATIENCE, next: FIRST_PAUSE }
    }

    /// False if it is time to give up.
    pub(crate) async fn pause(&mut self) -> bool {
        if Instant::now() > self.until {
            return false;
        }
        sleep(self.next).await;
        self.next = (2 * self.next).min(LAST_PAUSE);
        true
    }
}

/// True if another writer was ahead: 10071, or 10164 on a replicated stream while the other's write
/// is in flight. async-nats has a kind of its own only for the first.
pub(crate) fn is_conflict(error: &(dyn StdError + 'static)) -> bool {
    let conflicts =
        [ErrorCode::STREAM_WRONG_LAST_SEQUENCE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT];
    answer(error).is_some_and(|answer| conflicts.contains(&answer.error_code()))
}

/// True if trying again would give the same.
pub(crate) fn is_final(error: &(dyn StdError + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<PublishError>()
        && error.kind() == PublishErrorKind::MaxPayloadExceeded
    {
        return true;
    }
    // Like HTTP, the server says with 4xx that the request is at fault; with 429 that it has too
    // many of them, and with a conflict that another one was ahead.
    let is_at_fault = |answer: &jetstream::Error| {
        let is_4xx = (400..500).contains(&answer.code()) && answer.code() != 429;
        is_4xx || answer.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED
    };
    full(error).is_some() || !is_conflict(error) && answer(error).is_some_and(is_at_fault)
}

/// What there is no room in, if that is why.
pub(crate) fn full(error: &(dyn StdError + 'static)) -> Option<Full> {
    let answer = answer(error)?;
    let text = answer.to_string();
    match answer.error_code() {
        ErrorCode::STREAM_STORE_FAILED if text.contains("maximum bytes") => Some(Full::Bucket),
        ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => Some(Full::Storage),
        _ if text.contains("no space left") => Some(Full::Storage),
        _ => None,
    }
}

/// What the server has answered, if it has.
fn answer<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a jetstream::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(answer) = error.downcast_ref() {
            return Some(answer);
        }
        cause = error.source();
    }
    None
}
