//! Three servers, of which one may be lost at any time: jobs are done once, and nothing is left.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use futures::TryStreamExt;
use futures::future::join_all;
use tests::{
    Cluster, Deadline, Deed, Diamond, Point, STAGES, STREAMS, SUM, Wire, binary, join, label,
    split, square, stage,
};
use tokio::process::Command;
use tokio_util::sync::{CancellationToken, DropGuard};
use workflow::{Bucket, Bus, Job, JobId, JobState, Rounds, reconcile};

/// No task of the diamond takes that long.
const LEASE: Duration = Duration::from_secs(6);

/// Sends jobs as long as it is held, one after the other, each with a fan-out of its own.
struct Load {
    diamond: Arc<Diamond<Cluster>>,
    next: AtomicU64,
}

impl Load {
    fn on(diamond: Arc<Diamond<Cluster>>) -> Self {
        Self { diamond, next: AtomicU64::new(10) }
    }

    /// Sends `number` jobs, some while others are under way already.
    async fn send(&self, number: usize) -> Vec<(u64, JobId)> {
        let mut sent = Vec::new();
        for _ in 0..number {
            let count = self.next.fetch_add(1, Ordering::SeqCst);
            let id = self.diamond.submit(&count.to_string()).await.job().hash.clone();
            sent.push((count, id));
        }
        sent
    }

    /// Waits until all of them are done, and checks what they say.
    async fn settle(&self, jobs: Vec<(u64, JobId)>) {
        for (count, id) in jobs {
            let job = self.diamond.wait_for_end(&id).await;
            assert_done(&job, count);
        }
    }

    /// Nothing but the jobs' results is left.
    async fn check_rest(&self) {
        let jobs = self.next.load(Ordering::SeqCst) - 10;
        self.diamond.wait_for_calm(jobs).await;
        assert_eq!(self.diamond.bus.dead_letters().await.unwrap(), []);
    }
}

fn assert_done(job: &Job, count: u64) {
    let sum: u64 = (0..count).map(|number| number * number).sum();
    assert_eq!((job.state.clone(), job.run), (JobState::Done, 1), "{job:#?}");
    assert_eq!(job.results["join"], format!("sum={sum}"), "{job:#?}");
}

/// What gateways do beside: what a crash leaves half done is seen through.
fn reconciler(bus: &Bus) -> DropGuard {
    let stop = CancellationToken::new();
    let rounds = Rounds { every: Duration::from_secs(1), still: Duration::from_secs(3) };
    tokio::spawn(reconcile(bus.clone(), rounds, stop.clone()));
    stop.drop_guard()
}

/// A diamond on a cluster, with all its workers and a reconciler.
async fn busy() -> (Arc<Diamond<Cluster>>, DropGuard) {
    let diamond = Diamond::replicated().await;
    diamond.shorten_leases(LEASE).await;
    diamond.work_all();
    let reconciler = reconciler(&diamond.bus);
    (Arc::new(diamond), reconciler)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_through_and_everything_is_on_three_servers() {
    let diamond = Diamond::replicated().await;
    diamond.work_all();
    let id = diamond.submit("200").await.job().hash.clone();
    let job = diamond.wait_for_end(&id).await;
    assert_eq!((job.state, &job.results["join"]), (JobState::Done, &SUM.into()));
    diamond.wait_for_calm(1).await;

    let js = jetstream::new(diamond.bus.client().clone());
    let streams: Vec<_> = js.streams().try_collect().await.unwrap();
    let names: BTreeSet<&str> = streams.iter().map(|stream| stream.config.name.as_str()).collect();
    assert_eq!(names, STREAMS.into_iter().chain(["KV_workflows"]).collect());
    for stream in &streams {
        let name = &stream.config.name;
        let replicas = stream.cluster.as_ref().map(|cluster| cluster.replicas.len());
        assert_eq!(replicas, Some(2), "{name}");
        let stream = js.get_stream(name).await.unwrap();
        let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
        let expected = match name.as_str() {
            // One for each stage and lane.
            "STEMFLOW" => 2 * STAGES.len(),
            "STEMFLOW_CALLBACKS" => 1,
            _ => 0,
        };
        assert_eq!(consumers.len(), expected, "{name}");
        for consumer in consumers {
            let replicas = consumer.cluster.map(|cluster| cluster.replicas.len());
            assert_eq!(replicas, Some(2), "{}", consumer.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_anything_is_killed_in_the_midst_of_jobs() {
    let (diamond, _reconciler) = busy().await;
    let cluster = &diamond.server;
    let load = Load::on(Arc::clone(&diamond));
    let mut lost = BTreeSet::new();
    let all = STREAMS.into_iter().chain(STAGES).chain(["meta"]);
    for what in all {
        if lost.contains(what) {
            continue;
        }
        let node = leader(cluster, what).await;
        for other in STREAMS.into_iter().chain(STAGES).chain(["meta"]) {
            if leader(cluster, other).await == node {
                lost.insert(other);
            }
        }
        println!("killing {node}, the leader of {what}; so far {lost:?}");
        let before = load.send(4).await;
        cluster.kill(node).await;
        let after = load.send(2).await;
        load.settle(before).await;
        load.settle(after).await;
        cluster.restart(node).await;
        cluster.wait_until_current().await;
    }
    load.check_rest().await;
}

async fn leader(cluster: &Cluster, what: &str) -> usize {
    if what == "meta" {
        return cluster.meta_leader().await.unwrap();
    }
    if STAGES.contains(&what) {
        return cluster.leader_of_consumer("STEMFLOW", what).await;
    }
    cluster.leader_of_stream(what).await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_are_restarted_one_by_one_under_load() {
    let (diamond, _reconciler) = busy().await;
    let load = Arc::new(Load::on(Arc::clone(&diamond)));
    let stop = CancellationToken::new();
    let (sender, stopped) = (Arc::clone(&load), stop.clone());
    let sending = tokio::spawn(async move {
        while !stopped.is_cancelled() {
            // A few at a time: each job is larger than the one before.
            let jobs = sender.send(4).await;
            sender.settle(jobs).await;
        }
    });
    for node in 0..Cluster::NODES {
        diamond.server.stop(node).await;
        diamond.server.restart(node).await;
        diamond.server.wait_until_current().await;
    }
    stop.cancel();
    sending.await.unwrap();
    load.check_rest().await;
}

/// Longer than leases, and than it takes to notice that a server is cut off.
const CUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_cut_off_with_workers_until_their_leases_are_lost() {
    let diamond = Diamond::replicated().await;
    diamond.shorten_leases(LEASE).await;
    let cluster = &diamond.server;
    let node = cluster.leader_of_stream("STEMFLOW").await;
    // Some at the server that will be cut off, some at the others.
    for name in STAGES {
        diamond.work_at(node, name, stage(name));
        diamond.work(name, stage(name));
    }
    let _reconciler = reconciler(&diamond.bus);
    let diamond = Arc::new(diamond);
    let load = Load::on(Arc::clone(&diamond));
    let before = load.send(6).await;
    diamond.server.cut(node);
    let during = load.send(2).await;
    tokio::time::sleep(CUT).await;
    diamond.server.heal(node);
    let after = load.send(2).await;
    for jobs in [before, during, after] {
        load.settle(jobs).await;
    }
    diamond.server.wait_until_current().await;
    load.check_rest().await;
}

/// A connection to one server alone.
async fn bus_at(cluster: &Cluster, node: usize) -> Bus {
    Bus::open(&cluster.config_of(node)).await.unwrap()
}

/// How long a server that is cut off is asked: no leader is elected before.
const A_WHILE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_has_not_heard_of_is_not_taken_for_missing() {
    let mut diamond = Diamond::replicated().await;
    let (leader, behind) = (0, 1);
    for stream in STREAMS {
        diamond.server.move_leader(stream, leader).await;
    }
    let late = bus_at(&diamond.server, behind).await;
    diamond.bus = bus_at(&diamond.server, leader).await;
    isolate_what_answers(&diamond, behind, &late).await;
    let job = diamond.submit("1").await.job().clone();
    let (ask, input) = (late.clone(), job.input.object.clone());
    let found = tokio::spawn(join_all((0..ASKED).map(move |_| {
        let (bus, id) = (ask.clone(), job.hash.clone());
        async move { bus.job(&id).await }
    })));
    let read = tokio::spawn(join_all((0..ASKED).map(move |_| {
        let mut reader = late.get(&input);
        async move { reader.next().await }
    })));
    tokio::time::sleep(A_WHILE).await;
    diamond.server.heal(behind);
    for found in found.await.unwrap() {
        assert!(found.unwrap().is_some());
    }
    for read in read.await.unwrap() {
        assert_eq!(read.unwrap().unwrap().as_ref(), b"1");
    }
}

/// Any of three replicas may answer: so often that it is all of them.
const ASKED: usize = 20;

/// Cuts off a server that answers for others: a replica does so some time after it has been made.
async fn isolate_what_answers(diamond: &Diamond<Cluster>, node: usize, at_node: &Bus) {
    let js = jetstream::new(diamond.bus.client().clone());
    let late = jetstream::new(at_node.client().clone());
    for (stream, subject) in [("KV_jobs", "$KV.jobs.probe"), ("OBJ_queue", "$O.queue.C.probe")] {
        js.publish(subject, "".into()).await.unwrap().await.unwrap();
        let replica = late.get_stream_no_info(stream).await.unwrap();
        let deadline = Deadline::after(Duration::from_secs(60));
        loop {
            diamond.server.isolate(node);
            let asked = replica.direct_get_last_for_subject(subject);
            if matches!(tokio::time::timeout(A_MOMENT, asked).await, Ok(Ok(_))) {
                break;
            }
            diamond.server.heal(node);
            tokio::time::sleep(A_MOMENT).await;
            deadline.pause_async(|| format!("no replica answers for {stream}")).await;
        }
    }
}

/// Long enough for an answer, too short for an election.
const A_MOMENT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_kept_while_nobody_knows_of_its_job() {
    let diamond = Diamond::replicated().await;
    let id = diamond.submit("1").await.job().hash.clone();
    // As it is for whoever asks a server that was the leader once.
    let js = jetstream::new(diamond.bus.client().clone());
    let jobs = js.get_stream("KV_jobs").await.unwrap();
    let subject = format!("$KV.jobs.{id}");
    let record = jobs.get_last_raw_message_by_subject(&subject).await.unwrap().payload;
    jobs.purge().filter(&subject).await.unwrap();
    diamond.work_all();
    let deadline = Deadline::after(Duration::from_secs(20));
    while diamond.bus.backlog("split").await.unwrap().waiting > 0 {
        deadline.pause_async(|| "no worker takes the task".to_owned()).await;
    }
    tokio::time::sleep(A_WHILE).await;
    js.publish(subject, record).await.unwrap().await.unwrap();
    assert_done(&diamond.wait_for_end(&id).await, 1);
    diamond.wait_for_calm(1).await;
}

/// A worker of `square` falls asleep with its object stored and nothing said of it, for longer than
/// its lease; another one does its task. `join` goes on before it wakes up, or waits for that.
async fn wake_up_late(is_over: bool) {
    let diamond = Diamond::replicated().await;
    diamond.shorten_leases(LEASE).await;
    diamond.work("split", split);
    diamond.work("label", label);
    let point = Point::after("$O.work.C.>");
    let wire = Wire::lay(&diamond.server.url_of(0), Some((point, Deed::Hold))).await;
    let mut worker = Command::new(binary("diamond"));
    worker.env("NATS_URL", wire.url()).env("STAGE", "square").kill_on_drop(true);
    let worker = worker.stdout(Stdio::null()).spawn().unwrap();
    let id = diamond.submit("1").await.job().hash.clone();
    wire.struck().await;
    signal(&worker, "STOP").await;
    wire.let_go();

    diamond.work("square", square);
    if is_over {
        diamond.work("join", join);
        diamond.wait_for_end(&id).await;
    } else {
        let is_squared =
            |job: &Job| job.stages.get("square").is_some_and(|square| square.finished.is_some());
        diamond.wait_for(&id, is_squared).await;
        // The table, and the object of either.
        diamond.wait_for_messages("OBJ_work", 5).await;
    }
    signal(&worker, "CONT").await;
    let deadline = Deadline::after(Duration::from_secs(60));
    // It asks for the next task, beside the other four: it has been told.
    while diamond.bus.backlog("square").await.unwrap().asked < 5 {
        deadline.pause_async(|| "it has not woken up".to_owned()).await;
    }
    if !is_over {
        diamond.wait_for_messages("OBJ_work", 4).await;
        diamond.work("join", join);
    }
    assert_done(&diamond.wait_for_end(&id).await, 1);
    diamond.wait_for_calm(1).await;
}

async fn signal(process: &tokio::process::Child, name: &str) {
    let pid = process.id().unwrap().to_string();
    let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await;
    assert!(sent.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_past_its_lease_loses() {
    wake_up_late(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_past_the_end_of_the_job_leaves_nothing() {
    wake_up_late(true).await;
}

const CHUNK: usize = 512 * 1024;

/// Puts an object of so many chunks, and lets `befall` happen to the servers in the midst of it.
async fn put_while(bus: &Bus, chunks: u8, befall: impl AsyncFnOnce()) {
    let mut object = bus.put(Bucket::Work, "large".to_owned(), None);
    for chunk in 0..chunks / 2 {
        object.write(&vec![chunk; CHUNK]).await.unwrap();
    }
    befall().await;
    for chunk in chunks / 2..chunks {
        object.write(&vec![chunk; CHUNK]).await.unwrap();
    }
    let object = object.finish().await.unwrap();
    let mut reader = bus.get(&object);
    let mut size = 0;
    while let Some(bytes) = reader.next().await.unwrap() {
        size += bytes.len();
    }
    assert_eq!(size, usize::from(chunks) * CHUNK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_whole_though_the_leader_dies_under_it() {
    let mut diamond = Diamond::replicated().await;
    let (leader, other) = (0, 1);
    diamond.server.move_leader("OBJ_work", leader).await;
    diamond.bus = bus_at(&diamond.server, other).await;
    put_while(&diamond.bus, 30, async || diamond.server.kill(leader).await).await;
    // Its chunks, and its name.
    diamond.wait_for_messages("OBJ_work", 31).await;

    // One that is left goes, though there is no leader just then.
    diamond.server.restart(leader).await;
    diamond.server.wait_until_current().await;
    let leader = diamond.server.leader_of_stream("OBJ_work").await;
    diamond.bus = bus_at(&diamond.server, (leader + 1) % Cluster::NODES).await;
    let mut object = diamond.bus.put(Bucket::Work, "left".to_owned(), None);
    object.write(&vec![0; 9 * CHUNK]).await.unwrap();
    diamond.server.kill(leader).await;
    drop(object);
    diamond.wait_for_messages("OBJ_work", 31).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_come_late_are_not_taken() {
    let mut diamond = Diamond::replicated().await;
    let leader = 0;
    diamond.server.move_leader("OBJ_work", leader).await;
    // What is on its way when the cut comes arrives when it is healed.
    diamond.bus = bus_at(&diamond.server, leader).await;
    put_while(&diamond.bus, 30, async || diamond.server.cut(leader)).await;
    diamond.server.reunite(leader);
    diamond.server.wait_until_current().await;
    diamond.server.heal(leader);
    tokio::time::sleep(A_WHILE).await;
    diamond.wait_for_messages("OBJ_work", 31).await;
}
