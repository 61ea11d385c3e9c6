//! Jobs are cancelled and removed in every state, while they run and while they are sent again:
//! nothing of a run outlives it, and no end strikes another run than the one that was meant.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use tests::{Deadline, Deed, Diamond, Point, Wire, binary, join, split, stage};
use tokio::process::Command;
use tokio::sync::mpsc;
use workflow::{Bucket, Failure, JobState, Output, RunId, Submitted, Task};

/// What a stage that was told to stop may take to hear it: it tells its progress five times as
/// often.
const A_BEAT: Duration = Duration::from_secs(1);

/// Does a stage's work, then waits to be stopped.
fn until_stopped(
    running: &mpsc::UnboundedSender<()>,
    run: impl Fn(&Task) -> Result<Output, Failure>,
    task: &Task,
) -> Result<Output, Failure> {
    let output = run(task);
    running.send(()).unwrap();
    let deadline = Deadline::after(Duration::from_secs(30));
    while task.check().is_ok() {
        deadline.pause(|| "still running".to_owned());
    }
    running.send(()).unwrap();
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_cancelled() {
    let diamond = Diamond::start().await;
    let id = diamond.submit("200").await.job().hash.clone();
    let job = diamond.bus.cancel(&RunId::first(id.clone())).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    diamond.wait_for_calm(0).await;
    let again = diamond.bus.cancel(&RunId::first(id)).await.unwrap().unwrap();
    assert_eq!(again.state, JobState::Cancelled, "once more changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_and_removed_in_each_of_its_stages() {
    for name in ["split", "square", "join"] {
        for removes in [false, true] {
            let diamond = Diamond::start().await;
            diamond.work_all_but(name);
            let (running, mut is_running) = mpsc::unbounded_channel();
            diamond.work(name, move |task| until_stopped(&running, stage(name), task));
            let id = diamond.submit("1").await.job().hash.clone();
            let run = RunId::first(id.clone());
            is_running.recv().await.unwrap();
            if removes {
                diamond.bus.remove(&run).await.unwrap();
                assert!(diamond.bus.job(&id).await.unwrap().is_none());
            } else {
                let job = diamond.bus.cancel(&run).await.unwrap().unwrap();
                assert_eq!(job.state, JobState::Cancelled);
            }
            let heard = tokio::time::timeout(A_BEAT, is_running.recv()).await;
            assert!(heard.is_ok(), "{name} does not hear of it");
            // What it had stored, and what it says now, comes too late.
            diamond.wait_for_calm(0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_job_is_removed_with_all_that_is_left_of_it() {
    let diamond = Diamond::start().await;
    diamond.work_all();
    for text in ["1", "many"] {
        let id = diamond.submit(text).await.job().hash.clone();
        let job = diamond.wait_for_end(&id).await;
        let same = diamond.bus.cancel(&job.run_id()).await.unwrap().unwrap();
        assert_eq!(same.state, job.state, "an end stays what it was");
        let name = format!("{id}/sum");
        let is_there = diamond.bus.find(Bucket::Output, &name).await.is_ok();
        assert_eq!(is_there, job.state == JobState::Done);
        diamond.bus.remove(&job.run_id()).await.unwrap();
        assert!(diamond.bus.job(&id).await.unwrap().is_none());
        assert!(diamond.bus.remove(&job.run_id()).await.unwrap().is_none(), "once more");
        diamond.wait_for_calm(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_that_comes_after_its_run_was_freed_is_not_taken() {
    let diamond = Diamond::start().await;
    diamond.work("split", split);
    // The worker has done its task and heard of nothing: its fact is under way while the job ends.
    let point = Point::before("stemflow.fact.*.square.*");
    let wire = Wire::lay(&diamond.server.url(), Some((point, Deed::Hold))).await;
    let mut worker = Command::new(binary("diamond"));
    worker.env("NATS_URL", wire.url()).env("STAGE", "square").kill_on_drop(true);
    let _worker = worker.spawn().unwrap();
    let id = diamond.submit("1").await.job().hash.clone();
    wire.struck().await;
    diamond.bus.cancel(&RunId::first(id.clone())).await.unwrap();
    diamond.wait_for_messages("STEMFLOW", 0).await;
    wire.let_go();
    // It takes part in the next run: by then it has been told.
    diamond.work("label", stage("label"));
    diamond.work("join", join);
    diamond.submit("1").await;
    let job = diamond.wait_for(&id, |job| job.run == 2 && job.freed).await;
    assert_eq!(job.state, JobState::Done);
    diamond.wait_for_calm(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_run_does_not_strike_the_next() {
    let diamond = Diamond::start().await;
    let id = diamond.submit("1").await.job().hash.clone();
    let first = RunId::first(id.clone());
    diamond.bus.cancel(&first).await.unwrap();
    let Submitted::Begun(second) = diamond.submit("1").await else { panic!("a new run") };
    assert_eq!(second.run, 2);

    // Whoever has looked at the first run only now gets to end it.
    let job = diamond.bus.cancel(&first).await.unwrap().unwrap();
    assert_eq!((job.run, job.state.is_final()), (2, false));
    let job = diamond.bus.remove(&first).await.unwrap().unwrap();
    assert_eq!((job.run, job.state.is_final()), (2, false));
    diamond.work_all();
    let job = diamond.wait_for_end(&id).await;
    assert_eq!((job.run, job.state), (2, JobState::Done));
    diamond.wait_for_calm(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_are_removed_and_sent_again_at_the_same_time_end_whole_or_not_at_all() {
    let diamond = Diamond::start().await;
    diamond.work_all();
    let id = diamond.submit("3").await.job().hash.clone();
    for _ in 0..30 {
        let Some(job) = diamond.bus.job(&id).await.unwrap() else {
            diamond.submit("3").await;
            continue;
        };
        let run = job.run_id();
        let (removed, submitted) = tokio::join!(diamond.bus.remove(&run), diamond.submit("3"));
        removed.unwrap();
        // Told that it is there already, or that it began: either way it comes to an end.
        drop(submitted);
    }
    if diamond.bus.job(&id).await.unwrap().is_none() {
        diamond.submit("3").await;
    }
    let job = diamond.wait_for(&id, |job| job.state.is_final() && job.freed).await;
    assert_eq!((job.state, &job.results["join"]), (JobState::Done, &"sum=5".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_released_after_the_end_of_its_run_does_not_stay() {
    let diamond = Diamond::start().await;
    let id = diamond.submit("1").await.job().hash.clone();
    let run = RunId::first(id.clone());
    let js = async_nats::jetstream::new(diamond.bus.client().clone());
    let task = format!("stemflow.task.split.interactive.{run}.0");
    let stream = js.get_stream("STEMFLOW").await.unwrap();
    let late = stream.get_last_raw_message_by_subject(&task).await.unwrap().payload;
    diamond.bus.cancel(&run).await.unwrap();
    js.publish(task, late).await.unwrap().await.unwrap();
    diamond.work("split", |_| panic!("nobody works on a run that has ended"));
    diamond.work("join", join);
    diamond.wait_for_calm(0).await;
}
