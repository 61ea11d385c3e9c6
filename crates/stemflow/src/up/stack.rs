//! The order of starting and stopping.

use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::console::{Console, Log, OWN_NAME};
use super::plan::Plan;
use super::process::{Crash, Process, Program};
use super::ready;
use super::signals::Signals;

/// nats-server writes down what it has in memory; that is quick.
const NATS_GRACE: Duration = Duration::from_secs(10);
/// What ends this often before all was ever ready will not do better the next time.
const HOPELESS: u32 = 5;

/// The processes: nats-server, and all that talks through it.
pub(super) struct Stack {
    plan: Plan,
    console: Console,
    log: Log,
    nats: Group,
    workers: Group,
    kill: CancellationToken,
}

/// Processes that are stopped together.
#[derive(Default)]
struct Group {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Group {
    async fn stop(&mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Stack {
    pub(super) fn new(plan: Plan) -> Self {
        let console = Console::new(plan.programs().map(|program| program.name.as_str()));
        let log = console.log(OWN_NAME);
        let (nats, workers, kill) = Default::default();
        Self { plan, console, log, nats, workers, kill }
    }

    /// What to tell once all is ready.
    pub(super) fn welcome(&self) -> String {
        self.plan.welcome()
    }

    /// Starts everything, and comes back when all of it is ready.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        let (crashes, mut crashed) = unbounded_channel();
        self.plan.release_ports();
        tokio::select! {
            result = self.start_in_order(crashes) => result,
            error = hopeless(&mut crashed) => Err(error),
        }
    }

    /// Each once that is ready which it needs: so nothing has to wait, and to say so in the log.
    async fn start_in_order(&mut self, crashes: UnboundedSender<Crash>) -> anyhow::Result<()> {
        let server = self.process(self.plan.nats_server.clone(), NATS_GRACE, &self.nats.stop);
        self.nats.tasks.spawn(server.keep(crashes.clone()));
        ready::nats_server(self.plan.nats_address()).await;
        self.start_worker(self.plan.gateway.clone(), &crashes);
        ready::gateway(&self.plan, &self.log).await?;
        for stage in self.plan.stages.clone() {
            self.start_worker(stage, &crashes);
        }
        ready::stages(&self.plan, &self.log).await
    }

    fn start_worker(&mut self, program: Program, crashes: &UnboundedSender<Crash>) {
        let process = self.process(program, self.plan.grace, &self.workers.stop);
        self.workers.tasks.spawn(process.keep(crashes.clone()));
    }

    fn process(&self, program: Program, grace: Duration, stop: &CancellationToken) -> Process {
        let log = self.console.log(&program.name);
        let (supervisor, stop, kill) = (self.log.clone(), stop.clone(), self.kill.clone());
        Process { program, log, supervisor, grace, stop, kill }
    }

    /// Stops everything, nats-server last: the others still have to say what became of their work.
    pub(super) async fn stop(mut self, signals: &mut Signals) {
        self.log.line("stopping; Ctrl-C again stops at once");
        let stopped = async {
            self.workers.stop().await;
            self.nats.stop().await;
        };
        let kill = async {
            signals.stop_at_once().await;
            self.kill.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stopped => {}
            () = kill => {}
        }
        self.log.line("stopped");
    }
}

/// Until some process has ended so often that there is no sense in going on.
async fn hopeless(crashed: &mut UnboundedReceiver<Crash>) -> anyhow::Error {
    loop {
        match crashed.recv().await {
            Some(Crash { name, in_a_row: HOPELESS.. }) => {
                return anyhow!("{name} does not stay up: see why in the lines of the log above");
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}
