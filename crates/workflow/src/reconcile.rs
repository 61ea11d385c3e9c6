//! The reconciler: sees through what a crash left half done. Every gateway replica runs one; they
//! need not agree, since everything they do can be done twice.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError};
use crate::job::Job;

const EVERY: Duration = Duration::from_secs(30);
/// A job that has not moved for this long is looked at.
const STILL: SignedDuration = SignedDuration::from_secs(60);

/// Looks after all jobs until `shutdown`.
pub async fn reconcile(bus: Bus, shutdown: CancellationToken) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        if let Err(error) = pass(&bus).await {
            tracing::warn!(%error, "could not look after all jobs");
        }
    }
}

async fn pass(bus: &Bus) -> Result<(), BusError> {
    let now = Timestamp::now();
    for job in bus.all_jobs().await? {
        if now.duration_since(job.updated) >= STILL {
            bus.look_after(&job).await?;
        }
    }
    Ok(())
}

impl Bus {
    /// Does what is due for a job, whoever should have done it: frees it if it has ended, releases
    /// what can be released if it has not.
    pub async fn look_after(&self, job: &Job) -> Result<(), BusError> {
        if job.state.is_final() {
            return self.free(job).await;
        }
        let graph = self.graph(&job.workflow).await?;
        let moved = self.advance(&job.run_id(), &graph).await?;
        match moved {
            Some(job) if job.state.is_final() => self.free(&job).await,
            _ => Ok(()),
        }
    }
}
