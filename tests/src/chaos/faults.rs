//! How each fault is done to the stack, and undone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::customers::{Customer, Manner, Town};
use super::door::Form;
use super::schedule::{Fault, Member, Planned, Schedule};
use crate::Cluster;

/// Between two pieces of a song whose gateway is about to be killed.
const UPLOAD_PAUSE: Duration = Duration::from_millis(200);
/// The salts of songs that come with faults.
const FAULT_SALTS: u64 = 1 << 32;

/// Everything that faults are done to.
#[derive(Clone)]
pub(crate) struct Storm {
    /// The processes and the customers.
    pub(crate) town: Arc<Town>,
    /// The servers.
    pub(crate) cluster: Arc<Cluster>,
}

/// How often each kind of fault was done.
pub(crate) type Counts = BTreeMap<&'static str, usize>;

impl Storm {
    /// Does all that is planned, from now on; returns once the last of it has healed.
    pub(crate) async fn blow(self, schedule: Schedule) -> Counts {
        let start = Instant::now();
        let servers = tokio::spawn(self.clone().servers(start, schedule.servers));
        let mut running = JoinSet::new();
        let mut counts = Counts::new();
        for (number, Planned { at, fault }) in (0..).zip(schedule.processes) {
            sleep_until(start + at).await;
            *counts.entry(fault.kind()).or_default() += 1;
            running.spawn(self.clone().process(fault, number));
        }
        running.join_all().await;
        counts.append(&mut servers.await.expect("the servers come back"));
        counts
    }

    async fn process(self, fault: Fault, number: u64) {
        let fleet = &self.town.fleet;
        eprintln!("FAULT {fault:?}");
        match fault {
            Fault::Kill(member) => drop(fleet.signal(member, Signal::KILL)),
            Fault::Terminate(member) => drop(fleet.signal(member, Signal::TERM)),
            Fault::Freeze(member, time) => {
                let Some(pid) = fleet.signal(member, Signal::STOP) else { return };
                sleep(time).await;
                fleet.thaw(member, pid);
            }
            Fault::KillInUpload(member) => self.kill_in_upload(member, number).await,
            _ => unreachable!("{fault:?} is done to a server"),
        }
    }

    /// The customer sends its song again, to whatever gateway there is.
    async fn kill_in_upload(&self, member: Member, number: u64) {
        let work = 1; // The longest file but one, of four stems.
        let customer = Customer {
            // Its first attempt goes to that very gateway.
            number: FAULT_SALTS + 2 * number + (member.number as u64 - 1),
            work,
            manner: Manner::Plain(Form::Slow(UPLOAD_PAUSE)),
        };
        let visit = customer.visit(&self.town);
        let kill = async {
            sleep(UPLOAD_PAUSE * 3).await;
            self.town.fleet.signal(member, Signal::KILL);
        };
        tokio::join!(visit, kill);
    }

    async fn servers(self, start: Instant, planned: Vec<Planned>) -> Counts {
        let end = planned.last().map_or(start, |last| start + last.at);
        let mut counts = Counts::new();
        for Planned { at, fault } in planned {
            sleep_until(start + at).await;
            // What took long to heal has eaten the time of others.
            if Instant::now() > end {
                break;
            }
            *counts.entry(fault.kind()).or_default() += 1;
            self.server(fault).await;
            self.cluster.wait_until_current().await;
        }
        counts
    }

    async fn server(&self, fault: Fault) {
        let cluster = &self.cluster;
        eprintln!("FAULT {fault:?}");
        match fault {
            Fault::BreakConnections(server) => cluster.break_connections(server),
            Fault::KillLeader(stream, time) => {
                self.kill(cluster.leader_of_stream(stream).await, time).await;
            }
            Fault::KillServer(server, time) => self.kill(server, time).await,
            Fault::FreezeServer(server, time) => {
                cluster.freeze(server);
                sleep(time).await;
                cluster.thaw(server);
            }
            Fault::CutServer(server, time) => {
                cluster.cut(server);
                sleep(time).await;
                cluster.heal(server);
            }
            Fault::RestartServers => {
                for server in 0..Cluster::NODES {
                    cluster.stop(server).await;
                    cluster.restart(server).await;
                    cluster.wait_until_current().await;
                }
            }
            _ => unreachable!("{fault:?} is done to a process"),
        }
    }

    async fn kill(&self, server: usize, time: Duration) {
        self.cluster.kill(server).await;
        sleep(time).await;
        self.cluster.restart(server).await;
    }
}
