//! Tasks that are given up: the job says why, the others go on, and a person can look at them, run
//! them again, or drop them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull};
use serde_json::Value;
use tests::{DIAMOND, Deadline, Diamond, Mortal, SUM, binary, split, square};
use tokio_util::sync::CancellationToken;
use workflow::{Failure, JobState, Rounds, RunId, Submitted, reconcile};

const QUICK: Rounds =
    Rounds { every: Duration::from_millis(200), still: Duration::from_millis(500) };

/// What `stemflow dead` prints, and whether it worked.
async fn dead(diamond: &Diamond, arguments: &[&str]) -> (bool, String) {
    let mut command = tokio::process::Command::new(binary("stemflow"));
    command.arg("dead").args(arguments).args(["--nats", &diamond.server.url()]);
    let ran = command.output().await.unwrap();
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8(said).unwrap())
}

async fn dead_json(diamond: &Diamond, arguments: &[&str]) -> Vec<Value> {
    let (worked, said) = dead(diamond, &[arguments, &["--json"]].concat()).await;
    assert!(worked, "{said}");
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn watch(diamond: &Diamond) -> impl Drop + use<> {
    let stop = CancellationToken::new();
    tokio::spawn(reconcile(diamond.bus.clone(), QUICK, stop.clone()));
    stop.drop_guard()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_kills_its_worker_each_time_stops_and_the_other_jobs_go_on() {
    let diamond = Diamond::start().await;
    diamond.shorten_leases(Duration::from_secs(2)).await;
    diamond.work_all_but("square");
    let mortal = Mortal::frail(diamond.server.url(), |url| {
        let mut command = Command::new(binary("diamond"));
        command.env("NATS_URL", url).env("STAGE", "square").env("STEMFLOW_LOG", "error");
        command
    });

    let poison = diamond.submit("poison").await.job().hash.clone();
    let other = diamond.submit("200").await.job().hash.clone();
    let done = diamond.wait_for_end(&other).await;
    assert_eq!(done.results["join"], SUM, "{done:#?}");
    let failed = diamond.wait_for_end(&poison).await;
    let error = failed.error.expect("a failed job says why");
    assert_eq!((error.code.as_str(), error.stage.as_str()), ("lost-worker", "square"));
    assert_eq!(error.message, "gave up after 3 attempts: the worker was lost each time");
    assert_eq!(mortal.deaths(), 3, "it is not tried more often than it says");
    assert_eq!(diamond.messages("STEMFLOW").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_tasks_are_listed_shown_run_again_and_dropped() {
    let diamond = Diamond::of(&DIAMOND.replace("attempts = 3", "attempts = 2")).await;
    diamond.work_all_but("square");
    let lucky = Arc::new(AtomicBool::new(false));
    let is_lucky = Arc::clone(&lucky);
    diamond.work("square", move |task| match is_lucky.load(Ordering::SeqCst) {
        true => square(task),
        false => Err(Failure::transient("out of luck")),
    });
    let id = diamond.submit("1").await.job().hash.clone();
    diamond.wait_for_end(&id).await;
    assert_eq!(diamond.messages("STEMFLOW_DEAD").await, 2, "the letter and the advisory");

    let letters = dead_json(&diamond, &["list"]).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["task"]["run"], format!("{id}-1"));
    assert_eq!(
        (&letters[0]["task"]["stage"], &letters[0]["task"]["key"]),
        (&"square".into(), &"000".into())
    );
    assert_eq!((&letters[0]["attempts"], &letters[0]["code"]), (&2.into(), &"gave-up".into()));
    let (_, line) = dead(&diamond, &["list", "--stage", "square"]).await;
    assert!(
        line.contains("square/000  2 tried  gave-up: gave up after 2 attempts: out of luck"),
        "{line}"
    );
    assert_eq!(dead(&diamond, &["list", "--stage", "split"]).await.1, "no dead tasks\n");
    let (_, all) = dead(&diamond, &["show", "--job", &id.to_string()]).await;
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all["job"]["state"], "failed", "{all:#}");
    let (worked, said) = dead(&diamond, &["drop"]).await;
    assert!(!worked && said.contains("--all"), "{said}");

    // The circumstances have changed.
    lucky.store(true, Ordering::SeqCst);
    let redriven = dead_json(&diamond, &["redrive", "--all"]).await;
    assert_eq!(redriven[0]["redriven"], true, "{redriven:?}");
    let job = diamond.wait_for_end(&id).await;
    assert_eq!((job.state, job.run), (JobState::Done, 2));
    assert!(dead_json(&diamond, &["list"]).await.is_empty());
    diamond.wait_for_calm(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_letter_takes_the_input_that_was_kept_for_it_along() {
    let diamond = Diamond::of(&DIAMOND.replace("attempts = 3", "attempts = 1")).await;
    diamond.work("split", split);
    diamond.work("square", |_| Err(Failure::transient("out of luck")));
    let id = diamond.submit("1").await.job().hash.clone();
    diamond.wait_for_end(&id).await;
    assert_eq!(diamond.messages("OBJ_queue").await, 2, "a chunk and a name");
    dead(&diamond, &["drop", "--all"]).await;
    diamond.wait_for_calm(0).await;

    // So does a new run from an input of its own.
    diamond.submit("1").await;
    diamond.wait_for(&id, |job| job.run == 2 && job.freed).await;
    diamond.submit("1").await;
    diamond.wait_for(&id, |job| job.run == 3 && job.freed).await;
    assert_eq!(diamond.messages("OBJ_queue").await, 2);

    // What cannot succeed keeps nothing, and is not run again.
    let id = diamond.submit("many").await.job().hash.clone();
    diamond.wait_for_end(&id).await;
    let (worked, said) = dead(&diamond, &["redrive", "--job", &id.to_string()]).await;
    assert!(!worked && said.contains("the job's input is gone: send the song again"), "{said}");
}

/// Takes a task as often as the server gives it out, and does nothing.
async fn use_up_deliveries(diamond: &Diamond, stage: &str) {
    let js = jetstream::new(diamond.bus.client().clone());
    let mut consumer =
        js.get_consumer_from_stream::<pull::Config, _, _>(stage, "STEMFLOW").await.unwrap();
    let mut config = consumer.info().await.unwrap().config.clone();
    config.max_deliver = 2;
    let config: pull::Config =
        jetstream::consumer::FromConsumer::try_from_consumer_config(config).unwrap();
    let consumer = js.create_consumer_on_stream(config, "STEMFLOW").await.unwrap();
    // The third time that someone asks for it, the server finds that it has given it out too often.
    let second = Duration::from_secs(1);
    for _ in 0..3 {
        let batch = consumer.batch().max_messages(1).expires(second);
        let mut messages = batch.messages().await.unwrap();
        if let Some(message) = futures::StreamExt::next(&mut messages).await {
            message.unwrap().ack_with(jetstream::AckKind::Nak(None)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_the_server_gave_up_on_fails_its_job_by_the_advisory() {
    let diamond = Diamond::start().await;
    diamond.shorten_leases(Duration::from_secs(1)).await;
    let id = diamond.submit("1").await.job().hash.clone();
    use_up_deliveries(&diamond, "split").await;
    // Another task of the stage is always in hand: only the advisory can tell.
    diamond.submit("2").await;
    diamond.wait_for_messages("STEMFLOW_DEAD", 1).await;
    let _watch = watch(&diamond);
    let job = diamond.wait_for_end(&id).await;
    assert_eq!(job.error.unwrap().code, "undelivered");
    diamond.wait_for_messages("STEMFLOW_DEAD", 1).await;
    assert_eq!(diamond.bus.dead_letters().await.unwrap()[0].task.run.job, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_the_server_gave_up_on_fails_its_job_even_if_the_advisory_is_lost() {
    let diamond = Diamond::start().await;
    diamond.shorten_leases(Duration::from_secs(1)).await;
    let id = diamond.submit("1").await.job().hash.clone();
    use_up_deliveries(&diamond, "split").await;
    diamond.wait_for_messages("STEMFLOW_DEAD", 1).await;
    let js = jetstream::new(diamond.bus.client().clone());
    js.get_stream("STEMFLOW_DEAD").await.unwrap().purge().await.unwrap();
    let _watch = watch(&diamond);
    let job = diamond.wait_for_end(&id).await;
    assert_eq!(job.error.unwrap().code, "undelivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_cannot_be_read_fails_its_job() {
    let diamond = Diamond::start().await;
    let Submitted::Begun(job) = diamond.submit("1").await else { panic!("a new job") };
    let js = jetstream::new(diamond.bus.client().clone());
    let run = RunId::first(job.hash.clone());
    js.get_stream("STEMFLOW").await.unwrap().purge().await.unwrap();
    let subject = format!("stemflow.task.split.interactive.{run}.0");
    js.publish(subject, "nonsense".into()).await.unwrap().await.unwrap();
    diamond.work_all();
    diamond.wait_for_messages("STEMFLOW_DEAD", 1).await;
    let _watch = watch(&diamond);
    assert_eq!(diamond.wait_for_end(&job.hash).await.error.unwrap().code, "undelivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_lost_is_released_again() {
    let diamond = Diamond::start().await;
    let id = diamond.submit("1").await.job().hash.clone();
    let js = jetstream::new(diamond.bus.client().clone());
    js.get_stream("STEMFLOW").await.unwrap().purge().await.unwrap();
    let _watch = watch(&diamond);
    diamond.work_all();
    assert_eq!(diamond.wait_for_end(&id).await.state, JobState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_for_its_next_attempt_is_not_taken_for_given_up() {
    let diamond = Diamond::start().await;
    diamond.work_all_but("square");
    diamond.work("square", |task| match task.attempt() {
        1 | 2 => Err(Failure::transient("not yet")),
        _ => square(task),
    });
    let _watch = watch(&diamond);
    let id = diamond.submit("1").await.job().hash.clone();
    assert_eq!(diamond.wait_for_end(&id).await.state, JobState::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_costs_its_task_no_attempt() {
    let diamond = Diamond::of(&DIAMOND.replace("attempts = 3", "attempts = 1")).await;
    diamond.work_all_but("square");
    let id = diamond.submit("1").await.job().hash.clone();
    for _ in 0..2 {
        let (running, mut is_running) = tokio::sync::mpsc::unbounded_channel();
        let stop = diamond.work_for("square", Duration::ZERO, move |task| {
            let _ = running.send(task.attempt());
            let deadline = Deadline::after(Duration::from_secs(20));
            while task.check().is_ok() {
                deadline.pause(|| "not stopped".to_owned());
            }
            Err(task.check().unwrap_err())
        });
        let attempt = tokio::time::timeout(Duration::from_secs(30), is_running.recv()).await;
        assert_eq!(attempt, Ok(Some(1)), "each time it is the first attempt");
        stop.cancel();
    }
    diamond.work("square", square);
    let job = diamond.wait_for_end(&id).await;
    assert_eq!(job.state, JobState::Done, "{job:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_while_its_server_is_gone_ends() {
    let diamond = Diamond::start().await;
    let mut worker = tokio::process::Command::new(binary("diamond"));
    worker.env("NATS_URL", diamond.server.url()).env("STAGE", "join").kill_on_drop(true);
    let mut worker = worker.spawn().unwrap();
    let js = jetstream::new(diamond.bus.client().clone());
    let consumer = js.get_consumer_from_stream::<pull::Config, _, _>("join", "STEMFLOW");
    let consumer = consumer.await.unwrap();
    let deadline = Deadline::after(Duration::from_secs(30));
    while consumer.get_info().await.unwrap().num_waiting == 0 {
        deadline.pause_async(|| "it does not ask for tasks".to_owned()).await;
    }
    drop(diamond);
    let pid = worker.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(30), worker.wait()).await;
    assert!(ended.expect("it waits for its server").unwrap().success());
}
