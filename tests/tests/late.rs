//! A process that sleeps between its look at something and its write comes too late, and strikes
//! nothing that has come about meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use tests::{DIAMOND, Deed, Diamond, Point, Wire, binary, join, split};
use tokio::process::{Child, Command};
use workflow::{Bucket, Bus, Config, Failure, Job, JobState, Redriven, RunId};

const NAME: Point = Point::before("$O.output.M.>");
const RECORD: Point = Point::before("$KV.jobs.*");
const FORGET: Point = Point::before("$JS.API.STREAM.PURGE.KV_jobs");
/// The first thing that is freed.
const FREE: Point = Point::before("$JS.API.STREAM.PURGE.STEMFLOW");
const READ_OF_A_TASK: Point =
    Point::before("$JS.API.STREAM.MSG.GET.STEMFLOW").holding("stemflow.task.");
const READ_OF_A_FACT: Point = Point::before("$JS.API.STREAM.MSG.GET.STEMFLOW");
/// The fact is stored, and its writer is not told.
const FACT: Point = Point::after("stemflow.fact.*.join.0");
/// Longer than a worker waits for an answer.
const SLEEP: Duration = Duration::from_secs(7);
/// No task of the diamond takes that long.
const LEASE: Duration = Duration::from_secs(2);

/// Another way to the same server, which holds what is said from `point` on.
async fn sleeper(diamond: &Diamond, point: Point) -> (Wire, Bus) {
    let wire = Wire::lay(&diamond.server.url(), Some((point, Deed::Hold))).await;
    let config = Config { nats_url: wire.url().to_owned(), ..diamond.server.config() };
    let bus = Bus::open(&config).await.unwrap();
    (wire, bus)
}

/// A job whose last worker falls asleep at `point`, and that worker.
async fn job_asleep_at(diamond: &Diamond, point: Point) -> (Job, Wire, Child) {
    diamond.work_all_but("join");
    let wire = Wire::lay(&diamond.server.url(), Some((point, Deed::Hold))).await;
    let mut worker = Command::new(binary("diamond"));
    worker.env("NATS_URL", wire.url()).env("STAGE", "join").kill_on_drop(true);
    let worker = worker.spawn().unwrap();
    let job = diamond.submit("1").await.job().clone();
    wire.struck().await;
    (job, wire, worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_later_run_has_given_stays() {
    let diamond = Diamond::start().await;
    let (job, wire, _worker) = job_asleep_at(&diamond, NAME).await;
    diamond.bus.cancel(&job.run_id()).await.unwrap();
    diamond.work("join", join);
    diamond.submit("1").await;
    let job = diamond.wait_for(&job.hash, |job| job.run == 2 && job.freed).await;
    assert_eq!(job.state, JobState::Done);
    let name = format!("{}/sum", job.hash);
    let given = diamond.bus.find(Bucket::Output, &name).await.unwrap();
    assert_eq!(given.nuid, job.names[&name].nuid);

    wire.let_go();
    // It has come to its senses once it takes part in another job.
    let other = diamond.submit("2").await.job().hash.clone();
    diamond.wait_for_end(&other).await;
    diamond.wait_for_calm(2).await;
    assert_eq!(diamond.bus.find(Bucket::Output, &name).await.unwrap(), given);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_were_given_before_the_job_was_cancelled_are_taken_back() {
    let diamond = Diamond::start().await;
    let (job, wire, _worker) = job_asleep_at(&diamond, RECORD).await;
    assert_eq!(diamond.messages("OBJ_output").await, 4, "three chunks and a name");
    diamond.bus.cancel(&job.run_id()).await.unwrap();
    diamond.wait_for_messages("OBJ_output", 0).await;
    wire.let_go();
    diamond.wait_for_calm(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_given_after_the_job_was_cancelled_is_taken_back() {
    let diamond = Diamond::start().await;
    let (job, wire, _worker) = job_asleep_at(&diamond, NAME).await;
    diamond.bus.cancel(&job.run_id()).await.unwrap();
    diamond.wait_for_messages("OBJ_output", 0).await;
    let js = async_nats::jetstream::new(diamond.bus.client().clone());
    let stream = js.get_stream("OBJ_output").await.unwrap();
    let before = stream.cached_info().state.last_sequence;
    wire.let_go();
    // The name is there for a moment.
    let deadline = tests::Deadline::after(Duration::from_secs(20));
    while stream.get_info().await.unwrap().state.last_sequence == before {
        deadline.pause_async(|| "the name was not given".to_owned()).await;
    }
    diamond.wait_for_calm(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_jobs_record_goes_only_if_it_is_still_of_that_run() {
    let diamond = Diamond::start().await;
    let id = diamond.submit("1").await.job().hash.clone();
    let first = RunId::first(id.clone());
    let (wire, bus) = sleeper(&diamond, FORGET).await;
    let removing = tokio::spawn(async move { bus.remove(&first).await });
    wire.struck().await;
    let second = diamond.submit("1").await.job().clone();
    assert_eq!(second.run, 2);
    wire.let_go();
    removing.await.unwrap().unwrap();
    assert_eq!(diamond.bus.job(&id).await.unwrap().unwrap().run, 2);
    diamond.work_all();
    assert_eq!(diamond.wait_for_end(&id).await.state, JobState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_task_that_two_people_redrive_runs_again_once() {
    let diamond = Diamond::of(&DIAMOND.replace("attempts = 3", "attempts = 1")).await;
    diamond.work("split", split);
    let stop = diamond.work("square", |_| Err(Failure::transient("out of luck")));
    let id = diamond.submit("1").await.job().hash.clone();
    diamond.wait_for_end(&id).await;
    stop.cancel();
    let letter = diamond.bus.dead_letters().await.unwrap().remove(0);
    let (wire, bus) = sleeper(&diamond, RECORD).await;
    let same = letter.clone();
    let late = tokio::spawn(async move { bus.redrive(&same).await });
    wire.struck().await;
    let Redriven::Begun(job) = diamond.bus.redrive(&letter).await.unwrap() else { panic!() };
    assert_eq!(job.run, 2);
    wire.let_go();
    let late = late.await.unwrap().unwrap();
    assert!(matches!(&late, Redriven::Refused(why) if why.contains("drop the letter")), "{late:?}");
    assert_eq!(diamond.bus.job(&id).await.unwrap().unwrap().run, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_stays_whose_maker_learns_too_late_that_it_was_taken() {
    let diamond = Diamond::start().await;
    diamond.shorten_leases(LEASE).await;
    let (job, wire, _worker) = job_asleep_at(&diamond, FACT).await;
    let stop = diamond.work("join", join);
    let job = diamond.wait_for_end(&job.hash).await;
    assert_eq!(job.state, JobState::Done);
    stop.cancel();
    // By now it has given up on the answer, and will write the fact again when it wakes up.
    tokio::time::sleep(SLEEP).await;
    wire.let_go();
    let other = diamond.submit("2").await.job().hash.clone();
    diamond.wait_for_end(&other).await;
    diamond.wait_for_calm(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_removed_while_its_last_worker_frees_it() {
    let diamond = Diamond::start().await;
    let (job, worker_wire, _worker) = job_asleep_at(&diamond, FREE).await;
    let (wire, bus) = sleeper(&diamond, READ_OF_A_FACT).await;
    let run = job.run_id();
    let removal = tokio::spawn(async move { bus.remove(&run).await });
    wire.struck().await;
    // What the removal has seen and is about to read goes.
    worker_wire.let_go();
    diamond.wait_for_messages("STEMFLOW", 0).await;
    wire.let_go();
    let removed = removal.await.unwrap().unwrap();
    assert_eq!(removed.map(|job| job.hash), Some(job.hash.clone()));
    assert!(diamond.bus.job(&job.hash).await.unwrap().is_none());
    diamond.wait_for_calm(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_released_after_a_look_at_the_backlog_is_not_taken_for_given_up() {
    let diamond = Diamond::start().await;
    let job = diamond.submit("1").await.job().clone();
    // Its task is lost, and two gateways look after it at the same time.
    let js = async_nats::jetstream::new(diamond.bus.client().clone());
    js.get_stream("STEMFLOW").await.unwrap().purge().await.unwrap();
    let (wire, bus) = sleeper(&diamond, READ_OF_A_TASK).await;
    let same = job.clone();
    let late = tokio::spawn(async move { bus.look_after(&same).await });
    wire.struck().await;
    diamond.bus.look_after(&job).await.unwrap();
    wire.let_go();
    late.await.unwrap().unwrap();
    diamond.work_all();
    let job = diamond.wait_for_end(&job.hash).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
}
