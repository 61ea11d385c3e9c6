//! SIGINT and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first signal cancels. The second one ends the process on the spot.
///
/// # Panics
/// If the process may not listen to signals.
pub fn on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    let listen = |kind| signal(kind).expect("a process may listen to its signals");
    let mut interrupt = listen(SignalKind::interrupt());
    let mut terminate = listen(SignalKind::terminate());
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! { _ = interrupt.recv() => 130, _ = terminate.recv() => 143 }
        };
        next().await;
        tracing::info!("stopping: no new work, finishing what is in hand");
        cancelled.cancel();
        std::process::exit(next().await);
    });
    token
}
