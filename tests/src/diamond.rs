//! A light workflow with a fan-out and a fan-in, its stages, and all that tests do with it.

use std::io::{Read, Write};
use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull};
use tokio_util::sync::CancellationToken;
use workflow::{
    Bucket, Bus, Config, Failure, Graph, Input, Job, JobId, Lane, ObjectRef, Output, Submission,
    Submitted, Task, layout,
};

use crate::{Closure, Cluster, Deadline, NatsServer};

/// The workflow.
pub const DIAMOND: &str = r#"
[[stage]]
name = "split"

[[stage]]
name = "square"
after = ["split"]
each = "number"
attempts = 3
deadline = "20s"

[[stage]]
name = "label"
after = ["split"]

[[stage]]
name = "join"
after = ["square", "label"]
"#;

/// The result of the job `200`: the sum of n² for n below 200.
pub const SUM: &str = "sum=2646700";

/// Bytes of an object with three chunks.
const LARGE: usize = 1_200_000;

/// The stages that the diamond has.
pub const STAGES: [&str; 4] = ["split", "square", "label", "join"];

/// What a stage of the diamond does.
///
/// # Panics
/// If there is no such stage.
pub fn stage(name: &str) -> fn(&Task) -> Result<Output, Failure> {
    match name {
        "split" => split,
        "square" => square,
        "label" => label,
        "join" => join,
        _ => panic!("the diamond has no stage {name}"),
    }
}

/// Gives the numbers below the one that the input says, as a list; any other word is a list of its
/// own. What ends with ` later` goes on in the lane `batch`.
pub fn split(task: &Task) -> Result<Output, Failure> {
    let mut text = String::new();
    task.open(task.input()).read_to_string(&mut text)?;
    let lane = text.strip_suffix(" later").map_or(Lane::Interactive, |_| Lane::Batch);
    let text = text.trim_end_matches(" later").to_owned();
    let keys = match text.parse() {
        Ok(count) => (0_usize..count).map(|number| format!("{number:03}")).collect(),
        Err(_) if text == "poison" => vec![text],
        Err(_) => return Err(Failure::permanent("no-number", "send a number")),
    };
    store(task, Bucket::Work, "table", &[0; LARGE])?;
    Ok(Output::none().with_list("number", keys).in_lane(lane))
}

/// The square of a number, in an object.
pub fn square(task: &Task) -> Result<Output, Failure> {
    let number: u64 = task.key().parse().map_err(|_| Failure::transient("not a number"))?;
    store(task, Bucket::Work, "square", (number * number).to_string().as_bytes())?;
    Output::of(&number)
}

/// What stands before the sum.
pub fn label(_: &Task) -> Result<Output, Failure> {
    Output::of(&"sum")
}

/// The sum of all squares; and a large object that people find as `<job>/sum`.
pub fn join(task: &Task) -> Result<Output, Failure> {
    let label: String = task.fact("label")?.data()?;
    let mut sum = 0;
    for fact in task.facts("square")? {
        let mut text = String::new();
        task.open(fact.object("square")?).read_to_string(&mut text)?;
        sum += text.parse::<u64>().map_err(|error| Failure::transient(error.to_string()))?;
    }
    let object = store(task, Bucket::Output, "sum", &[b'x'; LARGE])?;
    task.link(Bucket::Output, &format!("{}/sum", task.job()), &object)?;
    Output::of(&format!("{label}={sum}"))
}

fn store(task: &Task, bucket: Bucket, name: &str, bytes: &[u8]) -> Result<ObjectRef, Failure> {
    let mut object = task.create(bucket, name);
    object.write_all(bytes)?;
    object.finish()
}

/// A server, or a cluster of them, with the diamond laid out on it, and workers in this process that
/// stop with it.
pub struct Diamond<S = NatsServer> {
    /// The server, or the cluster.
    pub server: S,
    /// The way to what is stored.
    pub bus: Bus,
    /// The workflow.
    pub graph: Graph,
    config: Config,
    shutdown: CancellationToken,
}

impl Diamond {
    /// Lays out [`DIAMOND`]; no worker yet.
    pub async fn start() -> Self {
        Self::of(DIAMOND).await
    }

    /// Lays out a variant of it.
    ///
    /// # Panics
    /// If that is not a workflow, or the server does not come up.
    pub async fn of(workflow: &str) -> Self {
        let server = NatsServer::start();
        let config = server.config();
        Self::on(server, config, workflow, 1).await
    }
}

impl Diamond<Cluster> {
    /// Lays out [`DIAMOND`] on a cluster, everything on each of its servers; no worker yet.
    pub async fn replicated() -> Self {
        let cluster = Cluster::start().await;
        let config = cluster.config();
        Self::on(cluster, config, DIAMOND, Cluster::NODES).await
    }

    /// Starts a worker for a stage that is connected to one server, until it leaves it.
    pub fn work_at<F>(&self, node: usize, name: &'static str, run: F) -> CancellationToken
    where
        F: Fn(&Task) -> Result<Output, Failure> + Send + Sync + 'static,
    {
        self.work_with(self.server.config_of(node), name, run)
    }
}

impl<S> Diamond<S> {
    async fn on(server: S, config: Config, workflow: &str, replicas: usize) -> Self {
        let graph = Graph::parse(workflow).expect("the workflow is valid");
        let bus = layout::ensure(&config, &graph, replicas).await.expect("the server is up");
        Self { server, bus, graph, config, shutdown: CancellationToken::new() }
    }

    /// Starts a worker for a stage; the token stops it.
    pub fn work<F>(&self, name: &'static str, run: F) -> CancellationToken
    where
        F: Fn(&Task) -> Result<Output, Failure> + Send + Sync + 'static,
    {
        self.work_for(name, self.config.grace, run)
    }

    /// The same, with a worker that finishes nothing after `grace` once it is stopped.
    pub fn work_for<F>(&self, name: &'static str, grace: Duration, run: F) -> CancellationToken
    where
        F: Fn(&Task) -> Result<Output, Failure> + Send + Sync + 'static,
    {
        self.work_with(Config { grace, ..self.config.clone() }, name, run)
    }

    fn work_with<F>(&self, config: Config, name: &'static str, run: F) -> CancellationToken
    where
        F: Fn(&Task) -> Result<Output, Failure> + Send + Sync + 'static,
    {
        let stop = self.shutdown.child_token();
        let stopped = stop.clone();
        tokio::spawn(async move {
            workflow::work(Closure { name, slots: 4, run }, &config, stopped).await
        });
        stop
    }

    /// Starts workers for all stages but one.
    pub fn work_all_but(&self, other: &str) {
        for name in STAGES.into_iter().filter(|name| *name != other) {
            self.work(name, stage(name));
        }
    }

    /// Starts workers for all stages.
    pub fn work_all(&self) {
        self.work_all_but("");
    }

    /// Stops all workers there are; others can be started.
    pub fn stop_all(&mut self) {
        std::mem::take(&mut self.shutdown).cancel();
    }

    /// A lost worker's task is another's after this time, not after half a minute. For workers
    /// whose tasks are quicker than that.
    ///
    /// # Panics
    /// If the server does not do it.
    pub async fn shorten_leases(&self, lease: Duration) {
        let js = jetstream::new(self.bus.client().clone());
        let stages = self.graph.stages().iter();
        for name in stages.flat_map(|stage| [stage.name.clone(), format!("{}-batch", stage.name)]) {
            let consumer = js.get_consumer_from_stream::<pull::Config, _, _>(&name, "STEMFLOW");
            let mut consumer = consumer.await.expect("the consumer is there");
            let mut config = consumer.info().await.expect("it tells of itself").config.clone();
            config.ack_wait = lease;
            let config: pull::Config =
                jetstream::consumer::FromConsumer::try_from_consumer_config(config)
                    .expect("it is a pull consumer");
            js.create_consumer_on_stream(config, "STEMFLOW").await.expect("it can be changed");
        }
    }

    /// Sends a job whose input, and name, is `text`.
    ///
    /// # Panics
    /// If NATS does not take it.
    pub async fn submit(&self, text: &str) -> Submitted {
        self.submit_to(text, Lane::Interactive).await
    }

    /// The same, to a lane.
    ///
    /// # Panics
    /// If NATS does not take it.
    pub async fn submit_to(&self, text: &str, lane: Lane) -> Submitted {
        self.hand_in(text, lane, None).await
    }

    /// The same, by someone who wants to be told of its end.
    ///
    /// # Panics
    /// If NATS does not take it.
    pub async fn submit_for(&self, text: &str, callback: &str) -> Submitted {
        self.hand_in(text, Lane::Interactive, Some(callback.into())).await
    }

    async fn hand_in(
        &self,
        text: &str,
        lane: Lane,
        callback: Option<serde_json::Value>,
    ) -> Submitted {
        let name = format!("input/{}", self.bus.unique());
        let mut object = self.bus.put(Bucket::Queue, name, None);
        object.write(text.as_bytes()).await.expect("the bucket is there");
        let input = Input { object: object.finish().await.expect("it is stored"), owned: true };
        let spec = serde_json::Value::Null;
        let submission = Submission { id: JobId::of(text), spec, input, lane, callback };
        self.bus.submit(submission, &self.graph, |_| true).await.expect("it is taken")
    }

    /// The job, once it has ended and all that only served it is gone.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn wait_for_end(&self, id: &JobId) -> Job {
        self.wait_for(id, |job| job.state.is_final() && job.freed).await
    }

    /// The job, once it is as wished.
    ///
    /// # Panics
    /// If it is not in time.
    pub async fn wait_for(&self, id: &JobId, is_so: impl Fn(&Job) -> bool) -> Job {
        let deadline = Deadline::after(Duration::from_secs(100));
        loop {
            // The server may be away for a moment.
            let job = self.bus.job(id).await.ok().flatten();
            if let Some(job) = job.clone().filter(&is_so) {
                return job;
            }
            deadline.pause_async(|| format!("{job:#?}")).await;
        }
    }

    /// How many messages a stream holds.
    ///
    /// # Panics
    /// If the server does not tell.
    pub async fn messages(&self, stream: &str) -> u64 {
        let js = jetstream::new(self.bus.client().clone());
        let deadline = Deadline::after(Duration::from_secs(40));
        loop {
            // Its leader may be away for a moment.
            match js.get_stream(stream).await {
                Ok(stream) => return stream.cached_info().state.messages,
                Err(error) => deadline.pause_async(|| error.to_string()).await,
            }
        }
    }

    /// Waits until a stream holds so many messages: what nobody waits for goes a moment later.
    ///
    /// # Panics
    /// If it does not come to that.
    pub async fn wait_for_messages(&self, stream: &str, number: u64) {
        let deadline = Deadline::after(Duration::from_secs(20));
        loop {
            let messages = self.messages(stream).await;
            if messages == number {
                return;
            }
            deadline.pause_async(|| format!("{messages} messages in {stream}")).await;
        }
    }

    /// Waits until nothing is left but jobs' records and what people can find.
    ///
    /// # Panics
    /// If something else stays.
    pub async fn wait_for_calm(&self, names: u64) {
        for stream in ["STEMFLOW", "OBJ_work", "OBJ_queue"] {
            self.wait_for_messages(stream, 0).await;
        }
        // Three chunks and a name.
        self.wait_for_messages("OBJ_output", 4 * names).await;
        let deadline = Deadline::after(Duration::from_secs(20));
        for stage in STAGES {
            loop {
                let backlog = self.bus.backlog(stage).await.expect("the server tells");
                if (backlog.waiting, backlog.in_hand) == (0, 0) {
                    break;
                }
                deadline.pause_async(|| format!("{backlog:?}")).await;
            }
        }
    }
}

impl<S> Drop for Diamond<S> {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
