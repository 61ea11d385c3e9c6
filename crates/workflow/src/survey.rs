//! What those want to see who run it: how much waits and for how long, and what is stored. Each
//! look is one request, and none is repeated: who cannot have it now asks again soon.

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Info;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use crate::bus::{Bus, BusError, During};
use crate::graph::Graph;
use crate::job::Lane;
use crate::names;
use crate::object::Bucket;

/// Requests at a time.
const LOOKS: usize = 8;

/// All of it, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Every lane of every stage.
    pub queues: Vec<Queue>,
    /// Tasks that were given up.
    pub dead_letters: usize,
    /// Every stream and bucket.
    pub stores: Vec<Store>,
}

/// What one lane of a stage has before it.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The stage.
    pub stage: String,
    /// The lane.
    pub lane: Lane,
    /// Tasks that no worker has had yet.
    pub waiting: u64,
    /// Tasks that a worker has, or had and gave back.
    pub in_hand: usize,
    /// Slots of workers that ask for a task and get none.
    pub idle: usize,
    /// When the oldest task that is not done was released, if there is one.
    pub oldest: Option<Timestamp>,
}

/// A stream, or a bucket by the name of its stream.
#[derive(Clone, Debug)]
pub struct Store {
    /// Its name at the server.
    pub name: String,
    /// What it holds, in bytes.
    pub bytes: u64,
    /// What it may hold, if there is a limit.
    pub limit: Option<u64>,
}

impl Bus {
    /// Looks at everything that `graph` has to do with.
    pub async fn survey(&self, graph: &Graph) -> Result<Survey, BusError> {
        let stages = graph.stages().iter();
        let lanes: Vec<(String, Lane)> =
            stages.flat_map(|stage| Lane::ALL.map(|lane| (stage.name.clone(), lane))).collect();
        let queues = futures::stream::iter(lanes)
            .map(|(stage, lane)| self.queue(stage, lane))
            .buffered(LOOKS)
            .try_filter_map(|queue| std::future::ready(Ok(queue)))
            .try_collect();
        let kv = [names::JOBS, names::WORKFLOWS].map(|bucket| format!("KV_{bucket}"));
        let streams =
            [names::STREAM, names::DEAD_STREAM, names::CALLBACK_STREAM].map(str::to_owned);
        let names = streams.into_iter().chain(kv).chain(Bucket::ALL.map(Bucket::stream));
        let stores =
            futures::stream::iter(names).map(|name| self.store(name)).buffered(LOOKS).try_collect();
        let (queues, stores, dead_letters) =
            futures::try_join!(queues, stores, self.count(names::DEAD_STREAM, names::LETTERS))?;
        Ok(Survey { queues, dead_letters, stores })
    }

    /// `None` for a lane that this workflow was set up without.
    async fn queue(&self, stage: String, lane: Lane) -> Result<Option<Queue>, BusError> {
        let name = names::consumer(&stage, lane);
        let found = self.js.get_consumer_from_stream(&name, names::STREAM).await;
        let consumer: Consumer<pull::Config> = match found {
            Ok(consumer) => consumer,
            Err(_) if lane == Lane::Batch => return Ok(None),
            Err(error) => return Err(error).during(format!("look at the consumer `{name}`")),
        };
        let info = consumer.cached_info();
        let (waiting, in_hand) = (info.num_pending, info.num_ack_pending);
        let oldest = if waiting == 0 && in_hand == 0 {
            None
        } else {
            let tasks = names::tasks_of_stage(&stage, lane);
            // All before this one are done.
            let done = info.ack_floor.stream_sequence;
            let first = self.control.get_first_raw_message_by_subject(&tasks, done + 1).await;
            first.ok().and_then(|message| {
                Timestamp::from_nanosecond(message.time.unix_timestamp_nanos()).ok()
            })
        };
        Ok(Some(Queue { stage, lane, waiting, in_hand, idle: info.num_waiting, oldest }))
    }

    async fn store(&self, name: String) -> Result<Store, BusError> {
        let what = format!("look at the stream {name}");
        let api = format!("STREAM.INFO.{name}");
        match self.js.request(api, &serde_json::json!({})).await.during(what.clone())? {
            Response::Ok(Info { state, config, .. }) => {
                let limit = u64::try_from(config.max_bytes).ok().filter(|limit| *limit > 0);
                Ok(Store { name, bytes: state.bytes, limit })
            }
            Response::Err { error } => Err(BusError::new(what, error)),
        }
    }
}
