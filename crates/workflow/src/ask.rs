//! One message of a consumer, asked for by itself: no more is taken than can be dealt with now.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::{StatusCode, Subscriber};
use futures::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use crate::bus::{Bus, BusError, During, to_json};

/// How long one request waits at the server, and so how long someone may wait in vain after the
/// server has lost it. Without heartbeats: a lost request costs no more than this.
pub(crate) const PULL_EXPIRES: Duration = Duration::from_secs(10);
/// After which an answer is lost, past the time that the server was given.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// A request for a message that is on its way.
pub(crate) struct Asked {
    bus: Bus,
    replies: Subscriber,
    limit: Duration,
    what: String,
}

impl Bus {
    /// Asks for one message; the server says at once if there is none, or waits for one. `what` is
    /// what errors call it.
    pub(crate) async fn ask(
        &self,
        stream: &str,
        consumer: &str,
        wait: Option<Duration>,
        what: String,
    ) -> Result<Asked, BusError> {
        let request = match wait {
            Some(wait) => json!({ "batch": 1, "expires": wait.as_nanos() as u64 }),
            None => json!({ "batch": 1, "no_wait": true }),
        };
        let inbox = self.client.new_inbox();
        let replies = self.client.subscribe(inbox.clone()).await.during(what.as_str())?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let sent = self.client.publish_with_reply(subject, inbox, to_json(&request)?).await;
        sent.during(what.as_str())?;
        let limit = wait.unwrap_or_default() + ANSWER_LIMIT;
        Ok(Asked { bus: self.clone(), replies, limit, what })
    }
}

impl Asked {
    /// The message, or that there is none.
    pub(crate) async fn answer(&mut self) -> Result<Option<Message>, BusError> {
        let Ok(Some(reply)) = timeout(self.limit, self.replies.next()).await else {
            return Ok(None);
        };
        match reply.status {
            None => Ok(Some(self.message(reply))),
            Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => Ok(None),
            Some(status) => {
                let reason = reply.description.unwrap_or_else(|| status.to_string());
                Err(BusError::new(self.what.as_str(), reason.to_string()))
            }
        }
    }

    /// Takes the request back; false if it cannot be. What the server has sent in the same moment is
    /// to be had from [`late`](Self::late).
    pub(crate) async fn withdraw(&mut self) -> bool {
        self.replies.drain().await.is_ok()
    }

    /// The next message that was sent before the server knew that the request is withdrawn.
    pub(crate) async fn late(&mut self) -> Option<Message> {
        loop {
            let reply = self.replies.next().await?;
            if reply.status.is_none() {
                return Some(self.message(reply));
            }
        }
    }

    fn message(&self, message: async_nats::Message) -> Message {
        Message { message, context: self.bus.js.clone() }
    }
}
