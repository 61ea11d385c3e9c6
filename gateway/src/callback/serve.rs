//! Takes notices, and sees each to its end: heard, or given up.
//!
//! All replicas share the notices. One that is not heard goes back with a delay as long as it has
//! been owed by then, which doubles from try to try, and needs no memory.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use workflow::{Bus, Notice};

use super::send::{Answer, Sender};
use super::turns::Turns;
use super::{Callback, Guard, Secret};
use crate::desk::Status;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::metrics::Called;

/// Callbacks under way at a time.
const AT_A_TIME: usize = 128;
/// How long to wait before NATS is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// How patient the gateway is with those who do not answer.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the first try to the second, at least.
    pub first: Duration,
    /// From one try to the next, at most.
    pub longest: Duration,
    /// After which a notice is given up.
    pub all: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let hour = Duration::from_secs(60 * 60);
        Self { first: Duration::from_secs(5), longest: hour, all: 24 * hour }
    }
}

impl Pace {
    /// When to try again what has been owed for so long; `None` if it is given up.
    fn delay(&self, age: Duration) -> Option<Duration> {
        (age < self.all).then(|| age.clamp(self.first, self.longest))
    }
}

/// Who tells those who wait for the end of a job.
pub struct Caller {
    gateway: Arc<Gateway>,
    sender: Sender,
    guard: Guard,
    pace: Pace,
    turns: Turns,
}

/// What is told: the job's status, and what the client has sent along.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    status: Status,
    data: &'a Value,
}

impl Caller {
    /// One who signs with `secret`, if there is any.
    ///
    /// # Errors
    /// If this machine has no certificates of those who vouch for HTTPS.
    pub fn new(
        gateway: Arc<Gateway>,
        guard: Guard,
        secret: Option<Secret>,
        pace: Pace,
    ) -> anyhow::Result<Self> {
        let sender = Sender::new(guard, secret)?;
        Ok(Self { gateway, sender, guard, pace, turns: Turns::default() })
    }

    /// Takes notices until `shutdown`, then finishes those under way.
    pub async fn serve(self: Arc<Self>, bus: Bus, shutdown: CancellationToken) {
        let mut running = JoinSet::new();
        loop {
            while running.try_join_next().is_some() {}
            if running.len() >= AT_A_TIME {
                running.join_next().await;
            }
            let next = tokio::select! {
                () = shutdown.cancelled() => break,
                next = bus.next_notice() => next,
            };
            match next {
                Ok(Some(notice)) => {
                    running.spawn(Arc::clone(&self).see_to(notice));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "no notice could be asked for");
                    sleep(RETRY).await;
                }
            }
        }
        while running.join_next().await.is_some() {}
    }

    async fn see_to(self: Arc<Self>, notice: Notice) {
        let callback = match Callback::read(&notice.callback, self.guard) {
            Ok(callback) => callback,
            Err(reason) => return self.end(notice, "", Called::Refused, &reason).await,
        };
        let server = callback.server();
        let _turn = match self.turns.take(&server) {
            Ok(turn) => turn,
            Err(wait) => return notice.postpone(wait).await,
        };
        match self.call(&notice, &callback).await {
            Ok(Answer::Heard) => self.end(notice, &server, Called::Told, "heard").await,
            Ok(Answer::Gone) => self.end(notice, &server, Called::Gone, "the answer is 410").await,
            Ok(Answer::Refused(reason)) => {
                self.end(notice, &server, Called::Refused, &reason).await;
            }
            Ok(Answer::Failed(reason)) => self.not_heard(notice, &server, &reason).await,
            Err(error) => {
                tracing::debug!(job = %notice.job.hash, %error, "a callback waits for NATS");
                notice.postpone(self.pace.first).await;
            }
        }
    }

    async fn call(&self, notice: &Notice, callback: &Callback) -> Result<Answer, ApiError> {
        let status = self.gateway.desk()?.status_of(&notice.job).await?;
        let body = serde_json::to_string(&Told { status, data: &callback.data })
            .map_err(|error| ApiError::Internal(error.into()))?;
        Ok(self.sender.send(callback, &notice.job, &notice.id, body).await)
    }

    async fn not_heard(&self, notice: Notice, server: &str, reason: &str) {
        let Some(delay) = self.pace.delay(notice.age) else {
            return self.end(notice, server, Called::GivenUp, reason).await;
        };
        let Notice { id, job, .. } = &notice;
        tracing::info!(job = %job.hash, id, server, reason, ?delay, "callback not heard, will retry");
        self.gateway.metrics.called(Called::Retry);
        notice.postpone(delay).await;
    }

    async fn end(&self, notice: Notice, server: &str, outcome: Called, reason: &str) {
        let (job, id) = (notice.job.hash.clone(), notice.id.clone());
        match outcome {
            Called::Told => tracing::info!(%job, id, server, "callback told"),
            _ => tracing::warn!(%job, id, server, reason, "callback given up"),
        }
        self.gateway.metrics.called(outcome);
        if let Err(error) = notice.settle().await {
            tracing::warn!(%job, id, %error, "a callback is told again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_at_growing_distance_for_a_day() {
        let pace = Pace::default();
        let (mut age, mut delays) = (Duration::ZERO, Vec::new());
        while let Some(delay) = pace.delay(age) {
            delays.push(delay.as_secs());
            age += delay;
        }
        assert_eq!(delays[..6], [5, 5, 10, 20, 40, 80]);
        assert_eq!((delays.iter().max(), delays.len()), (Some(&3600), 34));
        assert!(age >= pace.all && age < pace.all + pace.longest, "{age:?}");
    }
}
