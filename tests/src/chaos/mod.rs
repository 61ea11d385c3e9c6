//! Chaos, bounded: songs come at a fixed rate while servers, processes, networks and clients fail as
//! a seed says; then everything is healed, and nothing may be lost, doubled or left behind.
//!
//! ```text
//! calm run ─► storm: customers + faults ─► heal, wait ─► audit ─► summary
//! ```
//!
//! | read | for |
//! |---|---|
//! | `schedule.rs` | which faults, and when: from the seed alone |
//! | `faults.rs` | how each is done, and undone |
//! | `works.rs` | what is sent |
//! | `customers.rs`, `door.rs` | who sends it, and what they insist on |
//! | `ledger.rs` | what they were promised, and saw |
//! | `audit.rs` | what must be true in the end |
//! | `fleet.rs` | the processes |
//! | `summary.rs` | the table |

mod audit;
mod customers;
mod door;
mod faults;
mod fleet;
mod ledger;
mod schedule;
mod summary;
mod works;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};
use workflow::{Graph, layout};

pub use audit::{Findings, audit};
pub(crate) use fleet::Fleet;
pub use ledger::Account;
pub(crate) use schedule::Member;
pub use summary::Summary;
pub use works::Ends;
pub(crate) use works::small_song;

use crate::{Cluster, tree};
use customers::{Customer, Manner, Town};
use door::{Door, Form};
use faults::Storm;
use ledger::{Ledger, Stems};
use schedule::Schedule;

/// How many servers keep each stream.
const REPLICAS: usize = 3;
/// How long after the storm the last job may take to end, and the last trace of any to go: leases
/// run out, the reconciler makes its rounds.
const SETTLE: Duration = Duration::from_secs(300);
/// Between two looks at what is left.
const LOOK: Duration = Duration::from_secs(5);

/// What a run is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// What all that happens comes from.
    pub seed: u64,
    /// How long the storm blows.
    pub storm: Duration,
    /// Songs per second.
    pub rate: f64,
}

/// Runs it. What the processes log goes into `folder`.
///
/// # Panics
/// If the stack does not come up, or the servers do not come back.
pub async fn run(settings: Settings, folder: &Path) -> Summary {
    let start = Instant::now();
    let Settings { seed, storm, rate } = settings;
    let cluster = Arc::new(Cluster::start().await);
    let graph = std::fs::read_to_string(tree().join("workflow.toml")).expect("it is in the tree");
    let graph = Graph::parse(&graph).expect("it is a workflow");
    let bus = layout::ensure(&cluster.config(), &graph, REPLICAS).await;
    let bus = bus.expect("the servers are up");
    let fleet = Arc::new(Fleet::start(&cluster.url(), REPLICAS, folder));
    let mut town = Town {
        fleet: Arc::clone(&fleet),
        door: Door::new(bus.clone()),
        works: works::works(),
        stems: Vec::new(),
        ledger: Ledger::default(),
        patience: storm + SETTLE,
    };
    town.stems = calm(&town).await;
    eprintln!("CALM after {:?}; the storm of seed {seed} begins", start.elapsed());

    let town = Arc::new(town);
    let blowing = Storm { town: Arc::clone(&town), cluster: Arc::clone(&cluster) };
    let blowing = tokio::spawn(blowing.blow(Schedule::of(seed, storm)));
    come_and_go(&town, seed, storm, rate).await;
    let faults = blowing.await.expect("what was done is undone");
    eprintln!("ENDED after {:?}; the audit begins", start.elapsed());

    let findings = settled(&bus, &town).await;
    let restarts = fleet.restarts();
    let redeliveries = redeliveries(&fleet.log());
    let page = std::mem::take(&mut *town.ledger.open());
    drop(town);
    if let Ok(fleet) = Arc::try_unwrap(fleet).map_err(|_| ()) {
        let stuck = fleet.stop().await;
        assert!(stuck.is_empty(), "not stopped by SIGTERM: {stuck:?}");
    }
    keep(folder, &cluster, &findings);
    Summary { seed, wall: start.elapsed(), faults, restarts, redeliveries, page, findings }
}

/// Sends each work once, and notes what comes out.
async fn calm(town: &Town) -> Vec<Stems> {
    let mut stems = Vec::new();
    for work in 0..town.works.len() {
        let customer =
            Customer { number: u64::MAX - work as u64, work, manner: Manner::Plain(Form::Raw) };
        customer.visit(town).await;
    }
    for work in 0..town.works.len() {
        stems.push(stems_of(town, work).await);
    }
    let page = town.ledger.open();
    assert!(page.violations.is_empty(), "not even without faults: {:?}", page.violations);
    drop(page);
    stems
}

async fn stems_of(town: &Town, work: usize) -> Stems {
    let (hash, ends) = {
        let page = town.ledger.open();
        let found = page.accounts.iter().find(|(_, account)| account.work == work);
        let (hash, account) = found.expect("every work was accepted");
        (hash.clone(), account.ends)
    };
    if ends != Ends::Done {
        return Stems::new();
    }
    let gateway = town.fleet.gateway(0);
    let status = town.door.status(&gateway, &hash).await;
    let status = status.ok().flatten().expect("a job that has ended has a status");
    town.fetch(Instant::now(), &hash, &status).await.expect("its stems can be had")
}

/// Customers come at a fixed rate, however the others fare; returns when the last has gone.
async fn come_and_go(town: &Arc<Town>, seed: u64, storm: Duration, rate: f64) {
    let start = tokio::time::Instant::now();
    let mut visits = JoinSet::new();
    for number in 0.. {
        let at = Duration::from_secs_f64(number as f64 / rate);
        if at >= storm {
            break;
        }
        sleep_until(start + at).await;
        let customer = Customer::of(seed, number, town.works.len());
        let town = Arc::clone(town);
        visits.spawn(async move { customer.visit(&town).await });
    }
    visits.join_all().await;
}

/// Looks until there is nothing to object to, or for as long as that may take.
async fn settled(bus: &workflow::Bus, town: &Town) -> Findings {
    let start = Instant::now();
    loop {
        let accounts: BTreeMap<String, Account> = town.ledger.open().accounts.clone();
        let findings = audit(bus, &accounts).await;
        if findings.violations.is_empty() || start.elapsed() > SETTLE {
            return findings;
        }
        eprintln!("not yet: {} findings, {}", findings.violations.len(), findings.violations[0]);
        sleep(LOOK).await;
    }
}

/// Deliveries of tasks beyond the first of each, by what the workers have logged.
fn redeliveries(log: &str) -> usize {
    let delivery = |line: &str| -> Option<usize> {
        let number = line.split(" delivery=").nth(1)?;
        number.split_whitespace().next()?.parse().ok()
    };
    log.lines().filter_map(delivery).map(|delivery| delivery.saturating_sub(1)).sum()
}

/// Writes down what may be needed to find out what went wrong.
fn keep(folder: &Path, cluster: &Cluster, findings: &Findings) {
    let _ = std::fs::write(folder.join("nats.log"), cluster.log());
    let _ = std::fs::write(folder.join("findings.txt"), format!("{findings:#?}"));
}
