//! The connection to NATS, and the few ways in which Stemflow writes to it.

use std::error::Error as StdError;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context, ErrorCode, kv, stream};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::names;

/// Something between us and NATS did not work. What to do is always the same: try again later,
/// everything written here can be written again.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what}: {source}")]
pub struct BusError {
    what: String,
    source: Box<dyn StdError + Send + Sync>,
}

impl BusError {
    pub(crate) fn new(
        what: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { what: what.into(), source: source.into() }
    }
}

/// Turns any error into a [`BusError`] that says what was tried.
pub(crate) trait During<T> {
    fn during(self, what: impl Into<String>) -> Result<T, BusError>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> During<T> for Result<T, E> {
    fn during(self, what: impl Into<String>) -> Result<T, BusError> {
        self.map_err(|source| BusError::new(what, source))
    }
}

/// What became of a message that may exist only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Once {
    /// It is stored now, and this call did it.
    Stored,
    /// It is there: it was before, or an earlier try at this call has done it.
    Existed,
    /// Its fence is down: it came too late.
    Late,
}

/// A message of the control stream that must still be there when another one is stored.
pub(crate) struct Fence {
    pub(crate) subject: String,
    pub(crate) sequence: u64,
}

/// Whose last sequence is expected, if not that of the message's own subject.
const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// How long any one request to NATS may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a write is tried again whose fate is unknown.
const WRITE_ATTEMPTS: u32 = 6;

/// The control stream, the job records and the object buckets of one Stemflow.
#[derive(Clone)]
pub struct Bus {
    pub(crate) client: Client,
    pub(crate) js: Context,
    pub(crate) control: stream::Stream<()>,
    pub(crate) jobs: kv::Store,
    pub(crate) workflows: kv::Store,
}

impl Bus {
    /// Connects, and opens what [`crate::layout::ensure`] has made.
    pub async fn open(config: &Config) -> Result<Self, BusError> {
        let client = connect(config).await?;
        let js = context(&client);
        let control = js.get_stream_no_info(names::STREAM).await.during("open the stream")?;
        let jobs = js.get_key_value(names::JOBS).await.during("open the bucket `jobs`")?;
        let workflows =
            js.get_key_value(names::WORKFLOWS).await.during("open the bucket `workflows`")?;
        Ok(Self { client, js, control, jobs, workflows })
    }

    /// The connection itself, for what is not the workflow's business.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// True while there is a connection to a server.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Publishes a message to a subject of the control stream that may hold one message, ever.
    ///
    /// `Nats-Expected-Last-Subject-Sequence: 0` makes the stream's leader refuse a second one;
    /// unlike a duplicate window it has no end before the stream's `max_age`.
    pub(crate) async fn publish_once(
        &self,
        subject: String,
        message: &impl Serialize,
    ) -> Result<Once, BusError> {
        let payload = to_json(message)?;
        let message = PublishMessage::build().payload(payload).expected_last_subject_sequence(0);
        self.publish_until_known(&subject, message).await
    }

    /// The same, and only while `fence` stands: the leader checks both in one step. That there is
    /// no second message on the subject is then the stream's own rule (`discard_new_per_subject`).
    pub(crate) async fn publish_behind(
        &self,
        fence: &Fence,
        subject: String,
        message: &impl Serialize,
    ) -> Result<Once, BusError> {
        let message = PublishMessage::build()
            .payload(to_json(message)?)
            .expected_last_subject_sequence(fence.sequence)
            .header(EXPECTED_SUBJECT, fence.subject.as_str());
        self.publish_until_known(&subject, message).await
    }

    async fn publish_until_known(
        &self,
        subject: &str,
        message: PublishMessage,
    ) -> Result<Once, BusError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let error = match self.try_publish(subject, message.clone()).await {
                Ok(()) => return Ok(Once::Stored),
                Err(error) => error,
            };
            let refusal = refusal(&error);
            if matches!(refusal, Refusal::Error) {
                return Err(BusError::new(format!("publish {subject}"), error));
            }
            // Refused, or another write is in flight, or its fate is unknown: look.
            let exists = self.last_message(subject).await?.is_some();
            match refusal {
                _ if exists => return Ok(Once::Existed),
                Refusal::WrongSequence => return Ok(Once::Late),
                _ if attempt < WRITE_ATTEMPTS => {
                    tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
                }
                _ => return Err(BusError::new(format!("publish {subject}"), error)),
            }
        }
    }

    async fn try_publish(
        &self,
        subject: &str,
        message: PublishMessage,
    ) -> Result<(), PublishError> {
        self.js.send_publish(subject.to_owned(), message).await?.await?;
        Ok(())
    }

    /// The message on `subject`, asked from the stream's leader: it has all that was acknowledged.
    pub(crate) async fn last_message(&self, subject: &str) -> Result<Option<Bytes>, BusError> {
        use async_nats::jetstream::stream::LastRawMessageErrorKind::NoMessageFound;
        match self.control.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == NoMessageFound => Ok(None),
            Err(error) => Err(BusError::new(format!("read {subject}"), error)),
        }
    }
}

pub(crate) async fn connect(config: &Config) -> Result<Client, BusError> {
    let options = ConnectOptions::new()
        .name(&config.name)
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(REQUEST_TIMEOUT))
        .event_callback(|event| async move { tracing::debug!(%event, "nats") });
    let servers: Vec<&str> = config.nats_url.split(',').map(str::trim).collect();
    let client = options
        .connect(servers.as_slice())
        .await
        .during(format!("connect to NATS at {}", config.nats_url))?;
    Ok(client)
}

pub(crate) fn context(client: &Client) -> Context {
    jetstream::ContextBuilder::new().timeout(REQUEST_TIMEOUT).build(client.clone())
}

enum Refusal {
    WrongSequence,
    Unclear,
    Error,
}

/// async-nats maps only 10071 to a kind of its own; a replicated stream answers 10164 instead
/// while another write to the subject is in flight.
fn refusal(error: &PublishError) -> Refusal {
    let code = StdError::source(error)
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .map(jetstream::Error::error_code);
    match (error.kind(), code) {
        (PublishErrorKind::WrongLastSequence, _) => Refusal::WrongSequence,
        (
            _,
            Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT | ErrorCode::STREAM_STORE_FAILED),
        ) => Refusal::Unclear,
        (PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe, _) => Refusal::Unclear,
        // No leader answers at the moment.
        (PublishErrorKind::StreamNotFound, _) => Refusal::Unclear,
        _ => Refusal::Error,
    }
}

pub(crate) fn to_json(record: &impl Serialize) -> Result<Bytes, BusError> {
    Ok(serde_json::to_vec(record).during("write a record as JSON")?.into())
}

pub(crate) fn from_json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, BusError> {
    serde_json::from_slice(bytes).during(format!("understand {what}"))
}
