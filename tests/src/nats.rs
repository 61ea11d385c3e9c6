use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;

const CONFIG: &str = "nats.conf";

/// A nats-server with JetStream on a free port; killed and cleaned up when dropped.
pub struct NatsServer {
    process: Option<Process>,
    port: u16,
    directory: TempDir,
}

impl NatsServer {
    /// Starts a server and waits until it can be used.
    ///
    /// # Panics
    /// If there is none to start, or it does not come up.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        configure(&directory, "");
        let process = spawn(&directory, "-1");
        let port = process.wait_for_ports().of("nats");
        Self { process: Some(process), port, directory }
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::pid)
    }

    /// What `NATS_URL` is for this server.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The runtime's settings for this server.
    pub fn config(&self) -> workflow::Config {
        config(self.url())
    }

    /// The same as [`Self::crash_and_restart`], with further settings in its config.
    ///
    /// # Panics
    /// If they cannot be written.
    pub fn restart_with(&mut self, settings: &str) {
        configure(&self.directory, settings);
        self.crash_and_restart();
    }

    /// Kills the server as a crash would, and starts it again on the same port and store.
    pub fn crash_and_restart(&mut self) {
        drop(self.process.take());
        let process = spawn(&self.directory, &self.port.to_string());
        process.wait_for_ports();
        self.process = Some(process);
    }
}

pub(crate) fn config(nats_url: String) -> workflow::Config {
    workflow::Config {
        nats_url,
        access: workflow::Access::default(),
        name: "test".to_owned(),
        concurrency: None,
        batch_share: 4,
        grace: Duration::from_secs(5),
    }
}

fn configure(directory: &TempDir, settings: &str) {
    std::fs::write(directory.path().join(CONFIG), settings).expect("a file can be written");
}

fn spawn(directory: &TempDir, port: &str) -> Process {
    let store = directory.path().to_str().expect("a temporary path is text");
    let config = format!("{store}/{CONFIG}");
    let arguments = ["--config", &config, "--addr", "127.0.0.1", "--port", port];
    let storage = ["--jetstream", "--store_dir", store];
    Process::start(directory.path(), arguments.into_iter().chain(storage))
}
