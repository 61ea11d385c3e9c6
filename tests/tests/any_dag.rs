//! The runtime knows no audio: a quite different workflow runs on it, whatever goes wrong.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::{Closure, Deadline, NatsServer};
use tokio_util::sync::CancellationToken;
use workflow::{
    Bucket, Bus, Config, Failure, Graph, Input, Job, JobId, JobState, Output, Submission,
    Submitted, Task, layout,
};

const DIAMOND: &str = r#"
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

/// The workers of a test; they stop when it ends.
struct Workers {
    config: Config,
    shutdown: CancellationToken,
}

impl Workers {
    fn of(server: &NatsServer) -> Self {
        Self { config: server.config(), shutdown: CancellationToken::new() }
    }

    fn start<F>(&self, name: &'static str, run: F)
    where
        F: Fn(&Task) -> Result<Output, Failure> + Send + Sync + 'static,
    {
        let (config, shutdown) = (self.config.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            workflow::work(Closure { name, slots: 4, run }, &config, shutdown).await
        });
    }

    /// `split` gives 200 numbers, `square` squares each, `join` adds them up under a label.
    fn start_diamond(&self) {
        self.start("split", split);
        self.start("square", square);
        self.start("label", |_| Output::of(&"sum"));
        self.start("join", join);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn split(task: &Task) -> Result<Output, Failure> {
    let mut text = String::new();
    task.open(task.input()).read_to_string(&mut text)?;
    let count: usize =
        text.parse().map_err(|_| Failure::permanent("no-number", "send a number"))?;
    let keys = (0..count).map(|number| format!("{number:03}")).collect();
    Ok(Output::none().with_list("number", keys))
}

fn square(task: &Task) -> Result<Output, Failure> {
    let number: u64 = task.key().parse().expect("split gives numbers");
    let mut object = task.create(Bucket::Work, "square");
    write!(object, "{}", number * number)?;
    object.finish()?;
    Output::of(&number)
}

fn join(task: &Task) -> Result<Output, Failure> {
    let label: String = task.fact("label")?.data()?;
    let mut sum = 0;
    for fact in task.facts("square")? {
        let mut text = String::new();
        task.open(fact.object("square")?).read_to_string(&mut text)?;
        sum += text.parse::<u64>().expect("square writes numbers");
    }
    Output::of(&format!("{label}={sum}"))
}

async fn submit(bus: &Bus, graph: &Graph, text: &str) -> Submitted {
    let mut object = bus.put(Bucket::Queue, format!("input/{text}"), None);
    object.write(text.as_bytes()).await.unwrap();
    let input = Input { object: object.finish().await.unwrap(), owned: true };
    let submission = Submission { id: JobId::of(text), spec: serde_json::Value::Null, input };
    bus.submit(submission, graph, |_| true).await.unwrap()
}

async fn wait_for_end(bus: &Bus, id: &JobId) -> Job {
    let deadline = Deadline::after(Duration::from_secs(60));
    loop {
        let job = bus.job(id).await.unwrap().expect("the job was submitted");
        if job.state.is_final() && job.freed {
            return job;
        }
        deadline.pause_async(|| format!("{job:#?}")).await;
    }
}

/// Sum of n² for n below 200.
const SUM: &str = "sum=2646700";

async fn messages(server: &NatsServer, stream: &str) -> u64 {
    let client = async_nats::connect(server.url()).await.unwrap();
    let js = async_nats::jetstream::new(client);
    js.get_stream(stream).await.unwrap().get_info().await.unwrap().state.messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diamond_with_a_fan_out_of_200_comes_together() {
    let server = NatsServer::start();
    let graph = Graph::parse(DIAMOND).unwrap();
    let bus = layout::ensure(&server.config(), &graph, 1).await.unwrap();
    let workers = Workers::of(&server);
    workers.start_diamond();

    let Submitted::Begun(job) = submit(&bus, &graph, "200").await else { panic!("a new job") };
    let job = wait_for_end(&bus, &job.hash).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    assert_eq!(job.results, BTreeMap::from([("join".to_owned(), SUM.into())]));
    assert_eq!(job.stages["square"].tasks, 200);

    // The same again is answered at once, and nothing but the record is left of it.
    assert!(matches!(submit(&bus, &graph, "200").await, Submitted::Done(_)));
    for stream in ["STEMFLOW", "OBJ_work"] {
        assert_eq!(messages(&server, stream).await, 0, "in {stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_fan_out_is_complete_at_once() {
    let server = NatsServer::start();
    let graph = Graph::parse(DIAMOND).unwrap();
    let bus = layout::ensure(&server.config(), &graph, 1).await.unwrap();
    let workers = Workers::of(&server);
    workers.start_diamond();

    let submitted = submit(&bus, &graph, "0").await;
    let job = wait_for_end(&bus, &submitted.job().hash).await;
    assert_eq!(job.results["join"], "sum=0");
}

/// Longer than the heartbeats of a pull request, shorter than the request: between the two, workers
/// have been deaf before.
const IDLE: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_have_been_idle_take_the_next_task_before_a_lease_runs_out() {
    let server = NatsServer::start();
    let graph = Graph::parse(DIAMOND).unwrap();
    let bus = layout::ensure(&server.config(), &graph, 1).await.unwrap();
    let workers = Workers::of(&server);
    workers.start_diamond();
    tokio::time::sleep(IDLE).await;

    let id = submit(&bus, &graph, "1").await.job().hash.clone();
    let done = tokio::time::timeout(Duration::from_secs(25), wait_for_end(&bus, &id)).await;
    assert_eq!(done.expect("no lease runs out").results["join"], "sum=0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_a_while_is_tried_again_and_done_once() {
    let server = NatsServer::start();
    let graph = Graph::parse(DIAMOND).unwrap();
    let bus = layout::ensure(&server.config(), &graph, 1).await.unwrap();
    let workers = Workers::of(&server);
    workers.start("split", split);
    workers.start("label", |_| Output::of(&"sum"));
    let joins = Arc::new(AtomicUsize::new(0));
    let joined = Arc::clone(&joins);
    workers.start("join", move |task| {
        joined.fetch_add(1, Ordering::SeqCst);
        join(task)
    });
    workers.start("square", |task| match (task.key(), task.attempt()) {
        ("003", 1) => Err(Failure::transient("the first attempt fails")),
        ("005", 1 | 2) => panic!("the first two attempts panic"),
        _ => square(task),
    });

    let submitted = submit(&bus, &graph, "200").await;
    let job = wait_for_end(&bus, &submitted.job().hash).await;
    assert_eq!(job.results["join"], SUM, "{job:#?}");
    assert_eq!(joins.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_succeed_fails_the_job_with_its_reason_and_leaves_nothing() {
    let server = NatsServer::start();
    let graph = Graph::parse(DIAMOND).unwrap();
    let bus = layout::ensure(&server.config(), &graph, 1).await.unwrap();
    let workers = Workers::of(&server);
    workers.start_diamond();

    let submitted = submit(&bus, &graph, "many").await;
    let job = wait_for_end(&bus, &submitted.job().hash).await;
    assert_eq!(job.state, JobState::Failed);
    let error = job.error.expect("a failed job says why");
    assert_eq!((error.code.as_str(), error.message.as_str()), ("no-number", "send a number"));
    assert_eq!(error.stage, "split");
    for stream in ["STEMFLOW", "OBJ_work", "OBJ_queue"] {
        assert_eq!(messages(&server, stream).await, 0, "in {stream}");
    }
    assert_eq!(messages(&server, "STEMFLOW_DEAD").await, 2, "the dead task and the advisory");

    // Sent again, it runs again.
    let Submitted::Begun(job) = submit(&bus, &graph, "many").await else { panic!("a new run") };
    assert_eq!(job.run, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_each_time_is_given_up() {
    let server = NatsServer::start();
    let graph = Graph::parse(&DIAMOND.replace("attempts = 3", "attempts = 2")).unwrap();
    let bus = layout::ensure(&server.config(), &graph, 1).await.unwrap();
    let workers = Workers::of(&server);
    workers.start("split", split);
    workers.start("square", |_| Err(Failure::transient("out of luck")));

    let submitted = submit(&bus, &graph, "1").await;
    let job = wait_for_end(&bus, &submitted.job().hash).await;
    let error = job.error.expect("a failed job says why");
    assert_eq!(error.message, "gave up after 2 attempts: out of luck");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_no_stage_gave_fails_the_job() {
    let server = NatsServer::start();
    let graph = Graph::parse(DIAMOND).unwrap();
    let bus = layout::ensure(&server.config(), &graph, 1).await.unwrap();
    let workers = Workers::of(&server);
    workers.start("split", |_| Ok(Output::none()));

    let submitted = submit(&bus, &graph, "1").await;
    let job = wait_for_end(&bus, &submitted.job().hash).await;
    let error = job.error.expect("a failed job says why");
    assert_eq!(error.message, "no stage before `square` gave the list `number`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_stops_its_running_tasks_within_moments() {
    let server = NatsServer::start();
    let graph = Graph::parse(DIAMOND).unwrap();
    let bus = layout::ensure(&server.config(), &graph, 1).await.unwrap();
    let workers = Workers::of(&server);
    workers.start("split", split);
    let (running, mut is_running) = tokio::sync::mpsc::unbounded_channel();
    let (stopped, mut is_stopped) = tokio::sync::mpsc::unbounded_channel();
    workers.start("square", move |task| {
        running.send(()).unwrap();
        let deadline = Deadline::after(Duration::from_secs(8));
        while task.check().is_ok() {
            deadline.pause(|| "still running".to_owned());
        }
        stopped.send(()).unwrap();
        square(task)
    });

    let id = submit(&bus, &graph, "1").await.job().hash.clone();
    is_running.recv().await.unwrap();
    let job = bus.cancel(&id).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    is_stopped.recv().await.unwrap();
    wait_for_end(&bus, &id).await;
    let deadline = Deadline::after(Duration::from_secs(20));
    while messages(&server, "OBJ_work").await > 0 {
        deadline.pause_async(|| "an object of a cancelled job".to_owned()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_in_the_middle_loses_nothing() {
    let mut server = NatsServer::start();
    let graph = Graph::parse(DIAMOND).unwrap();
    let bus = layout::ensure(&server.config(), &graph, 1).await.unwrap();
    let workers = Workers::of(&server);
    let crash_at = Arc::new(Mutex::new(Some(())));
    let (half, mut is_half) = tokio::sync::mpsc::unbounded_channel();
    workers.start("split", split);
    workers.start("label", |_| Output::of(&"sum"));
    workers.start("join", join);
    workers.start("square", move |task| {
        if task.key() == "100" && crash_at.lock().unwrap().take().is_some() {
            half.send(()).unwrap();
        }
        square(task)
    });

    let id = submit(&bus, &graph, "200").await.job().hash.clone();
    is_half.recv().await.unwrap();
    server.crash_and_restart();
    let deadline = Deadline::after(Duration::from_secs(100));
    loop {
        // The server is away for a moment; so may be an answer.
        if let Ok(Some(job)) = bus.job(&id).await
            && job.state.is_final()
        {
            assert_eq!(job.results["join"], SUM, "{job:#?}");
            break;
        }
        deadline.pause_async(|| "not done".to_owned()).await;
    }
}
