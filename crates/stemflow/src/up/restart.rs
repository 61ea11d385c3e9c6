//! When a process that has ended is started again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LAST_DELAY: Duration = Duration::from_secs(10);
/// What has run for this long did not fail because of how it was started.
const LONG_RUN: Duration = Duration::from_secs(30);

/// A process has ended by itself, and is started again.
pub(super) struct Ended<How> {
    /// How it ended.
    pub(super) how: How,
    /// How often in a row, without a long run between.
    pub(super) in_a_row: u32,
    /// How long until it is started again.
    pub(super) delay: Duration,
}

/// Runs something again whenever it ends, each time after twice the delay, until `stop`.
pub(super) async fn keep_running<Run: Future>(
    stop: &CancellationToken,
    mut run: impl FnMut() -> Run,
    mut tell: impl FnMut(Ended<Run::Output>),
) {
    let mut in_a_row = 0;
    loop {
        let began = Instant::now();
        let how = run().await;
        if stop.is_cancelled() {
            return;
        }
        in_a_row = if began.elapsed() < LONG_RUN { in_a_row + 1 } else { 1 };
        let delay = delay_after(in_a_row);
        tell(Ended { how, in_a_row, delay });
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(delay) => {}
        }
    }
}

fn delay_after(in_a_row: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(in_a_row.saturating_sub(1));
    FIRST_DELAY.saturating_mul(doubled).min(LAST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The delays, in milliseconds, after runs of these lengths in seconds.
    async fn delays_after(runs: &[u64]) -> Vec<u128> {
        let stop = CancellationToken::new();
        let mut left = runs.iter();
        let mut delays = Vec::new();
        let run = || {
            let next = left.next();
            next.is_none().then(|| stop.cancel());
            sleep(Duration::from_secs(*next.unwrap_or(&0)))
        };
        keep_running(&stop, run, |ended| delays.push(ended.delay.as_millis())).await;
        delays
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_doubles_up_to_ten_seconds() {
        assert_eq!(
            delays_after(&[0, 1, 29, 0, 0, 0, 0, 0]).await,
            [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_run_begins_the_delays_anew() {
        assert_eq!(delays_after(&[0, 0, 0, 30, 0]).await, [200, 400, 800, 200, 400]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_ends_when_all_is_stopped() {
        let stop = CancellationToken::new();
        let began = Instant::now();
        let mut runs = 0;
        let run = || {
            runs += 1;
            std::future::ready(())
        };
        let keep = keep_running(&stop, run, |_| {});
        tokio::join!(keep, async {
            sleep(Duration::from_millis(100)).await;
            stop.cancel();
        });
        assert_eq!(began.elapsed(), Duration::from_millis(100));
        assert_eq!(runs, 1);
    }
}
