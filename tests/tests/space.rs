//! Room that is not there, and room that comes back.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures::TryStreamExt;
use tests::{Deadline, Diamond, join};
use tokio_util::sync::CancellationToken;
use workflow::layout::{self, Layout, Quotas};
use workflow::{Failure, JobState, Rounds, reconcile};

/// How many messages there are in each stream, and how many subjects they stand on.
async fn inventory(diamond: &Diamond) -> Vec<(String, u64, u64)> {
    let js = jetstream::new(diamond.bus.client().clone());
    let streams: Vec<jetstream::stream::Info> = js.streams().try_collect().await.unwrap();
    let mut found: Vec<_> = streams
        .into_iter()
        .map(|info| (info.config.name, info.state.messages, info.state.subjects_count))
        .collect();
    found.sort();
    found
}

/// Runs that many jobs to their ends, some of which fail, and removes them.
async fn run_and_remove(diamond: &Diamond, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let text = if number % 3 == 2 { format!("bad {number}") } else { number.to_string() };
        let id = diamond.submit(&text).await.job().hash.clone();
        let job = diamond.wait_for_end(&id).await;
        diamond.bus.remove(&job.run_id()).await.unwrap();
        for letter in diamond.bus.dead_letters().await.unwrap() {
            diamond.bus.drop_letter(&letter).await.unwrap();
        }
    }
    diamond.wait_for_calm(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_jobs_leave_no_more_behind_than_three() {
    let diamond = Diamond::start().await;
    diamond.work_all();
    // What the server tells of tasks that were given up, the reconciler heeds and deletes.
    let stop = CancellationToken::new();
    let rounds = Rounds { every: Duration::from_millis(300), still: Duration::from_secs(60) };
    tokio::spawn(reconcile(diamond.bus.clone(), rounds, stop.clone()));
    let _stop = stop.drop_guard();
    run_and_remove(&diamond, 0..3).await;
    diamond.wait_for_messages("STEMFLOW_DEAD", 0).await;
    let few = inventory(&diamond).await;
    run_and_remove(&diamond, 3..30).await;
    let deadline = Deadline::after(Duration::from_secs(20));
    while inventory(&diamond).await != few {
        let many = inventory(&diamond).await;
        deadline.pause_async(|| format!("{many:#?}\nafter three: {few:#?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_room_waits_for_some_and_is_done() {
    let diamond = Diamond::start().await;
    let quota = async |output| {
        let layout = Layout { replicas: 1, quotas: Quotas { output, ..Quotas::default() } };
        layout::ensure_as(&diamond.server.config(), &diamond.graph, layout).await.unwrap();
    };
    // Less than `join` stores.
    quota(Some(1_000_000)).await;
    diamond.work_all_but("join");
    let attempts: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = Arc::clone(&attempts);
    diamond.work("join", move |task| {
        let joined = join(task).map_err(|error| Failure::transient(error.to_string()));
        noted.lock().unwrap().push(Instant::now());
        joined
    });
    let id = diamond.submit("20").await.job().hash.clone();
    let deadline = Deadline::after(Duration::from_secs(60));
    while attempts.lock().unwrap().is_empty() {
        deadline.pause_async(|| "not tried yet".to_owned()).await;
    }
    // What it had stored goes, for others to use.
    diamond.wait_for_messages("OBJ_output", 0).await;
    quota(None).await;
    let job = diamond.wait_for_end(&id).await;
    assert_eq!((job.state, &job.results["join"]), (JobState::Done, &"sum=2470".into()));
    let attempts = attempts.lock().unwrap().clone();
    assert_eq!(attempts.len(), 2);
    assert!(attempts[1] - attempts[0] > Duration::from_secs(25), "it left others no time");
    diamond.wait_for_calm(1).await;
}
