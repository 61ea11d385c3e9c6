//! The processes of the stack, each started again whenever it ends.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::schedule::Member;
use crate::{Port, binary, tree};

/// A supervisor does not start a process again at once.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
/// What belongs to nothing goes after this time: longer than any upload of ours stands still.
const LEFT_ALONE: &str = "60s";
/// A process that is told to stop has to, within its grace and some more.
const STOP_TIME: Duration = Duration::from_secs(30);

/// All processes of a stack but the servers.
pub(crate) struct Fleet {
    members: Vec<Supervised>,
    folder: PathBuf,
    stop: CancellationToken,
}

struct Supervised {
    member: Member,
    port: Port,
    /// 0 while it does not run.
    pid: Arc<AtomicU32>,
    starts: Arc<AtomicUsize>,
    life: JoinHandle<()>,
}

impl Fleet {
    /// Starts every process; the logs go into `folder`.
    ///
    /// # Panics
    /// If one cannot be started.
    pub(crate) fn start(nats_url: &str, replicas: usize, folder: &Path) -> Self {
        let stop = CancellationToken::new();
        let mut members = Vec::new();
        for member in Member::all() {
            let port = Port::reserve();
            let (pid, starts) = (Arc::default(), Arc::default());
            let start = Start {
                member,
                nats_url: nats_url.to_owned(),
                replicas,
                listen: port.address(),
                log: folder.join(format!("{member}.log")),
                pid: Arc::clone(&pid),
                starts: Arc::clone(&starts),
            };
            let life = tokio::spawn(start.again_and_again(stop.clone()));
            members.push(Supervised { member, port, pid, starts, life });
        }
        Self { members, folder: folder.to_owned(), stop }
    }

    /// Where a gateway listens: any number will do.
    pub(crate) fn gateway(&self, number: usize) -> String {
        let gateways = self.members.iter().filter(|known| known.member.name == "gateway");
        let gateways: Vec<&Supervised> = gateways.collect();
        format!("http://{}", gateways[number % gateways.len()].port.address())
    }

    /// The number of a process, if it runs.
    pub(crate) fn pid(&self, member: Member) -> Option<u32> {
        let found = self.members.iter().find(|known| known.member == member)?;
        Some(found.pid.load(Ordering::SeqCst)).filter(|pid| *pid > 0)
    }

    /// Sends a signal to a process, if it runs, and says to which one that was.
    pub(crate) fn signal(&self, member: Member, signal: Signal) -> Option<u32> {
        self.pid(member).filter(|pid| send(*pid, signal))
    }

    /// Lets a process go on that was stopped, unless another has taken its place.
    pub(crate) fn thaw(&self, member: Member, pid: u32) {
        if self.pid(member) == Some(pid) {
            send(pid, Signal::CONT);
        }
    }

    /// How often processes were started again.
    pub(crate) fn restarts(&self) -> usize {
        self.members.iter().map(|member| member.starts.load(Ordering::SeqCst).max(1) - 1).sum()
    }

    /// What all processes have logged.
    pub(crate) fn log(&self) -> String {
        let log = |member: &Supervised| self.folder.join(format!("{}.log", member.member));
        let logs = self.members.iter().map(log);
        logs.map(|log| std::fs::read_to_string(log).unwrap_or_default()).collect()
    }

    /// Stops all processes, and says which ones did not stop by themselves.
    pub(crate) async fn stop(self) -> Vec<Member> {
        self.stop.cancel();
        let mut stuck = Vec::new();
        for Supervised { member, mut life, .. } in self.members {
            if timeout(STOP_TIME, &mut life).await.is_err() {
                stuck.push(member);
                life.abort();
            }
        }
        stuck
    }
}

/// All that is needed to start a process.
struct Start {
    member: Member,
    nats_url: String,
    replicas: usize,
    listen: SocketAddr,
    log: PathBuf,
    pid: Arc<AtomicU32>,
    starts: Arc<AtomicUsize>,
}

impl Start {
    async fn again_and_again(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let mut command = tokio::process::Command::from(self.command());
            let mut child = command.kill_on_drop(true).spawn().expect("a process can be started");
            let pid = child.id().unwrap_or_default();
            self.pid.store(pid, Ordering::SeqCst);
            self.starts.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                _ = child.wait() => {}
                () = stop.cancelled() => {
                    send(pid, Signal::TERM);
                    let _ = child.wait().await;
                }
            }
            self.pid.store(0, Ordering::SeqCst);
            tokio::select! {
                () = sleep(RESTART_PAUSE) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn command(&self) -> Command {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log: File = log.expect("a log can be written");
        let mut command = Command::new(binary(self.member.name));
        command
            .current_dir(tree())
            .env("NATS_URL", &self.nats_url)
            .env("STEMFLOW_REPLICAS", self.replicas.to_string())
            .env("STEMFLOW_LISTEN", self.listen.to_string())
            .env("STEMFLOW_THREADS", "1")
            .env("STEMFLOW_LEFT_ALONE", LEFT_ALONE)
            .env("STEMFLOW_LOG", "info,workflow=debug,async_nats=warn")
            .env("OMP_WAIT_POLICY", "passive")
            .stderr(log);
        if self.member.name != "separate" {
            // As their images do.
            command.env("MALLOC_MMAP_THRESHOLD_", "65536");
        }
        command
    }
}

/// False if there is no such process.
fn send(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}
