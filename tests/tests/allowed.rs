//! All that can befall a job, on a bus with accounts: whoever has to do something about it may.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use serde_json::json;
use tests::{Closure, DIAMOND, Deadline, Guarded, SUM, join, label, split, square};
use tokio_util::sync::{CancellationToken, DropGuard};
use workflow::{
    Bucket, Bus, Config, Failure, Graph, Input, Job, JobId, JobState, Lane, LetterFilter,
    LiveProgress, Output, Redriven, Rounds, Submission, Submitted, Task, layout, reconcile,
};

const QUICK: Rounds =
    Rounds { every: Duration::from_millis(200), still: Duration::from_millis(500) };

/// A guarded server with the diamond laid out on it by the gateway.
struct Stand {
    server: Guarded,
    gateway: Bus,
    admin: Bus,
    graph: Graph,
    shutdown: CancellationToken,
    _stop: DropGuard,
}

impl Stand {
    async fn start() -> Self {
        let workflow = DIAMOND.replace("attempts = 3", "attempts = 2");
        let server = Guarded::start(&workflow);
        let graph = Graph::parse(&workflow).unwrap();
        let gateway = layout::ensure(&server.config("gateway"), &graph, 1).await;
        let gateway = gateway.unwrap_or_else(|error| panic!("{error}: {:#?}", server.refused()));
        let admin = Bus::open(&server.config("admin")).await.unwrap();
        let shutdown = CancellationToken::new();
        let _stop = shutdown.clone().drop_guard();
        Self { server, gateway, admin, graph, shutdown, _stop }
    }

    /// What a gateway does beside its requests.
    fn watch(&self) {
        tokio::spawn(LiveProgress::default().follow(self.gateway.clone()));
        tokio::spawn(reconcile(self.gateway.clone(), QUICK, self.shutdown.clone()));
    }

    /// A worker of a stage, as that stage's user. With no grace, it gives back what it has in hand
    /// when it is stopped.
    fn work<F>(&self, name: &'static str, run: F) -> CancellationToken
    where
        F: Fn(&Task) -> Result<Output, Failure> + Send + Sync + 'static,
    {
        let config = Config { grace: Duration::ZERO, ..self.server.config(name) };
        let stop = self.shutdown.child_token();
        let stopped = stop.clone();
        tokio::spawn(async move {
            workflow::work(Closure { name, slots: 2, run }, &config, stopped).await
        });
        stop
    }

    async fn submit(&self, text: &str) -> Job {
        let submitted = self.hand_in(text, "someone").await;
        let Submitted::Begun(job) = submitted else { panic!("{submitted:?}") };
        job
    }

    async fn hand_in(&self, text: &str, callback: &str) -> Submitted {
        let mut object = self.gateway.put(Bucket::Queue, format!("input/{text}"), None);
        object.write(text.as_bytes()).await.unwrap();
        let input = Input { object: object.finish().await.unwrap(), owned: true };
        let (id, spec) = (JobId::of(text), serde_json::Value::Null);
        let submission =
            Submission { id, lane: Lane::default(), spec, input, callback: Some(callback.into()) };
        self.gateway.submit(submission, &self.graph, |_| true).await.unwrap()
    }

    async fn wait_for(&self, id: &JobId, is_so: impl Fn(&Job) -> bool) -> Job {
        let deadline = Deadline::after(Duration::from_secs(100));
        loop {
            let job = self.gateway.job(id).await.unwrap();
            if let Some(job) = job.clone().filter(&is_so) {
                return job;
            }
            deadline.pause_async(|| format!("{job:#?}\n{:#?}", self.server.refused())).await;
        }
    }

    async fn end_of(&self, id: &JobId) -> Job {
        self.wait_for(id, |job| job.state.is_final() && job.freed).await
    }

    async fn reason(&self, text: &str) -> String {
        let job = self.submit(text).await;
        self.end_of(&job.hash).await.error.expect("it has failed").code
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_befalls_a_job_nobody_is_refused_what_is_to_be_done() {
    let stand = Stand::start().await;
    stand.watch();
    let luck = Arc::new(AtomicU32::new(0));
    let has_luck = Arc::clone(&luck);
    stand.work("split", split);
    stand.work("label", move |task| match has_luck.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Failure::transient("try again")),
        _ => label(task),
    });
    let worker = stand.work("square", square);
    stand.work("join", join);

    // A retry, a fan-out, a fan-in; a name, and what it leads to.
    let done = stand.submit("200").await;
    let done = stand.end_of(&done.hash).await;
    assert_eq!((&done.state, &done.results["join"]), (&JobState::Done, &SUM.into()));
    assert_eq!(luck.load(Ordering::SeqCst), 2);
    let name = format!("{}/sum", done.hash);
    let object = stand.gateway.find(Bucket::Output, &name).await.unwrap();
    let mut reader = stand.gateway.get(&object);
    while reader.next().await.unwrap().is_some() {}
    stand.gateway.remove(&done.run_id()).await.unwrap();

    // The same once more, and by someone else when it is done.
    let again = stand.submit("200").await;
    stand.end_of(&again.hash).await;
    let done = stand.hand_in("200", "another").await;
    assert!(matches!(done, Submitted::Done(_)), "{done:?}");

    // A bad input; bad luck, a dead letter, another run of it, and a letter that is dropped.
    assert_eq!(stand.reason("no number").await, "no-number");
    assert_eq!(stand.reason("poison").await, "gave-up");
    let all = LetterFilter::default();
    let letters = stand.admin.dead_letters().await.unwrap();
    assert!(letters.len() == 2 && letters.iter().all(|letter| all.takes(letter)), "{letters:?}");
    let again = stand.admin.redrive(&letters[1]).await.unwrap();
    assert!(matches!(again, Redriven::Begun(_)), "{again:?}");
    stand.wait_for(&JobId::of("poison"), |job| job.run == 2 && job.freed).await;
    for letter in stand.admin.dead_letters().await.unwrap() {
        stand.admin.drop_letter(&letter).await.unwrap();
    }

    // A worker that goes while it has a task, and a job that is cancelled while another has it.
    worker.cancel();
    let over = stand.shutdown.clone();
    let slow = move |task: &Task| {
        let mut object = task.create(Bucket::Work, "begun");
        std::io::Write::write_all(&mut object, &[0; 600_000])?;
        // Also when the test fails: its runtime waits for whoever is still at it.
        while !task.reporter().is_stopped() && !over.is_cancelled() {
            task.progress(0.5);
            std::thread::sleep(Duration::from_millis(20));
        }
        task.check()?;
        Output::of(&0)
    };
    let going = stand.work("square", slow.clone());
    let cancelled = stand.submit("3").await;
    in_hand(&stand.admin, 2).await;
    going.cancel();
    stand.work("square", slow);
    in_hand(&stand.admin, 2).await;
    stand.gateway.cancel(&cancelled.run_id()).await.unwrap();
    assert_eq!(stand.end_of(&cancelled.hash).await.state, JobState::Cancelled);

    // A task that no worker can read: the server tells of it, and the reconciler hears it.
    let js = jetstream::new(stand.admin.client().clone());
    let split = stand.submit("5").await;
    stand.wait_for(&split.hash, |job| job.stages.contains_key("square")).await;
    let subject = format!("stemflow.task.join.interactive.{}.0", split.run_id());
    js.publish(subject, "nonsense".into()).await.unwrap().await.unwrap();
    let failed = stand.end_of(&split.hash).await;
    assert_eq!(failed.error.unwrap().code, "undelivered");

    // Who wanted to know is told: of each of these ends, and of one that had come before.
    // Of a delay that is over before it is noted, as 1 ms may be under load, the server knows nothing:
    // the notice comes again when its lease has run out.
    let deadline = Deadline::after(Duration::from_secs(100));
    let owed = async || {
        loop {
            if let Some(notice) = stand.gateway.next_notice().await.unwrap() {
                return notice;
            }
            deadline.pause_async(|| "someone is owed an end".to_owned()).await;
        }
    };
    owed().await.postpone(Duration::from_millis(300)).await;
    let mut told = Vec::new();
    while told.len() < 8 {
        let notice = owed().await;
        told.push(format!("{} {}", notice.callback.as_str().unwrap(), notice.job.state));
        notice.settle().await.unwrap();
    }
    told.sort_unstable();
    let failed = ["someone failed"; 4];
    let others = ["another done", "someone cancelled", "someone done", "someone done"];
    assert_eq!(told, [others, failed].concat());

    assert_eq!(stand.server.refused(), Vec::<String>::new());
}

/// Waits until workers of `square` have so many tasks.
async fn in_hand(bus: &Bus, tasks: usize) {
    let deadline = Deadline::after(Duration::from_secs(60));
    loop {
        let backlog = bus.backlog("square").await.unwrap();
        if backlog.in_hand >= tasks {
            return;
        }
        deadline.pause_async(|| format!("{backlog:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_leaves_to_others_what_their_tasks_come_again_for() {
    let stand = Stand::start().await;
    let run = stand.submit("1").await.run_id();
    // As if the worker of `split` had died once it had released the first of two stages.
    let now = "2026-11-22T10:00:00Z";
    let times = json!({ "attempt": 1, "started": now, "finished": now });
    let mut fact = json!({ "stage": "split", "key": "0", "lists": { "number": ["000"] } });
    fact.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
    let task = json!({ "run": run, "stage": "square", "key": "000", "of": 1 });
    let js = jetstream::new(stand.admin.client().clone());
    for (subject, message) in [
        (format!("stemflow.fact.{run}.split.0"), fact),
        (format!("stemflow.task.square.interactive.{run}.000"), task),
    ] {
        js.publish(subject, message.to_string().into()).await.unwrap().await.unwrap();
    }
    stand.work("square", square);
    let deadline = Deadline::after(Duration::from_secs(60));
    let is_handed_over = async || {
        let backlog = stand.admin.backlog("square").await.unwrap();
        let fact = stand.admin.fact(&run, "square", "000").await.unwrap();
        fact.is_some() && backlog.in_hand == 0
    };
    while !is_handed_over().await {
        deadline.pause_async(|| format!("{:#?}", stand.server.refused())).await;
    }
    stand.work("split", split);
    stand.work("label", label);
    stand.work("join", join);
    assert_eq!(stand.end_of(&run.job).await.results["join"], "sum=0");
    assert_eq!(stand.server.refused(), Vec::<String>::new());
}
