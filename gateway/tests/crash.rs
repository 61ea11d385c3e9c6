//! The gateway is killed at every message of an upload. What had become a job by then is done without
//! the client, what had not is done when the client sends it again; never is a song lost or doubled.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::{Closure, Deadline, Deed, Mortal, NatsServer, Point, Port, Wire, binary, tree};
use tokio_util::sync::CancellationToken;
use workflow::{Bucket, Bus, Graph, Job, JobState, Output, Rounds, layout, reconcile};

const WORKFLOW: &str = r#"
    [[stage]]
    name = "decode"
    [[stage]]
    name = "publish"
    after = ["decode"]
"#;

/// Three chunks.
const SONG: &[u8] = &[7; 1_200_000];
const CHUNK: &str = "$O.queue.C.>";
const NAME: &str = "$O.queue.M.>";
const RECORD: &str = "$KV.jobs.*";
const TASK: &str = "stemflow.task.decode.>";

struct Stand {
    nats: NatsServer,
    bus: Bus,
    folder: tempfile::TempDir,
    port: Port,
    shutdown: CancellationToken,
}

impl Stand {
    async fn start() -> Self {
        let nats = NatsServer::start();
        let graph = Graph::parse(WORKFLOW).unwrap();
        let bus = layout::ensure(&nats.config(), &graph, 1).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("workflow.toml"), WORKFLOW).unwrap();
        let (port, shutdown) = (Port::reserve(), CancellationToken::new());
        Self { nats, bus, folder, port, shutdown }
    }

    /// Starts a worker for each stage.
    fn work_all(&self) {
        self.work("decode");
        self.work("publish");
    }

    fn work(&self, name: &'static str) {
        let (config, shutdown) = (self.nats.config(), self.shutdown.clone());
        let run = |task: &workflow::Task| {
            task.open(task.input()).finish()?;
            Ok(Output::none())
        };
        tokio::spawn(async move {
            workflow::work(Closure { name, slots: 1, run }, &config, shutdown).await
        });
    }

    /// How the gateway is started, again and again on the same port.
    fn command(&self) -> impl Fn(&str) -> Command + Send + 'static {
        let (address, workflow) = (self.port.address(), self.folder.path().join("workflow.toml"));
        move |url| gateway_command(url, address, &workflow)
    }

    /// Sends the song until it is taken.
    async fn send_until_taken(&self) {
        let deadline = Deadline::after(Duration::from_secs(60));
        while !self.send().await {
            deadline.pause_async(|| "the song is not taken".to_owned()).await;
        }
    }

    async fn send(&self) -> bool {
        let url = format!("http://{}/apiv1/separate", self.port.address());
        let request = reqwest::Client::new().post(url).header("content-type", "audio/mpeg");
        let reply = request.body(SONG).timeout(Duration::from_secs(20)).send().await;
        reply.is_ok_and(|reply| reply.status().is_success())
    }

    /// What a reconciler of another gateway sees to.
    fn watch(&self) {
        let moment = Duration::from_millis(300);
        let rounds = Rounds { every: moment, still: moment };
        tokio::spawn(reconcile(self.bus.clone(), rounds, self.shutdown.clone()));
    }

    async fn wait_for_end(&self) -> Job {
        let deadline = Deadline::after(Duration::from_secs(60));
        loop {
            let jobs = self.bus.all_jobs().await.unwrap();
            assert!(jobs.len() <= 1, "the song is doubled: {jobs:#?}");
            if let Some(job) = jobs.first().filter(|job| job.state.is_final() && job.freed) {
                return job.clone();
            }
            deadline.pause_async(|| format!("{jobs:#?}")).await;
        }
    }

    async fn messages(&self, stream: &str) -> u64 {
        let js = async_nats::jetstream::new(self.bus.client().clone());
        js.get_stream(stream).await.unwrap().cached_info().state.messages
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn gateway_command(nats_url: &str, address: SocketAddr, workflow: &Path) -> Command {
    let mut command = Command::new(binary("gateway"));
    command
        .args(["--listen", &address.to_string(), "--nats-url", nats_url, "--workflow"])
        .arg(workflow)
        .arg("--models")
        .arg(tree().join("models"))
        .env("STEMFLOW_LOG", "error");
    command
}

/// Kills the gateway at `point`; `is_a_job` says whether the song is one by then.
async fn run(point: Point, times: usize, is_a_job: bool) {
    let stand = Stand::start().await;
    let gateway = Mortal::killed_at(point, times, stand.nats.url(), stand.command());
    let deadline = Deadline::after(Duration::from_secs(60));
    while gateway.deaths() < times && stand.bus.all_jobs().await.unwrap().is_empty() {
        stand.send().await;
        deadline.pause_async(|| "the gateway does not die".to_owned()).await;
    }
    gateway.wait_for_death(1, deadline).await;
    // Not before: they might write into the record what the gateway is to be killed at.
    stand.work_all();
    if !is_a_job {
        assert!(stand.bus.all_jobs().await.unwrap().is_empty(), "{point:?}");
        stand.send_until_taken().await;
    }
    stand.watch();
    let job = stand.wait_for_end().await;
    assert_eq!((job.state, job.run), (JobState::Done, 1), "{point:?}");
    for stream in ["STEMFLOW", "OBJ_work", "OBJ_output", "STEMFLOW_DEAD"] {
        assert_eq!(stand.messages(stream).await, 0, "{point:?}: {stream}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_before_the_song_is_a_job_loses_nothing() {
    for point in [
        Point::before(CHUNK),
        Point::before(CHUNK).nth(2),
        Point::after(CHUNK).nth(3),
        Point::before(NAME),
        Point::after(NAME),
        Point::before(RECORD),
    ] {
        run(point, 1, false).await;
        run(point, 2, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_once_the_song_is_a_job_need_not_come_back() {
    for point in [
        Point::after(RECORD),
        Point::before(TASK),
        Point::after(TASK),
        Point::before(RECORD).nth(2),
        Point::after(RECORD).nth(2),
    ] {
        run(point, 1, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_whose_job_was_made_while_the_connection_broke_is_not_taken_for_another_ones() {
    let stand = Stand::start().await;
    stand.work_all();
    let wire = Wire::lay(&stand.nats.url(), Some((Point::after(RECORD), Deed::Cut))).await;
    let mut command = tokio::process::Command::from((stand.command())(wire.url()));
    let mut gateway = command.kill_on_drop(true).spawn().unwrap();
    stand.send_until_taken().await;
    let job = stand.wait_for_end().await;
    assert_eq!((job.state, job.run), (JobState::Done, 1), "{:?}", job.error);
    assert!(stand.bus.find(Bucket::Queue, &job.input.object.name).await.is_err());
    gateway.kill().await.unwrap();
}
