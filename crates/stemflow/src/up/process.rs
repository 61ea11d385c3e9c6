//! One process of the stack: started, its output logged, started again, stopped.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::console::Log;
use super::restart::{Ended, keep_running};
use crate::tether;

/// How long what a process has written may take to come through after its end: a child of it may
/// have inherited the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A program of the stack.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Its name in the log.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) args: Vec<OsString>,
    /// What its environment has beside ours.
    pub(super) env: Vec<(&'static str, OsString)>,
}

/// A program that is kept running.
pub(super) struct Process {
    pub(super) program: Program,
    /// For what it says.
    pub(super) log: Log,
    /// For what we say about it.
    pub(super) supervisor: Log,
    /// How long it may take to stop.
    pub(super) grace: Duration,
    /// Asks it to stop.
    pub(super) stop: CancellationToken,
    /// Does not ask.
    pub(super) kill: CancellationToken,
}

/// A process has ended by itself.
pub(super) struct Crash {
    pub(super) name: String,
    /// How often it has, without a long run between.
    pub(super) in_a_row: u32,
}

impl Process {
    /// Runs the program, again whenever it ends, until `stop`.
    pub(super) async fn keep(self, crashes: UnboundedSender<Crash>) {
        keep_running(
            &self.stop,
            || self.run(),
            |ended| {
                let Ended { how, in_a_row, delay } = ended;
                let seconds = delay.as_secs_f64();
                self.log.line(format!("{how}; it is started again in {seconds} s"));
                // Nobody counts crashes any more once all has been ready.
                let _ = crashes.send(Crash { name: self.program.name.clone(), in_a_row });
            },
        )
        .await;
    }

    /// Runs the program once; the result says how it ended.
    async fn run(&self) -> String {
        match self.try_run().await {
            Ok(status) => ending(status),
            Err(error) => format!("did not start: {}", crate::error::describe(&error)),
        }
    }

    async fn try_run(&self) -> anyhow::Result<ExitStatus> {
        let Program { path, args, env, .. } = &self.program;
        let mut child = tether::command(path, args)?
            .envs(env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C in the terminal is for us, who know the order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut output = JoinSet::new();
        output.extend_with(child.stdout.take(), &self.log);
        output.extend_with(child.stderr.take(), &self.log);
        let status = tokio::select! {
            status = child.wait() => status,
            () = self.stop.cancelled() => self.end(&mut child).await,
        };
        let _ = timeout(LAST_WORDS, output.join_all()).await;
        Ok(status?)
    }

    async fn end(&self, child: &mut Child) -> std::io::Result<ExitStatus> {
        signal(child, Signal::TERM);
        let why = tokio::select! {
            status = child.wait() => return status,
            () = self.kill.cancelled() => "at once",
            () = sleep(self.grace) => "as it did not stop in time",
        };
        self.supervisor.line(format!("killing {} {why}", self.program.name));
        signal(child, Signal::KILL);
        child.wait().await
    }
}

/// Tells the whole group: a stage may be a script with a program of its own.
fn signal(child: &Child, signal: Signal) {
    // Without an id it has ended already.
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    let _ = kill_process_group(pid, signal);
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

trait LogOutput {
    fn extend_with(&mut self, output: Option<impl AsyncRead + Send + Unpin + 'static>, log: &Log);
}

impl LogOutput for JoinSet<()> {
    fn extend_with(&mut self, output: Option<impl AsyncRead + Send + Unpin + 'static>, log: &Log) {
        if let Some(output) = output {
            self.spawn(copy_lines(output, log.clone()));
        }
    }
}

async fn copy_lines(output: impl AsyncRead + Unpin, log: Log) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while let Ok(1..) = output.read_until(b'\n', &mut line).await {
        log.line(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}
