//! When the stack is ready: nats-server takes connections, the gateway says so of itself, and each
//! stage has asked for a task.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use workflow::{Access, Bus, Config};

use super::console::Log;
use super::plan::Plan;
use crate::api::Gateway;

const ASK_EVERY: Duration = Duration::from_millis(100);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Until it takes connections.
pub(super) async fn nats_server(address: SocketAddr) {
    while TcpStream::connect(address).await.is_err() {
        sleep(ASK_EVERY).await;
    }
}

/// Until it says so of itself. It has made the streams and consumers then.
pub(super) async fn gateway(plan: &Plan, log: &Log) -> anyhow::Result<()> {
    let gateway = Gateway::new(&plan.url())?;
    let mut patience = Patience::new(log);
    while !gateway.is_ready().await {
        patience.wait_for("the gateway").await;
    }
    Ok(())
}

/// Until each stage has asked for a task.
pub(super) async fn stages(plan: &Plan, log: &Log) -> anyhow::Result<()> {
    let name = "stemflow up".to_owned();
    let access = Access::default();
    let config =
        Config { nats_url: plan.nats_url(), access, name, ..Config::from_env("stemflow")? };
    let bus = Bus::open(&config).await.context("failed to look at the stages")?;
    let mut patience = Patience::new(log);
    for scale in &plan.scale {
        while attentive(&bus, &scale.stage).await < scale.processes {
            patience.wait_for(&format!("the stage {}", scale.stage)).await;
        }
    }
    Ok(())
}

/// How many tasks of a stage are asked for or worked on: one for each process, several where a
/// process has several slots. No log is read for this, so it holds for a stage in any language.
async fn attentive(bus: &Bus, stage: &str) -> usize {
    bus.backlog(stage).await.map_or(0, |backlog| backlog.asked + backlog.in_hand)
}

/// Tells now and then what is waited for.
struct Patience<'a> {
    log: &'a Log,
    next: Instant,
}

impl<'a> Patience<'a> {
    fn new(log: &'a Log) -> Self {
        Self { log, next: Instant::now() + TELL_EVERY }
    }

    async fn wait_for(&mut self, what: &str) {
        if Instant::now() >= self.next {
            self.log.line(format!("still waiting for {what}"));
            self.next += TELL_EVERY;
        }
        sleep(ASK_EVERY).await;
    }
}
