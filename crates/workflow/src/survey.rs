//! What those want to see who run it: how much waits and for how long, and what is stored. Each
//! look is one request, and none is repeated: who cannot have it now asks again soon.

use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Info;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::Deserialize;

use crate::bus::{Bus, BusError, During};
use crate::graph::Graph;
use crate::names;
use crate::object::Bucket;

/// Requests at a time.
const LOOKS: usize = 8;

/// The lanes, and what the names of their consumers end with.
const LANES: [(&str, &str); 2] = [("interactive", ""), ("batch", "-batch")];

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
    pub lane: &'static str,
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

/// A lane to be looked at.
struct Lane {
    stage: String,
    name: &'static str,
    ending: &'static str,
}

/// The part of a stream's info that counts.
#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    total: usize,
}

impl Bus {
    /// Looks at everything that `graph` has to do with.
    pub async fn survey(&self, graph: &Graph) -> Result<Survey, BusError> {
        let mut lanes = Vec::new();
        for stage in graph.stages() {
            lanes.extend(LANES.map(|(name, ending)| Lane {
                stage: stage.name.clone(),
                name,
                ending,
            }));
        }
        let queues = futures::stream::iter(lanes)
            .map(|lane| self.queue(lane))
            .buffered(LOOKS)
            .try_filter_map(|queue| std::future::ready(Ok(queue)))
            .try_collect();
        let kv = [names::JOBS, names::WORKFLOWS].map(|bucket| format!("KV_{bucket}"));
        let streams = [names::STREAM, names::DEAD_STREAM].map(str::to_owned);
        let names = streams.into_iter().chain(kv).chain(Bucket::ALL.map(Bucket::stream));
        let stores =
            futures::stream::iter(names).map(|name| self.store(name)).buffered(LOOKS).try_collect();
        let (queues, stores, dead_letters) =
            futures::try_join!(queues, stores, self.count_dead_letters())?;
        Ok(Survey { queues, dead_letters, stores })
    }

    /// `None` for a lane that this workflow was set up without.
    async fn queue(&self, lane: Lane) -> Result<Option<Queue>, BusError> {
        let Lane { stage, name: lane, ending } = lane;
        let name = format!("{stage}{ending}");
        let found = self.js.get_consumer_from_stream(&name, names::STREAM).await;
        let consumer: Consumer<pull::Config> = match found {
            Ok(consumer) => consumer,
            Err(_) if !ending.is_empty() => return Ok(None),
            Err(error) => return Err(error).during(format!("look at the consumer `{name}`")),
        };
        let info = consumer.cached_info();
        let (waiting, in_hand) = (info.num_pending, info.num_ack_pending);
        let oldest = if waiting == 0 && in_hand == 0 {
            None
        } else {
            let tasks = format!("stemflow.task.{stage}.{lane}.>");
            // All before this one are done.
            let done = info.ack_floor.stream_sequence;
            let first = self.control.get_first_raw_message_by_subject(&tasks, done + 1).await;
            first.ok().and_then(|message| {
                Timestamp::from_nanosecond(message.time.unix_timestamp_nanos()).ok()
            })
        };
        Ok(Some(Queue { stage, lane, waiting, in_hand, idle: info.num_waiting, oldest }))
    }

    async fn count_dead_letters(&self) -> Result<usize, BusError> {
        let request = serde_json::json!({ "subjects_filter": names::LETTERS, "offset": u32::MAX });
        let api = format!("STREAM.INFO.{}", names::DEAD_STREAM);
        match self.js.request(api, &request).await.during("count the dead letters")? {
            Response::Ok(Counted { total }) => Ok(total),
            Response::Err { error } => Err(BusError::new("count the dead letters", error)),
        }
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
