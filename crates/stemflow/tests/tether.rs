//! `stemflow tether`: no child process outlives `stemflow up`, however that ends.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A process that starts a tethered one, tells its pid, and waits.
const PARENT: &str = r#""$0" tether --parent $$ -- sleep 600 & echo $!; wait"#;

fn is_running(pid: &str) -> bool {
    // `pid (name) state …`; a zombie has ended, and waits for whoever adopted it.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_tethered_process_ends_with_a_parent_that_is_killed() {
    let mut parent = Command::new("sh")
        .args(["-c", PARENT, env!("CARGO_BIN_EXE_stemflow")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let pid = pid.trim();
    let has_become_sleep =
        || fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n");
    wait_until(has_become_sleep);
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until(|| !is_running(pid));
}

#[test]
fn without_its_parent_nothing_is_started() {
    let output = Command::new(env!("CARGO_BIN_EXE_stemflow"))
        .args(["tether", "--parent", "1", "--", "echo", "started"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come to be");
        std::thread::sleep(Duration::from_millis(10));
    }
}
