//! Three nats-servers, and all that can befall them.

mod link;
mod node;

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::node::Node;
use crate::nats;
use crate::stack::Deadline;

/// How long a cluster may take to agree on anything: elections take up to 9 s, and two in a row
/// may fail.
const AGREES_WITHIN: Duration = Duration::from_secs(60);
/// How long a leader may take to answer; one that takes longer is asked again.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The streams that jobs go through, whose leaders may be killed or moved.
pub const STREAMS: [&str; 7] = [
    "STEMFLOW",
    "STEMFLOW_DEAD",
    "STEMFLOW_CALLBACKS",
    "KV_jobs",
    "OBJ_queue",
    "OBJ_work",
    "OBJ_output",
];

/// A cluster of three nats-servers with JetStream, whose networks can be cut; killed and cleaned up
/// when dropped. Its nodes are numbered from 0.
pub struct Cluster {
    nodes: Vec<Node>,
    _directory: TempDir,
}

impl Cluster {
    /// How many servers it has.
    pub const NODES: usize = 3;

    /// Starts a cluster and waits until it can be used.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// Starts a cluster with further settings in the config of each server.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn with(settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let names: Vec<String> = (0..Self::NODES).map(|number| format!("n{number}")).collect();
        let mut nodes = Vec::new();
        for name in &names {
            let others: Vec<&str> =
                names.iter().filter(|other| *other != name).map(String::as_str).collect();
            nodes.push(Node::new(name, &others, directory.path().join(name)).await);
        }
        for node in &nodes {
            let to = nodes.iter().filter_map(|other| other.routes.get(&node.name));
            let routes: Vec<String> =
                to.map(|link| format!("\"nats://{}\"", link.address())).collect();
            node.write_config(&routes, settings);
        }
        let cluster = Self { nodes, _directory: directory };
        join_all(cluster.nodes.iter().map(Node::start)).await;
        cluster.wait_until_current().await;
        cluster
    }

    /// What `NATS_URL` is for this cluster: all of its servers.
    pub fn url(&self) -> String {
        let urls: Vec<String> = (0..Self::NODES).map(|node| self.url_of(node)).collect();
        urls.join(",")
    }

    /// The URL of one server. It stays the same when the server is started again.
    pub fn url_of(&self, node: usize) -> String {
        format!("nats://{}", self.nodes[node].door.address())
    }

    /// The runtime's settings for this cluster.
    pub fn config(&self) -> workflow::Config {
        nats::config(self.url())
    }

    /// The runtime's settings to begin at one server.
    pub fn config_of(&self, node: usize) -> workflow::Config {
        nats::config(self.url_of(node))
    }

    /// Ends a server with SIGKILL.
    pub async fn kill(&self, node: usize) {
        self.nodes[node].end(false).await;
    }

    /// Ends a server with SIGTERM, as an update does.
    pub async fn stop(&self, node: usize) {
        self.nodes[node].end(true).await;
    }

    /// Starts a server again that has ended.
    pub async fn restart(&self, node: usize) {
        self.nodes[node].start().await;
    }

    /// Stops a server where it is: SIGSTOP.
    pub fn freeze(&self, node: usize) {
        self.nodes[node].signal("STOP");
    }

    /// Lets a server go on that was frozen.
    pub fn thaw(&self, node: usize) {
        self.nodes[node].signal("CONT");
    }

    /// Cuts the network of a server: to its peers, and to the clients that are connected to it.
    pub fn cut(&self, node: usize) {
        self.links_of(node).for_each(link::Link::cut);
    }

    /// Cuts a server off from its peers, but not from its clients.
    pub fn isolate(&self, node: usize) {
        self.routes_of(node).for_each(link::Link::cut);
    }

    /// Heals the ways of a server to its peers, but not to its clients.
    pub fn reunite(&self, node: usize) {
        self.routes_of(node).for_each(link::Link::heal);
    }

    /// Heals the network of a server.
    pub fn heal(&self, node: usize) {
        self.links_of(node).for_each(link::Link::heal);
    }

    /// Breaks the connections of all clients to a server; it can be reached again at once.
    pub fn break_connections(&self, node: usize) {
        self.nodes[node].door.break_all();
    }

    fn links_of(&self, node: usize) -> impl Iterator<Item = &link::Link> {
        std::iter::once(&self.nodes[node].door).chain(self.routes_of(node))
    }

    fn routes_of(&self, node: usize) -> impl Iterator<Item = &link::Link> {
        let node = &self.nodes[node];
        let out = self.nodes.iter().filter_map(|other| other.routes.get(&node.name));
        node.routes.values().chain(out)
    }

    /// Waits until there is a leader of all, and no server lags behind in anything that it has a
    /// replica of.
    ///
    /// # Panics
    /// If it does not come to that.
    pub async fn wait_until_current(&self) {
        let deadline = Deadline::after(AGREES_WITHIN);
        loop {
            let health = join_all(self.nodes.iter().map(|node| node.tells("/healthz"))).await;
            let is_ok = |health: &Option<Value>| {
                health.as_ref().is_some_and(|health| health["status"] == "ok")
            };
            if health.iter().all(is_ok) && self.meta_leader().await.is_some() {
                return;
            }
            deadline.pause_async(|| format!("{health:#?}\n{}", self.log())).await;
        }
    }

    /// The node that leads the cluster itself, by the word of most; `None` while there is none.
    pub async fn meta_leader(&self) -> Option<usize> {
        let told = join_all(self.nodes.iter().map(|node| node.tells("/jsz"))).await;
        let names: Vec<&str> = told
            .iter()
            .flatten()
            .filter_map(|jsz| jsz["meta_cluster"]["leader"].as_str())
            .collect();
        let is_most = |name: &&&str| names.iter().filter(|other| other == name).count() >= 2;
        self.node_of(names.iter().find(is_most)?)
    }

    /// The node that leads a stream, such as `KV_jobs`; waits until there is one.
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn leader_of_stream(&self, stream: &str) -> usize {
        self.leader(&format!("STREAM.INFO.{stream}")).await
    }

    /// The node that leads a consumer; waits until there is one.
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn leader_of_consumer(&self, stream: &str, consumer: &str) -> usize {
        self.leader(&format!("CONSUMER.INFO.{stream}.{consumer}")).await
    }

    /// Makes a node the leader of a stream.
    ///
    /// # Panics
    /// If it does not become that.
    pub async fn move_leader(&self, stream: &str, node: usize) {
        let deadline = Deadline::after(AGREES_WITHIN);
        let wish = json!({ "placement": { "preferred": self.nodes[node].name } });
        while self.leader_of_stream(stream).await != node {
            let answer = self.ask(&format!("STREAM.LEADER.STEPDOWN.{stream}"), &wish).await;
            deadline.pause_async(|| format!("{stream}: {answer:?}\n{}", self.log())).await;
        }
    }

    /// By the leader's own word, for it alone answers.
    async fn leader(&self, request: &str) -> usize {
        let deadline = Deadline::after(AGREES_WITHIN);
        loop {
            let info = self.ask(request, &Value::Null).await;
            let name = info.as_ref().and_then(|info| info["cluster"]["leader"].as_str());
            if let Some(leader) = name.and_then(|name| self.node_of(name)) {
                return leader;
            }
            deadline.pause_async(|| format!("{request}: {info:?}\n{}", self.log())).await;
        }
    }

    async fn ask(&self, request: &str, body: &Value) -> Option<Value> {
        let options = async_nats::ConnectOptions::new().connection_timeout(ANSWERS_WITHIN);
        let urls: Vec<String> = (0..Self::NODES).map(|node| self.url_of(node)).collect();
        let client = options.connect(urls).await.ok()?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = client.request(format!("$JS.API.{request}"), body.into());
        let answer = tokio::time::timeout(ANSWERS_WITHIN, answer).await.ok()?.ok()?;
        serde_json::from_slice(&answer.payload).ok()
    }

    fn node_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// What all servers have logged so far.
    pub fn log(&self) -> String {
        self.nodes.iter().map(|node| format!("{}:\n{}", node.name, node.log())).collect()
    }
}
