//! What the stages still have before them.

use async_nats::jetstream::consumer::{Consumer, pull};

use crate::bus::{Bus, BusError};
use crate::graph::Graph;
use crate::names;
use crate::write::patiently;

/// The tasks of one stage that are not done, of all jobs, and who asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
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

    /// What one stage has before it.
    pub async fn backlog(&self, stage: &str) -> Result<Backlog, BusError> {
        let look = || self.js.get_consumer_from_stream(stage, names::STREAM);
        let consumer: Consumer<pull::Config> =
            patiently(|| format!("look at the consumer `{stage}`"), look).await?;
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
