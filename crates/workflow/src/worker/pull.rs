//! Where tasks come from: the stage's consumer, asked for one task at a time.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{Consumer, pull};
use futures::StreamExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{CONNECT_RETRY, Worker};
use crate::bus::{Bus, BusError, During};
use crate::config::Config;
use crate::names;
use crate::stage::Stage;

/// How long one request for a task waits at the server, and so how long a worker may wait in vain
/// after the server has lost it. Not with the library's heartbeats: its batch (0.51) goes to sleep
/// on the first of them and leaves a task that comes later lying until the request expires.
const PULL_EXPIRES: Duration = Duration::from_secs(10);

pub(super) type PullConsumer = Consumer<pull::Config>;

/// Connects, and waits for the consumer, which `stemflow init` or the gateway makes.
pub(super) async fn open(
    stage: &str,
    config: &Config,
    shutdown: &CancellationToken,
) -> Option<(Bus, PullConsumer)> {
    let mut told = false;
    loop {
        let opened = tokio::select! {
            () = shutdown.cancelled() => return None,
            opened = try_open(stage, config) => opened,
        };
        match opened {
            Ok(opened) => return Some(opened),
            Err(error) if !told => {
                tracing::warn!(stage, %error, "not set up yet, waiting: `stemflow init` or the gateway makes it");
                told = true;
            }
            Err(error) => tracing::debug!(stage, %error, "still waiting"),
        }
        sleep(CONNECT_RETRY).await;
    }
}

async fn try_open(stage: &str, config: &Config) -> Result<(Bus, PullConsumer), BusError> {
    let bus = Bus::open(config).await?;
    let consumer = bus.js.get_consumer_from_stream(stage, names::STREAM).await;
    Ok((bus, consumer.during(format!("open the consumer `{stage}`"))?))
}

impl<S: Stage> Worker<S> {
    pub(super) async fn pull(&self) -> Result<Option<Message>, BusError> {
        let what = || format!("ask for a task of `{}`", self.stage.name());
        let request = self.consumer.batch().max_messages(1).expires(PULL_EXPIRES);
        let mut messages = request.messages().await.during(what())?;
        messages.next().await.transpose().during(what())
    }
}
