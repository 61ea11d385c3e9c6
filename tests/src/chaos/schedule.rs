//! What befalls the stack and when: made from a seed, and from nothing else.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use crate::{Cluster, STREAMS};

/// Which processes there are, and how many of each: gateways first.
pub(crate) const PROCESSES: [(&str, usize); 5] =
    [("gateway", 2), ("decode", 2), ("separate", 2), ("encode", 2), ("publish", 2)];

/// From one fault to processes and clients to the next, in seconds.
const PROCESS_PAUSE: std::ops::Range<u64> = 4..12;
/// From one fault to servers to the next, if that one has healed by then.
const SERVER_PAUSE: std::ops::Range<u64> = 20..40;

/// One process of the stack, numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Member {
    /// What it runs.
    pub(crate) name: &'static str,
    /// Which of those it is.
    pub(crate) number: usize,
}

impl Member {
    /// All of them.
    pub(crate) fn all() -> Vec<Self> {
        let of = |(name, count)| (1..=count).map(move |number| Self { name, number });
        PROCESSES.into_iter().flat_map(of).collect()
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.number)
    }
}

/// What can befall a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill(Member),
    /// SIGTERM, as before an update.
    Terminate(Member),
    /// SIGSTOP, for longer than a lease; then SIGCONT.
    Freeze(Member, Duration),
    /// SIGKILL of a gateway that has half of a song.
    KillInUpload(Member),
    /// The connections of all clients to a server break.
    BreakConnections(usize),
    /// SIGKILL of the server that leads a stream; it comes back after a while.
    KillLeader(&'static str, Duration),
    /// SIGKILL of a server.
    KillServer(usize, Duration),
    /// SIGSTOP of a server.
    FreezeServer(usize, Duration),
    /// A server that nobody reaches, and that reaches nobody.
    CutServer(usize, Duration),
    /// SIGTERM of one server after the other, as an update does it.
    RestartServers,
}

impl Fault {
    /// What all faults of its kind are called.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Kill(_) => "process killed",
            Self::Terminate(_) => "process terminated",
            Self::Freeze(..) => "process frozen past its lease",
            Self::KillInUpload(_) => "gateway killed during an upload",
            Self::BreakConnections(_) => "clients' connections broken",
            Self::KillLeader(..) => "stream's leader killed",
            Self::KillServer(..) => "server killed",
            Self::FreezeServer(..) => "server frozen",
            Self::CutServer(..) => "server's network cut",
            Self::RestartServers => "all servers restarted, one by one",
        }
    }

    /// True for those of which there may be one at a time: more, and no quorum is left.
    fn takes_a_server(self) -> bool {
        matches!(
            self,
            Self::BreakConnections(_)
                | Self::KillLeader(..)
                | Self::KillServer(..)
                | Self::FreezeServer(..)
                | Self::CutServer(..)
                | Self::RestartServers
        )
    }
}

/// A fault and the time for it, from the beginning of the storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// When.
    pub(crate) at: Duration,
    /// What.
    pub(crate) fault: Fault,
}

/// What befalls a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Processes and clients: as they come, whatever else is going on.
    pub(crate) processes: Vec<Planned>,
    /// Servers: each waits until the one before it has healed.
    pub(crate) servers: Vec<Planned>,
}

impl Schedule {
    /// The schedule of `seed` for a storm of that length.
    pub(crate) fn of(seed: u64, length: Duration) -> Self {
        let mut rng = Rng::with_seed(seed);
        let processes = deal(&mut rng, length, PROCESS_PAUSE, process_faults);
        let servers = deal(&mut rng, length, SERVER_PAUSE, server_faults);
        debug_assert!(servers.iter().all(|planned| planned.fault.takes_a_server()));
        Self { processes, servers }
    }
}

/// Deals decks of faults, one card after each pause: no kind is left out for long.
fn deal(
    rng: &mut Rng,
    length: Duration,
    pause: std::ops::Range<u64>,
    deck: fn(&mut Rng) -> Vec<Fault>,
) -> Vec<Planned> {
    let (mut planned, mut cards) = (Vec::new(), Vec::new());
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_secs(rng.u64(pause.clone()));
        if at >= length {
            return planned;
        }
        if cards.is_empty() {
            cards = deck(rng);
            rng.shuffle(&mut cards);
        }
        let Some(fault) = cards.pop() else { return planned };
        planned.push(Planned { at, fault });
    }
}

fn process_faults(rng: &mut Rng) -> Vec<Fault> {
    let members = Member::all();
    let (gateways, stages) = members.split_at(PROCESSES[0].1);
    let pick = |rng: &mut Rng, from: &[Member]| from[rng.usize(..from.len())];
    vec![
        Fault::Kill(pick(rng, gateways)),
        Fault::Kill(pick(rng, stages)),
        Fault::Kill(pick(rng, stages)),
        Fault::Kill(pick(rng, stages)),
        Fault::Kill(pick(rng, stages)),
        Fault::Terminate(pick(rng, gateways)),
        Fault::Terminate(pick(rng, stages)),
        Fault::Terminate(pick(rng, stages)),
        Fault::Freeze(pick(rng, stages), seconds(rng, 35..50)),
        Fault::KillInUpload(pick(rng, gateways)),
    ]
}

fn server_faults(rng: &mut Rng) -> Vec<Fault> {
    let server = |rng: &mut Rng| rng.usize(..Cluster::NODES);
    let stream = |rng: &mut Rng| STREAMS[rng.usize(..STREAMS.len())];
    vec![
        Fault::BreakConnections(server(rng)),
        Fault::KillLeader(stream(rng), seconds(rng, 1..20)),
        Fault::KillLeader(stream(rng), seconds(rng, 1..20)),
        Fault::KillServer(server(rng), seconds(rng, 1..30)),
        Fault::FreezeServer(server(rng), seconds(rng, 5..30)),
        Fault::CutServer(server(rng), seconds(rng, 10..60)),
        Fault::RestartServers,
    ]
}

fn seconds(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_secs(rng.u64(range))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_says_all() {
        let (length, longer) = (Duration::from_secs(300), Duration::from_secs(301));
        assert_eq!(Schedule::of(7, length), Schedule::of(7, length));
        assert_ne!(Schedule::of(7, length), Schedule::of(8, length));
        let (short, long) = (Schedule::of(7, length), Schedule::of(7, longer));
        assert!(long.processes.starts_with(&short.processes));
    }

    #[test]
    fn a_storm_of_some_minutes_has_everything_in_it() {
        for seed in 0..20 {
            let Schedule { processes, servers } = Schedule::of(seed, Duration::from_secs(300));
            let all = processes.iter().chain(&servers);
            let kinds: BTreeSet<&str> = all.map(|planned| planned.fault.kind()).collect();
            assert_eq!(kinds.len(), 10, "{seed}: {kinds:?}");
        }
    }
}
