//! The connection to NATS, and the few ways in which Stemflow writes to it.

use std::error::Error as StdError;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{self, Context, kv, stream};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::config::Config;
use crate::connect::{REQUEST_TIMEOUT, connect};
use crate::names;
use crate::write::{self, patiently};

/// How long a process that ends waits until its last words are sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

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

    /// What is full, if that is why.
    pub fn full(&self) -> Option<Full> {
        write::full(&*self.source)
    }
}

/// What has no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// One bucket: its quota is used up.
    Bucket,
    /// The servers, or the disk under them.
    Storage,
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
        Self::on(connect(config).await?).await
    }

    /// The same over a connection that there is: one that ends would be told as the process's own.
    pub(crate) async fn on(client: Client) -> Result<Self, BusError> {
        let js = context(&client);
        let control = js.get_stream_no_info(names::STREAM).await.during("open the stream")?;
        let open = async |bucket: &'static str| {
            let what = || format!("open the bucket `{bucket}`");
            patiently(what, || js.get_key_value(bucket)).await
        };
        let (jobs, workflows) = (open(names::JOBS).await?, open(names::WORKFLOWS).await?);
        Ok(Self { client, js, control, jobs, workflows })
    }

    /// The connection itself, for what is not the workflow's business.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until all that was said is sent. While NATS is away there would be no end of that: then
    /// it stays unsaid, as it does in a crash.
    pub async fn flush(&self) {
        let _ = timeout(LAST_WORDS, self.client.flush()).await;
    }

    /// True while there is a connection to a server.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }
}

pub(crate) fn context(client: &Client) -> Context {
    jetstream::ContextBuilder::new().timeout(REQUEST_TIMEOUT).build(client.clone())
}

pub(crate) fn to_json(record: &impl Serialize) -> Result<Bytes, BusError> {
    Ok(serde_json::to_vec(record).during("write a record as JSON")?.into())
}

pub(crate) fn from_json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, BusError> {
    serde_json::from_slice(bytes).during(format!("understand {what}"))
}
