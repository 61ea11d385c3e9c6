//! Ctrl-C, and Ctrl-C again.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that mean: stop.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on these signals do not end the process by themselves.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("failed to listen to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Until someone wants everything to stop.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// Until someone is tired of waiting for that. SIGTERM does not count: where Ctrl-C reaches a
    /// script and us, the script often sends SIGTERM on top.
    pub(super) async fn stop_at_once(&mut self) {
        self.interrupt.recv().await;
    }
}
