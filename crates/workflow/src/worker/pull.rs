//! Where tasks come from: the stage's two consumers, one for each lane, asked for one task at a time.
//!
//! First the lane whose turn it is and then the other, which answer at once; if they have nothing,
//! both are asked to tell as soon as they have something, and the request that comes to nothing is
//! taken back. So an idle worker has the next task at once, whichever lane it is in, and a busy one
//! keeps the order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{Consumer, pull};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{CONNECT_RETRY, decline};
use crate::ask::{Asked, PULL_EXPIRES};
use crate::bus::{Bus, BusError, During};
use crate::config::Config;
use crate::job::Lane;
use crate::names;

/// Connects, and waits for the consumers, which `stemflow init` or the gateway makes.
pub(super) async fn open(
    stage: &str,
    config: &Config,
    shutdown: &CancellationToken,
) -> Option<Bus> {
    let mut told = String::new();
    loop {
        let opened = tokio::select! {
            () = shutdown.cancelled() => return None,
            opened = try_open(stage, config) => opened,
        };
        let error = match opened {
            Ok(bus) => return Some(bus),
            Err(error) => error.to_string(),
        };
        if error != told {
            tracing::warn!(
                stage,
                error,
                "not set up yet, waiting: `stemflow init` or the gateway makes what is missing"
            );
            told = error;
        }
        sleep(CONNECT_RETRY).await;
    }
}

async fn try_open(stage: &str, config: &Config) -> Result<Bus, BusError> {
    let bus = Bus::open(config).await?;
    for lane in Lane::ALL {
        let name = names::consumer(stage, lane);
        let consumer = bus.js.get_consumer_from_stream(&name, names::STREAM).await;
        let _: Consumer<pull::Config> = consumer.during(format!("open the consumer `{name}`"))?;
    }
    Ok(bus)
}

/// The tasks of a stage, for all slots of one process.
pub(super) struct Pull {
    bus: Bus,
    stage: &'static str,
    batch_share: usize,
    turn: AtomicUsize,
    /// The last task had been waited for, and there was no other: it is not worth asking whether
    /// there is one now.
    was_last: AtomicBool,
}

impl Pull {
    pub(super) fn new(bus: Bus, stage: &'static str, batch_share: usize) -> Self {
        let (turn, was_last) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { bus, stage, batch_share, turn, was_last }
    }

    /// The next task; `None` if there was none for a while.
    pub(super) async fn task(&self) -> Result<Option<Message>, BusError> {
        if !self.was_last.swap(false, Ordering::Relaxed) {
            for lane in self.lanes_of_turn() {
                let task = self.ask(lane, None).await?.answer().await?;
                if task.is_some() {
                    return Ok(task);
                }
            }
        }
        let task = self.either().await?;
        let is_last = |task: &Message| task.info().is_ok_and(|info| info.pending == 0);
        self.was_last.store(task.as_ref().is_some_and(is_last), Ordering::Relaxed);
        Ok(task)
    }

    /// Every so many turns the lane `batch` comes first, so that it goes on however long the other is.
    fn lanes_of_turn(&self) -> [Lane; 2] {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        let [interactive, batch] = Lane::ALL;
        if turn.is_multiple_of(self.batch_share) { [batch, interactive] } else { Lane::ALL }
    }

    /// The first task that comes, of whichever lane.
    async fn either(&self) -> Result<Option<Message>, BusError> {
        let mut interactive = self.ask(Lane::Interactive, Some(PULL_EXPIRES)).await?;
        let mut batch = self.ask(Lane::Batch, Some(PULL_EXPIRES)).await?;
        let (task, mut other) = tokio::select! {
            biased;
            task = interactive.answer() => (task?, batch),
            task = batch.answer() => (task?, interactive),
        };
        if task.is_none() {
            // Its time is up as well.
            return other.answer().await;
        }
        self.take_back(other);
        Ok(task)
    }

    async fn ask(&self, lane: Lane, wait: Option<Duration>) -> Result<Asked, BusError> {
        let what = format!("ask for a task of `{}`", self.stage);
        self.bus.ask(names::STREAM, &names::consumer(self.stage, lane), wait, what).await
    }

    /// The server forgets a request that nobody listens for any more. A task that it has sent in
    /// the same moment is another worker's at once, or if it is missed here as well, once its lease
    /// has run out.
    fn take_back(&self, mut asked: Asked) {
        let bus = self.bus.clone();
        tokio::spawn(async move {
            if !asked.withdraw().await {
                return;
            }
            while let Some(task) = asked.late().await {
                decline(&bus, task).await;
            }
        });
    }
}
