//! A gateway on a NATS server of its own, and stages that make stems of nothing.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use futures::TryStreamExt;
use gateway::callback::{Caller, Guard, Pace};
use gateway::desk::{Desk, Policy};
use gateway::{Gateway, Limits};
use separation::{Catalogue, Manifest, ManifestStem, Source, Spec};
use serde_json::Value;
use tempfile::TempDir;
use tests::NatsServer;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use workflow::layout::{Layout, Quotas};
use workflow::{Bucket, Bus, Failure, Graph, LiveProgress, Output, Stage, Task, layout};

pub const WORKFLOW: &str = r#"
    [[stage]]
    name = "decode"
    [[stage]]
    name = "publish"
    after = ["decode"]
"#;

const MODELS: &str = r#"
    [[model]]
    name = "mini"
    files = [{ file = "mini.safetensors", sha256 = "00" }]
    sources = ["drums", "bass", "other", "vocals"]
    segment_frames = 66150
    reach_frames = [33075, 0]
    licence = "MIT"
    about = "for tests"
"#;

/// The largest song that the tests' gateway takes.
pub const LIMIT: u64 = 2 << 20;

/// A song of these bytes fails.
pub const BAD_SONG: &[u8] = b"not a song";

pub struct Stand {
    pub bus: Bus,
    pub gateway: Arc<Gateway>,
    pub nats: NatsServer,
    shutdown: CancellationToken,
    router: Router,
}

impl Stand {
    /// A gateway, and no stage yet: songs wait.
    pub async fn start() -> Self {
        Self::of(Policy::default(), Quotas::default()).await
    }

    /// The same, with room for so much.
    pub async fn of(policy: Policy, quotas: Quotas) -> Self {
        Self::set_up(policy, quotas, Guard { private: true }).await
    }

    /// The same, where only such addresses may be called.
    pub async fn guarded(guard: Guard) -> Self {
        Self::set_up(Policy::default(), Quotas::default(), guard).await
    }

    async fn set_up(policy: Policy, quotas: Quotas, guard: Guard) -> Self {
        let nats = NatsServer::start();
        let graph = Graph::parse(WORKFLOW).unwrap();
        let layout = Layout { replicas: 1, quotas };
        let bus = layout::ensure_as(&nats.config(), &graph, layout).await.unwrap();
        let shutdown = CancellationToken::new();
        let gateway = closed_gateway(&shutdown);
        let progress = LiveProgress::default();
        tokio::spawn(progress.clone().follow(bus.clone()));
        let desk = Desk::new(bus.clone(), graph, Arc::new(catalogue()), progress);
        gateway.open(desk.with_policy(policy).with_callbacks(guard));
        let router = gateway::router(Arc::clone(&gateway));
        Self { bus, gateway, nats, shutdown, router }
    }

    /// The same, with stages.
    pub async fn with_stages() -> Self {
        let stand = Self::start().await;
        stand.start_stages();
        stand
    }

    pub fn start_stages(&self) {
        let (config, shutdown) = (self.nats.config(), self.shutdown.clone());
        tokio::spawn(async move {
            let decode = workflow::work(Decode, &config, shutdown.clone());
            let publish = workflow::work(Publish, &config, shutdown);
            tokio::try_join!(decode, publish).unwrap();
        });
    }

    /// Has someone call those who wait for the end of a job.
    pub fn start_caller(&self, guard: Guard, secret: Option<&str>, pace: Pace) {
        let secret = secret.map(|secret| secret.parse().unwrap());
        let caller = Caller::new(Arc::clone(&self.gateway), guard, secret, pace).unwrap();
        tokio::spawn(Arc::new(caller).serve(self.bus.clone(), self.shutdown.clone()));
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        send(self.router.clone(), request).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Request::delete(path).body(Body::empty()).unwrap()).await
    }

    /// Sends a song as the body of a request.
    pub async fn upload(&self, song: &[u8], query: &str) -> Reply {
        let path = format!("/apiv1/separate?{query}");
        let body = Body::from(song.to_vec());
        self.send(Request::post(path).header("content-type", "audio/mpeg").body(body).unwrap())
            .await
    }

    /// Sends a song and waits until its job has ended; gives its hash and its last status.
    pub async fn separate(&self, song: &[u8], query: &str) -> (String, Value) {
        let hash = self.upload(song, query).await.hash();
        let statuses = self.statuses(&hash).await;
        (hash, statuses.into_iter().last().unwrap())
    }

    /// All that `events` tells of a job, to its end.
    pub async fn statuses(&self, hash: &str) -> Vec<Value> {
        let events = self.get(&format!("/apiv1/events/{hash}")).await;
        assert_eq!(events.headers["content-type"], "text/event-stream");
        let text = String::from_utf8(events.body.to_vec()).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    /// How many messages the bucket `queue` holds. What is taken back goes a moment later: waits.
    pub async fn wait_for_empty_queue(&self) {
        let deadline = tests::Deadline::after(Duration::from_secs(10));
        loop {
            let js = async_nats::jetstream::new(self.bus.client().clone());
            let stream = js.get_stream(Bucket::Queue.stream()).await.unwrap();
            let messages = stream.cached_info().state.messages;
            if messages == 0 {
                return;
            }
            deadline.pause_async(|| format!("{messages} messages in the bucket")).await;
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A gateway that has no NATS.
pub fn closed_gateway(shutdown: &CancellationToken) -> Arc<Gateway> {
    let idle = Duration::from_secs(1);
    let limits = Limits { song_bytes: LIMIT, songs_at_once: 4, idle };
    Arc::new(Gateway::new(Arc::new(catalogue()), limits, shutdown.clone()))
}

fn catalogue() -> Catalogue {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("models.toml"), MODELS).unwrap();
    Catalogue::read(Path::new(folder.path())).unwrap()
}

pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}: {:?} is not JSON", self.status, self.body))
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }

    pub fn hash(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{:?}", self.body);
        self.json()["hash"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub async fn send(router: Router, request: Request<Body>) -> Reply {
    let reply = async {
        let response = router.oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let chunks: Vec<Bytes> = body.into_data_stream().try_collect().await.unwrap();
        Reply { status: head.status, headers: head.headers, body: chunks.concat().into() }
    };
    timeout(Duration::from_secs(30), reply).await.expect("a reply comes to its end")
}

/// A multipart form: each field a name, a file's name if it is one, and its content.
pub fn form(path: &str, fields: &[(&str, Option<&str>, &[u8])]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, file, content) in fields {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        let head =
            format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    let content_type = "multipart/form-data; boundary=edge";
    Request::post(path).header("content-type", content_type).body(body.into()).unwrap()
}

pub fn json(path: &str, object: &Value) -> Request<Body> {
    let content_type = "application/json";
    let body = Body::from(object.to_string());
    Request::post(path).header("content-type", content_type).body(body).unwrap()
}

/// The bytes of the stem that [`Publish`] makes of a song: larger than one chunk of an object.
pub fn stem_bytes(stem: &str) -> Vec<u8> {
    stem.bytes().cycle().take(700_000).collect()
}

struct Decode;

impl Stage for Decode {
    fn name(&self) -> &'static str {
        "decode"
    }

    fn run(&self, task: &Task) -> Result<Output, Failure> {
        let mut song = Vec::new();
        std::io::Read::read_to_end(&mut task.open(task.input()), &mut song)?;
        if song == BAD_SONG {
            return Err(Failure::permanent("not-audio", "this is not audio: send a song"));
        }
        task.progress(0.5);
        Ok(Output::none())
    }
}

struct Publish;

impl Stage for Publish {
    fn name(&self) -> &'static str {
        "publish"
    }

    fn run(&self, task: &Task) -> Result<Output, Failure> {
        let spec: Spec = task.spec()?;
        let stems = spec.stems.iter().map(|stem| store(task, &spec, stem));
        let manifest = Manifest {
            frames: 88_200,
            seconds: 2.0,
            sample_rate: 44_100,
            model: spec.model.name.clone(),
            model_sha256: spec.model.sha256.clone(),
            gain: 1.0,
            source: Source {
                sample_rate: 44_100,
                channels: 2,
                delay_removed: 0,
                padding_removed: 0,
                damaged_packets: 0,
                truncated: false,
            },
            tags: [].into(),
            stems: stems.collect::<Result<_, Failure>>()?,
        };
        Output::of(&manifest)
    }
}

fn store(task: &Task, spec: &Spec, stem: &str) -> Result<ManifestStem, Failure> {
    let file = format!("{stem}.{}", spec.format.extension());
    let mut writer = task.create(Bucket::Output, &file);
    writer.write_all(&stem_bytes(stem))?;
    let object = writer.finish()?;
    task.link(Bucket::Output, &Manifest::output_name(task.job(), &file), &object)?;
    let media_type = spec.format.media_type().to_owned();
    Ok(ManifestStem { stem: stem.to_owned(), file, media_type, peak: 0.5, object, removed: false })
}
