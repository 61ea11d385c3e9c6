//! The runtime alone, with stages that do nothing, on one local server.
//!
//! ```text
//! cargo bench -p tests --bench runtime
//! ```
//!
//! Throughput: jobs of one task, 200 tasks and one task, eight jobs at a time. Latency of a hop: in
//! a chain of stages, from the return of one stage's `run` to the call of the next one's.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tests::{Closure, NatsServer};
use tokio_util::sync::CancellationToken;
use workflow::{
    Bucket, Bus, Graph, Input, JobId, JobState, Lane, ObjectRef, Output, Submission, Task, layout,
};

const FAN_OUT: usize = 200;
const JOBS: usize = 40;
const JOBS_AT_A_TIME: usize = 8;
const ROUNDS: usize = 5;
const CHAIN: usize = 20;
const CHAINS: usize = 50;

const FAN: &str = r#"
[[stage]]
name = "split"
[[stage]]
name = "work"
after = ["split"]
each = "part"
[[stage]]
name = "join"
after = ["work"]
"#;

struct Bench {
    server: NatsServer,
    graph: Graph,
    bus: Bus,
    input: ObjectRef,
    workers: CancellationToken,
}

impl Bench {
    async fn of(workflow: &str) -> Self {
        let server = NatsServer::start();
        let graph = Graph::parse(workflow).expect("the workflow is valid");
        let bus = layout::ensure(&server.config(), &graph, 1).await.expect("the server is up");
        let input = bus.put(Bucket::Queue, "nothing".to_owned(), None).finish().await;
        let input = input.expect("the bucket is there");
        Self { server, graph, bus, input, workers: CancellationToken::new() }
    }

    fn start(
        &self,
        name: &'static str,
        slots: usize,
        run: impl Fn() -> Output + Send + Sync + 'static,
    ) {
        let (config, stop) = (self.server.config(), self.workers.clone());
        let stage = Closure { name, slots, run: move |_: &Task| Ok(run()) };
        tokio::spawn(async move { workflow::work(stage, &config, stop).await });
    }

    /// Submits a job and waits until its end is told.
    async fn run(&self, name: &str) {
        let id = JobId::of(name);
        let mut events = self
            .bus
            .client()
            .subscribe(format!("stemflow.event.{id}.state"))
            .await
            .expect("connected");
        let input = Input { object: self.input.clone(), owned: false };
        let lane = Lane::Interactive;
        let submission =
            Submission { id, spec: serde_json::Value::Null, input, lane, callback: None };
        self.bus.submit(submission, &self.graph, |_| true).await.expect("the server is up");
        while let Some(event) = events.next().await {
            let job: workflow::Job = serde_json::from_slice(&event.payload).expect("a job");
            if job.state.is_final() {
                assert_eq!(job.state, JobState::Done, "{job:?}");
                return;
            }
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.workers.cancel();
    }
}

async fn throughput() {
    let bench = Bench::of(FAN).await;
    let keys: Vec<String> = (0..FAN_OUT).map(|number| format!("{number:03}")).collect();
    bench.start("split", 4, move || Output::none().with_list("part", keys.clone()));
    bench.start("work", 64, Output::none);
    bench.start("join", 4, Output::none);
    bench.run("warm up").await;

    let mut rates = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        let jobs = futures::stream::iter(0..JOBS).map(|job| {
            let (bench, name) = (&bench, format!("round {round} job {job}"));
            async move { bench.run(&name).await }
        });
        jobs.buffer_unordered(JOBS_AT_A_TIME).collect::<Vec<()>>().await;
        rates.push((JOBS * (FAN_OUT + 2)) as f64 / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let (low, median, high) = (rates[0], rates[ROUNDS / 2], rates[ROUNDS - 1]);
    println!("throughput  {median:.0} tasks/s  (median of {ROUNDS} rounds, {low:.0} to {high:.0})");
}

async fn latency() {
    let names: Vec<&'static str> = (0..CHAIN).map(|n| &*format!("s{n:02}").leak()).collect();
    let mut workflow = String::new();
    for (index, name) in names.iter().enumerate() {
        let after =
            if index == 0 { "[]".to_owned() } else { format!("[\"{}\"]", names[index - 1]) };
        workflow += &format!("[[stage]]\nname = \"{name}\"\nafter = {after}\n");
    }
    let bench = Bench::of(&workflow).await;
    let calls: Arc<Mutex<Vec<Instant>>> = Arc::default();
    for name in names {
        let calls = Arc::clone(&calls);
        bench.start(name, 1, move || {
            calls.lock().expect("no stage panics").push(Instant::now());
            Output::none()
        });
    }
    bench.run("warm up").await;

    let mut hops: Vec<Duration> = Vec::new();
    for chain in 0..CHAINS {
        calls.lock().expect("no stage panics").clear();
        bench.run(&format!("chain {chain}")).await;
        hops.extend(
            calls.lock().expect("no stage panics").windows(2).map(|pair| pair[1] - pair[0]),
        );
    }
    hops.sort();
    let at = |quantile: f64| hops[(hops.len() as f64 * quantile) as usize].as_secs_f64() * 1e3;
    println!("one hop     p50 {:.2} ms, p99 {:.2} ms  ({} hops)", at(0.5), at(0.99), hops.len());
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(async {
        throughput().await;
        latency().await;
    });
    runtime.shutdown_background();
}
