use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::stack::{Deadline, tree};

/// A nats-server process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    folder: PathBuf,
}

/// Where a nats-server listens.
pub(crate) struct Ports(Value);

impl Ports {
    /// The port of `nats`, `cluster` or `monitoring`.
    pub(crate) fn of(&self, what: &str) -> u16 {
        let url = self.0[what][0].as_str();
        let port = url.and_then(|url| url.rsplit(':').next()?.parse().ok());
        port.unwrap_or_else(|| panic!("no port for {what}: {}", self.0))
    }
}

impl Process {
    /// Starts a nats-server whose log and list of ports are in `folder`.
    pub(crate) fn start<'a>(folder: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::start_with(folder, arguments, &[])
    }

    /// The same, with further variables in its environment.
    pub(crate) fn start_with<'a>(
        folder: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
        environment: &[(&str, String)],
    ) -> Self {
        let log = fs::File::options().create(true).append(true).open(folder.join("nats.log"));
        let child = Command::new(nats_server())
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .arg("--ports_file_dir")
            .arg(folder)
            .stdout(Stdio::null())
            .stderr(log.expect("a log can be made"))
            .spawn()
            .expect("nats-server can be started");
        Self { child, folder: folder.to_owned() }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it listens.
    pub(crate) fn wait_for_ports(&self) -> Ports {
        let deadline = Deadline::after(Duration::from_secs(20));
        loop {
            if let Some(ports) = self.read_ports() {
                return ports;
            }
            let log = self.folder.join("nats.log");
            deadline.pause(|| fs::read_to_string(&log).unwrap_or_default());
        }
    }

    fn read_ports(&self) -> Option<Ports> {
        let text = fs::read_to_string(self.ports_file()).ok()?;
        Some(Ports(serde_json::from_str(&text).ok()?))
    }

    fn ports_file(&self) -> PathBuf {
        self.folder.join(format!("nats-server_{}.ports", self.child.id()))
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} cannot be sent");
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(self.ports_file());
    }
}

fn nats_server() -> PathBuf {
    if let Some(path) = std::env::var_os("STEMFLOW_NATS_SERVER") {
        return path.into();
    }
    let path = tree().join(".stemflow/bin/nats-server");
    assert!(path.exists(), "no nats-server at {}: run scripts/setup", path.display());
    path
}
