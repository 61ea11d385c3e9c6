use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use super::link::Link;
use crate::process::Process;

/// What a node says of itself comes at once or not at all: it may be stopped.
const TELLS_WITHIN: Duration = Duration::from_secs(2);

/// One server of a cluster.
pub(crate) struct Node {
    pub(crate) name: String,
    folder: PathBuf,
    /// The way of clients to it.
    pub(crate) door: Link,
    /// The ways of the other nodes to it, by their names.
    pub(crate) routes: BTreeMap<String, Link>,
    process: Mutex<Option<Process>>,
    monitoring: Mutex<u16>,
}

impl Node {
    /// A node that does not run yet.
    pub(crate) async fn new(name: &str, others: &[&str], folder: PathBuf) -> Self {
        fs::create_dir(&folder).expect("a folder can be made");
        let mut routes = BTreeMap::new();
        for other in others {
            routes.insert((*other).to_owned(), Link::lay().await);
        }
        Self {
            name: name.to_owned(),
            folder,
            door: Link::lay().await,
            routes,
            process: Mutex::new(None),
            monitoring: Mutex::new(0),
        }
    }

    /// Writes down how it is reached, and how it reaches the others: by `routes` alone. What it
    /// tells other nodes of its address is a dead end, so that none goes past its link.
    pub(crate) fn write_config(&self, routes: &[String], settings: &str) {
        let Self { name, folder, door, .. } = self;
        let (folder, door, routes) = (folder.display(), door.address(), routes.join(", "));
        let config = format!(
            r#"
server_name: {name}
listen: "127.0.0.1:-1"
client_advertise: "{door}"
http: "127.0.0.1:-1"
jetstream {{ store_dir: "{folder}" }}
cluster {{
  name: stemflow
  listen: "127.0.0.1:-1"
  advertise: "127.0.0.1:1"
  routes: [{routes}]
}}
{settings}
"#
        );
        fs::write(self.config(), config).expect("a config can be written");
    }

    fn config(&self) -> PathBuf {
        self.folder.join("nats.conf")
    }

    /// Starts it, on whatever ports are free.
    pub(crate) async fn start(&self) {
        let (folder, config) = (self.folder.clone(), self.config());
        let started = tokio::task::spawn_blocking(move || {
            let config = config.to_str().expect("a temporary path is text");
            let process = Process::start(&folder, ["--config", config]);
            let ports = process.wait_for_ports();
            (process, ports)
        });
        let (process, ports) = started.await.expect("a server can be started");
        self.door.lead_to(ports.of("nats"));
        for route in self.routes.values() {
            route.lead_to(ports.of("cluster"));
        }
        *lock(&self.monitoring) = ports.of("monitoring");
        *lock(&self.process) = Some(process);
    }

    /// Ends it at once, or lets it end by itself.
    pub(crate) async fn end(&self, politely: bool) {
        let Some(mut process) = lock(&self.process).take() else { return };
        let ended = tokio::task::spawn_blocking(move || {
            if politely {
                process.stop();
            }
        });
        ended.await.expect("a process can be ended");
    }

    pub(crate) fn signal(&self, name: &str) {
        let process = lock(&self.process);
        process.as_ref().expect("the node runs").signal(name);
    }

    /// What its monitoring port says; `None` if nothing.
    pub(crate) async fn tells(&self, path: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}{path}", *lock(&self.monitoring));
        let client = reqwest::Client::builder().timeout(TELLS_WITHIN).build().ok()?;
        client.get(url).send().await.ok()?.json().await.ok()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("nats.log")).unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
