//! The process: everything that runs beside the requests, from its start to its end.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use separation::Catalogue;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use workflow::layout::{self, Layout};
use workflow::{Access, Bus, Graph, LiveProgress, Rounds, clean, reconcile};

use crate::callback::{Caller, Pace};
use crate::config::Config;
use crate::desk::Desk;
use crate::gateway::Gateway;
use crate::micro::Micro;
use crate::router;

/// How long to wait before NATS is tried again.
const CONNECT_RETRY: Duration = Duration::from_secs(1);

/// How often what waits is counted.
const COUNT_EVERY: Duration = Duration::from_secs(3);

/// Serves both doors until `shutdown`; then finishes what is under way, for as long as
/// `config.grace` allows.
///
/// The port is open before NATS is there: until then the process is alive and not ready.
pub async fn serve(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let workflow = std::fs::read_to_string(&config.workflow)
        .with_context(|| format!("failed to read {}", config.workflow.display()))?;
    let graph = Graph::parse(&workflow)
        .with_context(|| format!("{} is no workflow", config.workflow.display()))?;
    let catalogue = Arc::new(Catalogue::read(&config.models)?);
    let bus = config.bus(Access::from_env()?);
    let gateway = Arc::new(Gateway::new(catalogue, config.limits(), shutdown.clone()));
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("failed to listen on {}", config.listen))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let caller = caller(&config, &gateway)?;
    let behind = run_behind(config.clone(), bus, graph, Arc::clone(&gateway), caller);
    let behind = tokio::spawn(behind);
    let stop = shutdown.clone().cancelled_owned();
    let server = axum::serve(listener, router(gateway)).with_graceful_shutdown(stop);
    tokio::select! {
        ended = server.into_future() => ended.context("failed to serve HTTP")?,
        () = grace_is_over(&shutdown, config.grace) => {
            tracing::warn!(grace = ?config.grace, "connections that did not end are cut");
        }
    }
    let _ = timeout(config.grace, behind).await;
    Ok(())
}

async fn grace_is_over(shutdown: &CancellationToken, grace: Duration) {
    shutdown.cancelled().await;
    sleep(grace).await;
}

fn caller(config: &Config, gateway: &Arc<Gateway>) -> anyhow::Result<Arc<Caller>> {
    let (secret, pace) = (config.callback_secret.clone(), Pace::default());
    let caller = Caller::new(Arc::clone(gateway), config.callbacks(), secret, pace);
    Ok(Arc::new(caller.context("failed to set up callbacks: are there CA certificates?")?))
}

/// Opens the desk, then keeps the NATS door, the live progress and the reconciler running.
async fn run_behind(
    config: Config,
    bus: workflow::Config,
    graph: Graph,
    gateway: Arc<Gateway>,
    caller: Arc<Caller>,
) {
    let shutdown = gateway.shutdown().clone();
    let opened = tokio::select! {
        () = shutdown.cancelled() => return,
        opened = open(&bus, &graph, config.layout()) => opened,
    };
    let progress = LiveProgress::default();
    let catalogue = Arc::clone(gateway.catalogue());
    let desk = Desk::new(opened.clone(), graph, catalogue, progress.clone());
    gateway.open(desk.with_policy(config.policy()).with_callbacks(config.callbacks()));
    tracing::info!("ready");
    let calling = tokio::spawn(caller.serve(opened.clone(), shutdown.clone()));
    let mut running = JoinSet::new();
    running.spawn(keep_following(progress, opened.clone()));
    running.spawn(keep_counting(Arc::clone(&gateway)));
    running.spawn(keep_micro(gateway, opened.clone(), shutdown.clone()));
    running.spawn(reconcile(opened.clone(), Rounds::default(), shutdown.clone()));
    running.spawn(clean(opened.clone(), config.left_alone, shutdown.clone()));
    shutdown.cancelled().await;
    // The NATS door says goodbye; the others can be dropped anywhere.
    let _ = timeout(Duration::from_secs(1), running.join_next()).await;
    // Who is being told would else be told again.
    let _ = calling.await;
    opened.flush().await;
}

/// Makes what Stemflow lives in, as soon as NATS is there.
async fn open(config: &workflow::Config, graph: &Graph, layout: Layout) -> Bus {
    let mut told = String::new();
    loop {
        let error = match layout::ensure_as(config, graph, layout).await {
            Ok(bus) => return bus,
            Err(error) => error.to_string(),
        };
        if error != told {
            tracing::warn!(error, "not set up yet, trying on");
            told = error;
        }
        sleep(CONNECT_RETRY).await;
    }
}

async fn keep_following(progress: LiveProgress, bus: Bus) {
    loop {
        if let Err(error) = progress.clone().follow(bus.clone()).await {
            tracing::warn!(%error, "live progress is not to be had, trying on");
        }
        sleep(CONNECT_RETRY).await;
    }
}

async fn keep_counting(gateway: Arc<Gateway>) {
    loop {
        if let Err(error) = gateway.count().await {
            tracing::warn!(%error, "what waits is not counted, trying on");
        }
        sleep(COUNT_EVERY).await;
    }
}

async fn keep_micro(gateway: Arc<Gateway>, bus: Bus, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        match Micro::start(Arc::clone(&gateway), bus.client()).await {
            Ok(micro) => micro.serve(shutdown.clone()).await,
            Err(error) => tracing::warn!(%error, "the NATS door does not open, trying on"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(CONNECT_RETRY) => {}
        }
    }
}
