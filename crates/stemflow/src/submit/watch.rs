//! The time until a job has ended.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use workflow::JobId;

use crate::api::{ApiError, Gateway, Status};

const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long the gateway may be away: it may be restarted meanwhile, the job does not mind.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows how the job stands until it has ended. Listens to events; where there are none, or they
/// break off, asks every second, and tries to listen again.
pub(super) async fn until_final(
    gateway: &Gateway,
    job: &JobId,
    mut show: impl FnMut(&Status),
) -> Result<Status, ApiError> {
    let mut last_answer = Instant::now();
    loop {
        if let Some(status) = listen(gateway, job, &mut show).await {
            return Ok(status);
        }
        match gateway.status(job).await {
            Ok(status) => {
                last_answer = Instant::now();
                show(&status);
                if status.state.is_final() {
                    return Ok(status);
                }
            }
            Err(error) if error.may_pass() && last_answer.elapsed() < PATIENCE => {}
            Err(error) => return Err(error),
        }
        sleep(ASK_EVERY).await;
    }
}

/// The final status, if events go on until there is one.
async fn listen(gateway: &Gateway, job: &JobId, show: &mut impl FnMut(&Status)) -> Option<Status> {
    let mut events = gateway.events(job).await.ok()?;
    while let Some(status) = events.next().await {
        show(&status);
        if status.state.is_final() {
            return Some(status);
        }
    }
    None
}
