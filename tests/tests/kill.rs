//! A worker is killed at every arrow of its hand-over, once and several times. Each time its job is
//! done once, and all that is left is what a calm run leaves.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::time::Duration;

use futures::StreamExt;
use tests::{DIAMOND, Deadline, Diamond, Mortal, Point, SUM, binary};
use tokio_util::sync::CancellationToken;
use workflow::{JobState, Rounds, reconcile};

/// No task of the diamond takes that long.
const LEASE: Duration = Duration::from_secs(3);
/// Runs at a time.
const RUNS: usize = 4;
/// Kills of the same worker at the same point, in the runs with several.
const SEVERAL: usize = 3;

/// Where a task's objects are stored.
const WORK_CHUNK: &str = "$O.work.C.>";
const OUTPUT_CHUNK: &str = "$O.output.C.>";
const NAME: &str = "$O.output.M.>";
const COUNT: &str = "$JS.API.STREAM.INFO.STEMFLOW";
const RECORD: &str = "$KV.jobs.*";
const PURGE: &str = "$JS.API.STREAM.PURGE.STEMFLOW";
const NOTICE: &str = "stemflow.callback.*.*";
const PURGE_WORK: &str = "$JS.API.STREAM.PURGE.OBJ_work";

fn stage_command(stage: &'static str) -> impl Fn(&str) -> Command + Send + 'static {
    move |url| {
        let mut command = Command::new(binary("diamond"));
        command.env("NATS_URL", url).env("STAGE", stage).env("STEMFLOW_LOG", "error");
        command
    }
}

/// One worker of `stage` is mortal, the others are not.
async fn run(stage: &'static str, point: Point, times: usize) {
    // More attempts than kills, and more kills than attempts would be another test.
    let diamond = Diamond::of(&DIAMOND.replace("attempts = 3", "attempts = 9")).await;
    diamond.shorten_leases(LEASE).await;
    diamond.work_all_but(stage);
    let mortal = Mortal::killed_at(point, times, diamond.server.url(), stage_command(stage));

    // The fan-out is large where it is what is cut short.
    let (song, sum) = if stage == "split" { ("200", SUM) } else { ("20", "sum=2470") };
    let id = diamond.submit_for(song, "someone").await.job().hash.clone();
    let deadline = Deadline::after(Duration::from_secs(100));
    mortal.wait_for_death(1, deadline).await;
    // What is left to do after the acknowledgement, nobody but the reconciler does.
    let stop = CancellationToken::new();
    if is_after_the_acknowledgement(point) {
        let rounds =
            Rounds { every: Duration::from_millis(300), still: Duration::from_millis(300) };
        tokio::spawn(reconcile(diamond.bus.clone(), rounds, stop.clone()));
    }
    let _stop = stop.drop_guard();
    let job = diamond.wait_for_end(&id).await;
    assert_eq!(job.state, JobState::Done, "{stage} {point:?}: {job:#?}");
    assert_eq!((job.run, &job.results["join"]), (1, &sum.into()), "{stage} {point:?}");
    diamond.wait_for_calm(1).await;
    // No letters: that tasks in hand went with their run, the server tells there too, and the
    // reconciler heeds it.
    assert_eq!(diamond.bus.dead_letters().await.unwrap(), [], "{stage} {point:?}");
    let name = format!("{id}/sum");
    let object = diamond.bus.find(workflow::Bucket::Output, &name).await.unwrap();
    let mut reader = diamond.bus.get(&object);
    while reader.next().await.unwrap().is_some() {}
    // Who wanted to know is owed the end, and owed it once.
    assert_eq!(diamond.messages("STEMFLOW_CALLBACKS").await, 1, "{stage} {point:?}");
    let notice = diamond.bus.next_notice().await.unwrap().unwrap();
    assert_eq!((notice.callback, notice.job.state), ("someone".into(), JobState::Done));
    // Fewer if the others had done without it what was to be done there.
    assert!((1..=times).contains(&mortal.deaths()), "{stage} {point:?}");
}

fn is_after_the_acknowledgement(point: Point) -> bool {
    let is_ack = point.subject.starts_with("$JS.ACK.") && point.when == tests::When::After;
    let is_purge = point.subject.starts_with("$JS.API.STREAM.PURGE.");
    is_ack || is_purge || point.subject == NOTICE || point.holding == FREED
}

/// What the job's record holds once all is deleted.
const FREED: &str = "\"freed\":true";

async fn run_all(stage: &'static str, points: &[Point]) {
    let runs = points.iter().flat_map(|point| [(*point, 1), (*point, SEVERAL)]);
    // After an acknowledgement the task does not come again, and nobody is killed twice.
    let runs = runs.filter(|(point, times)| *times == 1 || !is_after_the_acknowledgement(*point));
    let runs = runs.map(|(point, times)| async move {
        let begun = std::time::Instant::now();
        let done = tokio::spawn(run(stage, point, times)).await;
        println!("{stage} killed {times} times at {point:?}: {:?}", begun.elapsed());
        assert!(done.is_ok(), "{stage} killed {times} times at {point:?}");
    });
    futures::stream::iter(runs).buffer_unordered(RUNS).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_fans_out_is_killed_at_every_arrow() {
    let points = [
        Point::before(WORK_CHUNK),
        Point::before(WORK_CHUNK).nth(2),
        Point::after(WORK_CHUNK).nth(3),
        Point::before("stemflow.fact.*.split.0"),
        Point::after("stemflow.fact.*.split.0"),
        Point::before(COUNT),
        Point::after(COUNT),
        Point::before("stemflow.task.square.>"),
        Point::before("stemflow.task.square.>").nth(2),
        Point::after("stemflow.task.square.>").nth(200),
        Point::before("stemflow.task.label.>"),
        Point::after("stemflow.task.label.>"),
        Point::before(RECORD),
        Point::after(RECORD),
        Point::before("$JS.ACK.STEMFLOW.split.>").holding("+ACK"),
        Point::after("$JS.ACK.STEMFLOW.split.>").holding("+ACK"),
    ];
    run_all("split", &points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_workers_is_killed_at_every_arrow() {
    let points = [
        Point::before(WORK_CHUNK).nth(6),
        Point::after(WORK_CHUNK),
        Point::before("stemflow.fact.*.square.*"),
        Point::after("stemflow.fact.*.square.*").nth(3),
        Point::before(COUNT),
        Point::after(COUNT).nth(7),
        Point::before("$JS.ACK.STEMFLOW.square.>").holding("+ACK"),
        Point::after("$JS.ACK.STEMFLOW.square.>").holding("+ACK"),
    ];
    run_all("square", &points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_that_records_the_last_fact_is_killed_at_every_arrow() {
    let points = [
        Point::before("stemflow.task.join.>"),
        Point::after("stemflow.task.join.>"),
        Point::before(RECORD),
        Point::after(RECORD),
    ];
    run_all("square", &points).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_worker_is_killed_at_every_arrow() {
    let points = [
        Point::before(OUTPUT_CHUNK),
        Point::before(OUTPUT_CHUNK).nth(2),
        Point::after(OUTPUT_CHUNK).nth(3),
        Point::before("stemflow.fact.*.join.0"),
        Point::after("stemflow.fact.*.join.0"),
        Point::before(NAME),
        Point::after(NAME),
        Point::before(RECORD),
        Point::after(RECORD),
        Point::before("$JS.ACK.STEMFLOW.join.>").holding("+ACK"),
        Point::after("$JS.ACK.STEMFLOW.join.>").holding("+ACK"),
        Point::before(PURGE),
        Point::after(PURGE),
        Point::before(PURGE_WORK),
        Point::after(PURGE_WORK),
        Point::before(PURGE).nth(2),
        Point::after(PURGE).nth(2),
        Point::before(NOTICE),
        Point::after(NOTICE),
        Point::before(RECORD).holding(FREED),
        Point::after(RECORD).holding(FREED),
    ];
    run_all("join", &points).await;
}
