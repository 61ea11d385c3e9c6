use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::stack::{Deadline, tree};

/// A nats-server with JetStream on a free port; killed and cleaned up when dropped.
pub struct NatsServer {
    process: Child,
    port: Option<u16>,
    directory: TempDir,
}

impl NatsServer {
    /// Starts a server and waits until it can be used.
    ///
    /// # Panics
    /// If there is none to start, or it does not come up.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mut server = Self { process: spawn(&directory, None), port: None, directory };
        server.port = Some(server.wait_for_port());
        server
    }

    /// What `NATS_URL` is for this server.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port.expect("the server has started"))
    }

    /// The runtime's settings for this server.
    pub fn config(&self) -> workflow::Config {
        workflow::Config {
            nats_url: self.url(),
            name: "test".to_owned(),
            concurrency: None,
            grace: Duration::from_secs(5),
        }
    }

    /// Kills the server as a crash would, and starts it again on the same port and store.
    pub fn crash_and_restart(&mut self) {
        self.stop();
        self.process = spawn(&self.directory, self.port);
        self.wait_for_port();
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(self.ports_file());
    }

    fn ports_file(&self) -> PathBuf {
        self.directory.path().join(format!("nats-server_{}.ports", self.process.id()))
    }

    fn wait_for_port(&self) -> u16 {
        let deadline = Deadline::after(Duration::from_secs(20));
        loop {
            if let Some(port) = self.read_port() {
                return port;
            }
            let log = self.directory.path().join("nats.log");
            deadline.pause(|| fs::read_to_string(&log).unwrap_or_default());
        }
    }

    fn read_port(&self) -> Option<u16> {
        let text = fs::read_to_string(self.ports_file()).ok()?;
        let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
        ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(directory: &TempDir, port: Option<u16>) -> Child {
    let path = directory.path();
    let log = fs::File::create(path.join("nats.log")).expect("a log can be made");
    Command::new(nats_server())
        .args(["--addr", "127.0.0.1", "--jetstream", "--port"])
        .arg(port.map_or("-1".to_owned(), |port| port.to_string()))
        .arg("--store_dir")
        .arg(path)
        .arg("--ports_file_dir")
        .arg(path)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("nats-server can be started")
}

fn nats_server() -> PathBuf {
    if let Some(path) = std::env::var_os("STEMFLOW_NATS_SERVER") {
        return path.into();
    }
    let path = tree().join(".stemflow/bin/nats-server");
    assert!(path.exists(), "no nats-server at {}: run scripts/setup", path.display());
    path
}
