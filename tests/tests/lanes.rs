//! Two lanes: what someone waits for comes before what may take the night, neither stands still,
//! and no task is ever in both.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::StreamExt;
use tests::{Closure, Deadline, Diamond, Mortal, Point, SUM, binary, square};
use tokio_util::sync::CancellationToken;
use workflow::{JobState, Lane, RunId, Task};

/// Less than the lease of a task, and less than a request for one waits.
const AT_ONCE: Duration = Duration::from_secs(8);

/// Starts a worker for `square` with one slot that notes in which lane each of its tasks was.
fn work_in_order(diamond: &Diamond, batch: &RunId) -> (Arc<Mutex<Vec<Lane>>>, CancellationToken) {
    let order: Arc<Mutex<Vec<Lane>>> = Arc::default();
    let (noted, batch) = (Arc::clone(&order), batch.clone());
    let run = move |task: &Task| {
        let lane = if *task.run() == batch { Lane::Batch } else { Lane::Interactive };
        noted.lock().unwrap().push(lane);
        square(task)
    };
    let (config, stop) = (diamond.server.config(), CancellationToken::new());
    let stopped = stop.clone();
    let stage = Closure { name: "square", slots: 1, run };
    tokio::spawn(async move { workflow::work(stage, &config, stopped).await });
    (order, stop)
}

async fn wait_for_backlog(diamond: &Diamond, lane: Lane, number: u64) {
    let deadline = Deadline::after(Duration::from_secs(20));
    loop {
        let backlog = diamond.bus.backlog_of("square", lane).await.unwrap();
        if backlog.waiting == number {
            return;
        }
        deadline.pause_async(|| format!("{lane}: {backlog:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_later_comes_first_and_neither_lane_stands_still() {
    let diamond = Diamond::start().await;
    diamond.work_all_but("square");
    let batch = diamond.submit_to("30", Lane::Batch).await.job().run_id();
    wait_for_backlog(&diamond, Lane::Batch, 30).await;
    let interactive = diamond.submit("12").await.job().run_id();
    wait_for_backlog(&diamond, Lane::Interactive, 12).await;

    let (order, stop) = work_in_order(&diamond, &batch);
    for run in [&interactive, &batch] {
        assert_eq!(diamond.wait_for_end(&run.job).await.state, JobState::Done);
    }
    stop.cancel();
    let order = order.lock().unwrap();
    let turns: Vec<Lane> = (1..=12 + 4)
        .map(|turn| if turn % 4 == 0 { Lane::Batch } else { Lane::Interactive })
        .collect();
    assert_eq!(order[..turns.len()], turns, "every fourth is of the lane batch");
    assert_eq!(order.len(), 30 + 12, "and each came once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_takes_a_task_of_either_lane_at_once() {
    let diamond = Diamond::start().await;
    diamond.work_all();
    // Each job finds workers that wait in both lanes, and requests of theirs that have just been
    // taken back in the other one.
    for (number, lane) in (0..24).zip(Lane::ALL.into_iter().cycle()) {
        let begun = Instant::now();
        let id = diamond.submit_to(&number.to_string(), lane).await.job().hash.clone();
        assert_eq!(diamond.wait_for_end(&id).await.state, JobState::Done);
        assert!(begun.elapsed() < AT_ONCE, "{number} in {lane}: {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_changes_lanes_has_each_task_in_one_of_them() {
    // Whoever releases what follows the change dies at it, and others do it again.
    for point in [
        Point::after("stemflow.fact.*.split.0"),
        Point::after("stemflow.task.square.>").nth(100),
        Point::after("stemflow.task.label.>"),
        Point::after("$KV.jobs.*"),
    ] {
        let diamond = Diamond::start().await;
        diamond.shorten_leases(Duration::from_secs(3)).await;
        // Whoever publishes anything there is heard, whether the stream takes it or not.
        let client = diamond.bus.client();
        let mut wrong = client.subscribe("stemflow.task.square.interactive.>").await.unwrap();
        diamond.work_all_but("split");
        let command = |url: &str| {
            let mut command = Command::new(binary("diamond"));
            command.env("NATS_URL", url).env("STAGE", "split").env("STEMFLOW_LOG", "error");
            command
        };
        let mortal = Mortal::killed_at(point, 1, diamond.server.url(), command);
        let id = diamond.submit("200 later").await.job().hash.clone();
        mortal.wait_for_death(1, Deadline::after(Duration::from_secs(60))).await;
        let job = diamond.wait_for_end(&id).await;
        assert_eq!((job.state.clone(), &job.results["join"]), (JobState::Done, &SUM.into()));
        assert_eq!((job.lane, job.lane_now()), (Lane::Interactive, Lane::Batch));
        assert!(wrong.next().now_or_never().is_none(), "{point:?}: a task in the wrong lane");
        diamond.wait_for_calm(1).await;
    }
}
