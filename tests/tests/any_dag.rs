//! The runtime knows no audio: a quite different workflow runs on it, whatever goes wrong.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::{DIAMOND, Deadline, Diamond, SUM, join, label, split, square};
use workflow::{Failure, JobState, Output, RunId, Submitted};

#[tokio::test(flavor = "multi_thread")]
async fn a_diamond_with_a_fan_out_of_200_comes_together() {
    let diamond = Diamond::start().await;
    diamond.work_all();

    let Submitted::Begun(job) = diamond.submit("200").await else { panic!("a new job") };
    let job = diamond.wait_for_end(&job.hash).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
    assert_eq!(job.results, BTreeMap::from([("join".to_owned(), SUM.into())]));
    assert_eq!(job.stages["square"].tasks, 200);

    // The same again is answered at once, and nothing but the record is left of it.
    assert!(matches!(diamond.submit("200").await, Submitted::Done(_)));
    for stream in ["STEMFLOW", "OBJ_work"] {
        assert_eq!(diamond.messages(stream).await, 0, "in {stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_fan_out_is_complete_at_once() {
    let diamond = Diamond::start().await;
    diamond.work_all();

    let submitted = diamond.submit("0").await;
    let job = diamond.wait_for_end(&submitted.job().hash).await;
    assert_eq!(job.results["join"], "sum=0");
}

/// Longer than the heartbeats of a pull request, shorter than the request: between the two, workers
/// have been deaf before.
const IDLE: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_have_been_idle_take_the_next_task_before_a_lease_runs_out() {
    let diamond = Diamond::start().await;
    diamond.work_all();
    tokio::time::sleep(IDLE).await;

    let id = diamond.submit("1").await.job().hash.clone();
    let done = tokio::time::timeout(Duration::from_secs(25), diamond.wait_for_end(&id)).await;
    assert_eq!(done.expect("no lease runs out").results["join"], "sum=0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_a_while_is_tried_again_and_done_once() {
    let diamond = Diamond::start().await;
    diamond.work("split", split);
    diamond.work("label", label);
    let joins = Arc::new(AtomicUsize::new(0));
    let joined = Arc::clone(&joins);
    diamond.work("join", move |task| {
        joined.fetch_add(1, Ordering::SeqCst);
        join(task)
    });
    diamond.work("square", |task| match (task.key(), task.attempt()) {
        ("003", 1) => Err(Failure::transient("the first attempt fails")),
        ("005", 1 | 2) => panic!("the first two attempts panic"),
        _ => square(task),
    });

    let submitted = diamond.submit("200").await;
    let job = diamond.wait_for_end(&submitted.job().hash).await;
    assert_eq!(job.results["join"], SUM, "{job:#?}");
    assert_eq!(joins.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_succeed_fails_the_job_with_its_reason_and_leaves_nothing() {
    let diamond = Diamond::start().await;
    diamond.work_all();

    let submitted = diamond.submit("many").await;
    let job = diamond.wait_for_end(&submitted.job().hash).await;
    assert_eq!(job.state, JobState::Failed);
    let error = job.error.expect("a failed job says why");
    assert_eq!((error.code.as_str(), error.message.as_str()), ("no-number", "send a number"));
    assert_eq!(error.stage, "split");
    for stream in ["STEMFLOW", "OBJ_work", "OBJ_queue"] {
        assert_eq!(diamond.messages(stream).await, 0, "in {stream}");
    }
    assert_eq!(diamond.messages("STEMFLOW_DEAD").await, 2, "the dead task and the advisory");

    // Sent again, it runs again.
    let Submitted::Begun(job) = diamond.submit("many").await else { panic!("a new run") };
    assert_eq!(job.run, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_each_time_is_given_up() {
    let diamond = Diamond::of(&DIAMOND.replace("attempts = 3", "attempts = 2")).await;
    diamond.work("split", split);
    diamond.work("square", |_| Err(Failure::transient("out of luck")));

    let submitted = diamond.submit("1").await;
    let job = diamond.wait_for_end(&submitted.job().hash).await;
    let error = job.error.expect("a failed job says why");
    assert_eq!(error.message, "gave up after 2 attempts: out of luck");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_no_stage_gave_fails_the_job() {
    let diamond = Diamond::start().await;
    diamond.work("split", |_| Ok(Output::none()));

    let submitted = diamond.submit("1").await;
    let job = diamond.wait_for_end(&submitted.job().hash).await;
    let error = job.error.expect("a failed job says why");
    assert_eq!(error.message, "no stage before `square` gave the list `number`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_stops_its_running_tasks_within_moments() {
    let diamond = Diamond::start().await;
    diamond.work("split", split);
    let (running, mut is_running) = tokio::sync::mpsc::unbounded_channel();
    let (stopped, mut is_stopped) = tokio::sync::mpsc::unbounded_channel();
    diamond.work("square", move |task| {
        running.send(()).unwrap();
        let deadline = Deadline::after(Duration::from_secs(8));
        while task.check().is_ok() {
            deadline.pause(|| "still running".to_owned());
        }
        stopped.send(()).unwrap();
        square(task)
    });

    let id = diamond.submit("1").await.job().hash.clone();
    is_running.recv().await.unwrap();
    let job = diamond.bus.cancel(&RunId::first(id.clone())).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    is_stopped.recv().await.unwrap();
    diamond.wait_for_end(&id).await;
    let deadline = Deadline::after(Duration::from_secs(20));
    while diamond.messages("OBJ_work").await > 0 {
        deadline.pause_async(|| "an object of a cancelled job".to_owned()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_in_the_middle_loses_nothing() {
    let mut diamond = Diamond::start().await;
    let crash_at = Arc::new(Mutex::new(Some(())));
    let (half, mut is_half) = tokio::sync::mpsc::unbounded_channel();
    diamond.work("split", split);
    diamond.work("label", label);
    diamond.work("join", join);
    diamond.work("square", move |task| {
        if task.key() == "100" && crash_at.lock().unwrap().take().is_some() {
            half.send(()).unwrap();
        }
        square(task)
    });

    let id = diamond.submit("200").await.job().hash.clone();
    is_half.recv().await.unwrap();
    diamond.server.crash_and_restart();
    let deadline = Deadline::after(Duration::from_secs(100));
    loop {
        // The server is away for a moment; so may be an answer.
        if let Ok(Some(job)) = diamond.bus.job(&id).await
            && job.state.is_final()
        {
            assert_eq!(job.results["join"], SUM, "{job:#?}");
            break;
        }
        deadline.pause_async(|| "not done".to_owned()).await;
    }
}
