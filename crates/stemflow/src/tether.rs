//! No orphans: a child process that is killed when `stemflow up` ends, however that ends.
//!
//! On Linux a process can ask to be killed when its parent dies, and what it asked for outlives
//! `exec`. To ask between `fork` and `exec` takes unsafe code. So `up` starts `stemflow tether`,
//! which asks for itself and then turns into the program: the same process, the same pid.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use rustix::process::{Pid, getpid, getppid};

/// Runs a program that is killed when its parent ends; `stemflow up` starts its children so.
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The process id of the parent
    #[arg(long)]
    parent: i32,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Turns this process into the program. Comes back only if that failed.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    die_with_parent()?;
    // It may have died before that.
    if getppid() != Pid::from_raw(args.parent) {
        bail!("the parent process has ended");
    }
    let error = Command::new(&args.program).args(&args.args).exec();
    Err(error).with_context(|| format!("failed to run {}", args.program.display()))
}

#[cfg(target_os = "linux")]
fn die_with_parent() -> anyhow::Result<()> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Elsewhere children outlive a parent that was killed with SIGKILL; every other end stops them.
#[cfg(not(target_os = "linux"))]
fn die_with_parent() -> anyhow::Result<()> {
    Ok(())
}

/// The command that runs `program` tethered to this process.
pub(crate) fn command(
    program: &Path,
    args: &[OsString],
) -> anyhow::Result<tokio::process::Command> {
    // Not current_exe() on Linux: that names a file, which a build may have replaced by now.
    let this = if cfg!(target_os = "linux") {
        PathBuf::from("/proc/self/exe")
    } else {
        std::env::current_exe()?
    };
    let mut command = tokio::process::Command::new(this);
    let parent = getpid().as_raw_nonzero().to_string();
    command.args(["tether", "--parent", &parent, "--"]).arg(program).args(args);
    Ok(command)
}
