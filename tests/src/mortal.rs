use std::process::Command;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::stack::Deadline;
use crate::wire::{Deed, Point, Wire};

/// A process that is started again whenever it is dead, as a supervisor does; killed when dropped.
pub struct Mortal {
    deaths: watch::Receiver<usize>,
    lives: JoinHandle<()>,
}

impl Mortal {
    /// Starts the process that `command` makes for a `NATS_URL`. The first `times` that it comes to
    /// `point`, it is killed there.
    pub fn killed_at(
        point: Point,
        times: usize,
        nats_url: String,
        command: impl Fn(&str) -> Command + Send + 'static,
    ) -> Self {
        Self::start(Some(point), times, nats_url, command)
    }

    /// Starts a process that dies by itself.
    pub fn frail(nats_url: String, command: impl Fn(&str) -> Command + Send + 'static) -> Self {
        Self::start(None, 0, nats_url, command)
    }

    fn start(
        point: Option<Point>,
        times: usize,
        nats_url: String,
        command: impl Fn(&str) -> Command + Send + 'static,
    ) -> Self {
        let (died, deaths) = watch::channel(0);
        let lives = tokio::spawn(async move {
            loop {
                let trap = point.filter(|_| *died.borrow() < times);
                let wire = Wire::lay(&nats_url, trap.map(|point| (point, Deed::Hang))).await;
                live(&wire, command(wire.url())).await;
                died.send_modify(|deaths| *deaths += 1);
            }
        });
        Self { deaths, lives }
    }

    /// How often it has died.
    pub fn deaths(&self) -> usize {
        *self.deaths.borrow()
    }

    /// Waits until it has died so often.
    ///
    /// # Panics
    /// Past the deadline.
    pub async fn wait_for_death(&self, number: usize, deadline: Deadline) {
        while self.deaths() < number {
            deadline.pause_async(|| format!("died {} times", self.deaths())).await;
        }
    }
}

/// One life, to its end by the wire or by itself.
async fn live(wire: &Wire, command: Command) {
    let mut command = tokio::process::Command::from(command);
    let mut process = command.kill_on_drop(true).spawn().expect("the process can be started");
    tokio::select! {
        () = wire.struck() => {
            // SIGKILL: no destructor runs, nothing is flushed.
            process.kill().await.expect("a process can be killed");
        }
        ended = process.wait() => {
            ended.expect("a process ends");
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.lives.abort();
    }
}
