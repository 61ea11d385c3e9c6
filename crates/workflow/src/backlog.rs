//! What the stages still have before them.

use async_nats::jetstream::consumer::{Consumer, pull};

use crate::bus::{Bus, BusError};
use crate::graph::Graph;
use crate::job::Lane;
use crate::names;
use crate::write::patiently;

/// The tasks of one stage that are not done, of all jobs, and who asks for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The stage.
    pub stage: String,
    /// Tasks that no worker has had yet.
    pub waiting: u64,
    /// Tasks that a worker has, or had and gave back.
    pub in_hand: usize,
    /// Requests for a task that wait for one: of idle workers.
    pub asked: usize,
    /// The sequence of the last task that was delivered.
    pub(crate) delivered: u64,
}

impl Backlog {
    /// True if the server will not deliver another task before one is released.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0 && self.in_hand == 0
    }
}

impl Bus {
    /// What each stage of a workflow has before it, in the workflow's order.
    pub async fn backlogs(&self, graph: &Graph) -> Result<Vec<Backlog>, BusError> {
        let mut backlogs = Vec::with_capacity(graph.stages().len());
        for stage in graph.stages() {
            backlogs.push(self.backlog(&stage.name).await?);
        }
        Ok(backlogs)
    }

    /// What one stage has before it, in both lanes.
    pub async fn backlog(&self, stage: &str) -> Result<Backlog, BusError> {
        let mut whole = Backlog { stage: stage.to_owned(), ..Backlog::default() };
        for lane in Lane::ALL {
            let Backlog { waiting, in_hand, asked, delivered, .. } =
                self.backlog_of(stage, lane).await?;
            whole.waiting += waiting;
            whole.in_hand += in_hand;
            // An idle worker asks in both.
            whole.asked = whole.asked.max(asked);
            whole.delivered = whole.delivered.max(delivered);
        }
        Ok(whole)
    }

    /// What one stage has before it in one lane.
    pub async fn backlog_of(&self, stage: &str, lane: Lane) -> Result<Backlog, BusError> {
        let name = names::consumer(stage, lane);
        let look = || self.js.get_consumer_from_stream(&name, names::STREAM);
        let consumer: Consumer<pull::Config> =
            patiently(|| format!("look at the consumer `{name}`"), look).await?;
        let info = consumer.cached_info();
        Ok(Backlog {
            stage: stage.to_owned(),
            waiting: info.num_pending,
            in_hand: info.num_ack_pending,
            asked: info.num_waiting,
            delivered: info.delivered.stream_sequence,
        })
    }
}
