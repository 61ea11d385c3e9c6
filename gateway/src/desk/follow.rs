//! A job, watched until it ends.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use tokio::time::{Instant, sleep_until, timeout};
use workflow::Job;

use super::{Desk, Status};
use crate::error::ApiError;

/// A job's status is told this often at most.
const PAUSE: Duration = Duration::from_millis(200);
/// Events that come together are told together.
const GATHER: Duration = Duration::from_millis(20);
/// Events can be lost: the record is looked at this often.
const LOOK: Duration = Duration::from_secs(10);

/// The statuses of one job: the present one, then one after each change, the last one final.
pub struct Follower {
    desk: Arc<Desk>,
    events: Subscriber,
    job: Option<Job>,
    told: Option<Instant>,
}

impl Follower {
    /// Begins to watch the job that a client calls `hash`.
    pub async fn new(desk: Arc<Desk>, hash: &str) -> Result<Self, ApiError> {
        let id = super::parse_hash(hash)?;
        // Listen first: what happens between this and the look at the record is not missed.
        let events = desk.bus.events_of(&id).await?;
        let job = desk.job(hash).await?;
        Ok(Self { desk, events, job: Some(job), told: None })
    }

    /// The next status; `None` after a final one, or when the job has been removed.
    pub async fn next(&mut self) -> Result<Option<Status>, ApiError> {
        if let Some(told) = self.told {
            self.wait_for_change(told).await?;
        }
        let Some(job) = &self.job else { return Ok(None) };
        let status = self.desk.status_of(job).await?;
        self.told = Some(Instant::now());
        if job.state.is_final() {
            self.job = None;
        }
        Ok(Some(status))
    }

    async fn wait_for_change(&mut self, told: Instant) -> Result<(), ApiError> {
        let Some(job) = &self.job else { return Ok(()) };
        match timeout(LOOK, self.events.next()).await {
            Ok(Some(event)) => self.note(&event),
            Ok(None) | Err(_) => self.job = self.desk.bus.job(&job.hash).await?,
        }
        let until = (told + PAUSE).max(Instant::now() + GATHER);
        let pause = sleep_until(until);
        tokio::pin!(pause);
        while self.job.as_ref().is_some_and(|job| !job.state.is_final()) {
            tokio::select! {
                () = &mut pause => return Ok(()),
                Some(event) = self.events.next() => self.note(&event),
            }
        }
        Ok(())
    }

    /// An event that carries a job's record is its newest; any other only wakes.
    fn note(&mut self, event: &Message) {
        if let Ok(job) = serde_json::from_slice(&event.payload) {
            self.job = Some(job);
        }
    }
}
