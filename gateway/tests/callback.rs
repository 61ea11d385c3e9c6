//! Callbacks, as those see them who are called.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::collections::VecDeque;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{FromConsumer, pull};
use async_nats::jetstream::stream::Stream;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gateway::callback::{Guard, Pace};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::{BAD_SONG, Stand};
use tests::{Collector, Deadline, Deed, Point, Port, Wire, binary, tree};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const SONG: &[u8] = b"all these bytes are a song";
const INSIDE: Guard = Guard { private: true };
const PACE: Pace = Pace {
    first: Duration::from_millis(50),
    longest: Duration::from_millis(200),
    all: Duration::from_secs(3600),
};

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

/// What one who is called does.
#[derive(Clone, Debug)]
enum Manner {
    Answers(StatusCode),
    Sends(String),
    Hangs,
}

/// A call.
#[derive(Clone, Debug)]
struct Heard {
    headers: HeaderMap,
    bytes: Bytes,
    body: Value,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn id(&self) -> &str {
        self.header("webhook-id")
    }
}

#[derive(Default)]
struct Ear {
    manners: VecDeque<Manner>,
    heard: Vec<Heard>,
}

/// One who is called: does what it is told to, and then answers that all is well.
struct Receiver {
    address: SocketAddr,
    ear: Arc<Mutex<Ear>>,
    server: JoinHandle<()>,
}

impl Receiver {
    async fn start(manners: impl IntoIterator<Item = Manner>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ear = Ear { manners: manners.into_iter().collect(), heard: Vec::new() };
        let ear = Arc::new(Mutex::new(ear));
        let router = Router::new().fallback(hear).with_state(Arc::clone(&ear));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, ear, server }
    }

    fn url(&self) -> String {
        format!("http://{}/done", self.address)
    }

    fn callback(&self, data: impl Into<Value>) -> Value {
        json!({"url": self.url(), "data": data.into()})
    }

    fn heard(&self) -> Vec<Heard> {
        self.ear.lock().unwrap().heard.clone()
    }

    async fn wait_for(&self, calls: usize) -> Vec<Heard> {
        let deadline = soon();
        loop {
            let heard = self.heard();
            if heard.len() >= calls {
                return heard;
            }
            deadline.pause_async(|| format!("{calls} calls, heard: {heard:#?}")).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn hear(State(ear): State<Arc<Mutex<Ear>>>, headers: HeaderMap, bytes: Bytes) -> Response {
    let manner = {
        let mut ear = ear.lock().unwrap();
        let body = serde_json::from_slice(&bytes).unwrap();
        ear.heard.push(Heard { headers, bytes, body });
        ear.manners.pop_front()
    };
    match manner {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Manner::Answers(status)) => status.into_response(),
        Some(Manner::Sends(to)) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Some(Manner::Hangs) => pending().await,
    }
}

/// Sends a song, with a callback.
async fn send(stand: &Stand, song: &[u8], callback: &Value) -> support::Reply {
    let object = json!({"mp3": BASE64_STANDARD.encode(song), "callback": callback});
    stand.send(support::json("/apiv1/separate", &object)).await
}

/// Where what is still to be told waits.
async fn notices(stand: &Stand) -> Stream {
    let js = jetstream::new(stand.bus.client().clone());
    js.get_stream("STEMFLOW_CALLBACKS").await.unwrap()
}

/// Waits until nobody is owed anything.
async fn wait_for_silence(stand: &Stand) {
    let deadline = soon();
    loop {
        let messages = notices(stand).await.cached_info().state.messages;
        if messages == 0 {
            return;
        }
        deadline.pause_async(|| format!("{messages} notices wait")).await;
    }
}

async fn wait_for_freed(stand: &Stand, hash: &str) {
    let deadline = soon();
    loop {
        let job = stand.bus.job(&hash.parse().unwrap()).await.unwrap().unwrap();
        if job.freed {
            return;
        }
        deadline.pause_async(|| format!("{job:#?}")).await;
    }
}

async fn counted(stand: &Stand, outcome: &str) -> u64 {
    let text = String::from_utf8(stand.get("/metrics").await.body.to_vec()).unwrap();
    let name = format!("stemflow_callbacks_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
    line.parse().unwrap()
}

/// HMAC-SHA256 as RFC 2104 writes it.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| -> Vec<u8> {
        (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect()
    };
    let inner = Sha256::digest([pad(0x36).as_slice(), message].concat());
    Sha256::digest([pad(0x5c).as_slice(), &inner].concat()).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_job_is_told_of_its_end_whatever_that_is() {
    let stand = Stand::start().await;
    let receiver = Receiver::start([]).await;
    let key = [7; 32];
    let secret = format!("whsec_{}", BASE64_STANDARD.encode(key));
    // Two replicas.
    for _ in 0..2 {
        stand.start_caller(INSIDE, Some(&secret), PACE);
    }
    let data = json!({"order": [1, 2.5, null], "ü": "\n"});
    let hash = send(&stand, SONG, &receiver.callback("given up")).await.hash();
    stand.delete(&format!("/apiv1/job/{hash}")).await;
    assert_eq!(receiver.wait_for(1).await[0].body["state"], "cancelled");

    stand.start_stages();
    for (song, state) in [(SONG, "done"), (BAD_SONG, "failed")] {
        let before = receiver.heard().len();
        let hash = send(&stand, song, &receiver.callback(data.clone())).await.hash();
        let heard = receiver.wait_for(before + 1).await.pop().unwrap();
        assert_eq!((&heard.body["hash"], &heard.body["state"]), (&json!(hash), &json!(state)));
        assert_eq!(heard.body["data"], data);
        // Besides, it is what the status says.
        let mut told = heard.body.clone();
        told.as_object_mut().unwrap().remove("data");
        assert_eq!(told, stand.get(&format!("/apiv1/status/{hash}")).await.json());
        assert_eq!(told["manifest"].is_null(), state == "failed");

        assert!(heard.id().starts_with(&format!("{hash}-")), "{heard:?}");
        assert_eq!(heard.header("content-type"), "application/json");
        let signed = [heard.id(), heard.header("webhook-timestamp"), ""].join(".").into_bytes();
        let signature = hmac(&key, &[signed, heard.bytes.to_vec()].concat());
        let signature = format!("v1,{}", BASE64_STANDARD.encode(signature));
        assert_eq!(heard.header("webhook-signature"), signature);
    }
    wait_for_silence(&stand).await;
    assert_eq!(receiver.heard().len(), 3, "nobody is told twice");
    assert_eq!(counted(&stand, "told").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_hear_is_told_again_under_the_same_name() {
    let stand = Stand::with_stages().await;
    let elsewhere = Receiver::start([]).await;
    let receiver = Receiver::start([
        Manner::Answers(StatusCode::INTERNAL_SERVER_ERROR),
        Manner::Sends(elsewhere.url()),
        Manner::Answers(StatusCode::NOT_FOUND),
    ])
    .await;
    stand.start_caller(INSIDE, None, PACE);
    send(&stand, SONG, &receiver.callback(1)).await.hash();
    let heard = receiver.wait_for(4).await;
    wait_for_silence(&stand).await;
    assert!(heard.iter().all(|call| call.id() == heard[0].id()), "{heard:#?}");
    assert!(heard.iter().all(|call| call.body == heard[0].body), "{heard:#?}");
    assert_eq!(heard[0].header("webhook-signature"), "", "there is no secret");
    assert_eq!(receiver.heard().len(), 4);
    assert_eq!(elsewhere.heard().len(), 0, "where it was sent on to, nobody has checked");
    assert_eq!((counted(&stand, "retry").await, counted(&stand, "told").await), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_to_hear_no_more_or_is_silent_too_long_is_given_up() {
    let stand = Stand::with_stages().await;
    let gone = Receiver::start([Manner::Answers(StatusCode::GONE)]).await;
    stand.start_caller(INSIDE, None, Pace { all: Duration::ZERO, ..PACE });
    send(&stand, SONG, &gone.callback(1)).await.hash();
    gone.wait_for(1).await;
    let silent = Receiver::start(vec![Manner::Answers(StatusCode::BAD_GATEWAY); 9]).await;
    send(&stand, SONG, &silent.callback(1)).await.hash();
    silent.wait_for(1).await;
    wait_for_silence(&stand).await;
    assert_eq!((gone.heard().len(), silent.heard().len()), (1, 1));
    assert_eq!((counted(&stand, "gone").await, counted(&stand, "given-up").await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_who_sends_the_same_song_is_told() {
    let stand = Stand::start().await;
    stand.start_caller(INSIDE, None, PACE);
    let (first, second, late) =
        (Receiver::start([]).await, Receiver::start([]).await, Receiver::start([]).await);
    let hash = send(&stand, SONG, &first.callback(1)).await.hash();
    for receiver in [&first, &second, &second] {
        let joined = send(&stand, SONG, &receiver.callback(1)).await;
        assert_eq!(joined.json()["reason"], "Song is being separated already");
        assert_eq!(joined.hash(), hash, "who is called makes no other job of it");
    }
    stand.start_stages();
    first.wait_for(1).await;
    second.wait_for(1).await;
    wait_for_freed(&stand, &hash).await;

    let done = send(&stand, SONG, &late.callback(2)).await;
    assert_eq!(done.json()["reason"], "Song has been separated already");
    let told = late.wait_for(1).await;
    assert_eq!((&told[0].body["state"], &told[0].body["data"]), (&json!("done"), &json!(2)));
    wait_for_silence(&stand).await;
    assert_eq!((first.heard().len(), second.heard().len()), (1, 1));

    // Whoever asks again is told again, and can tell it from a repetition.
    send(&stand, SONG, &first.callback(1)).await.hash();
    let told = first.wait_for(2).await;
    assert_ne!(told[0].id(), told[1].id());
    assert!(stand.get(&format!("/apiv1/remove/{hash}/vocals")).await.status.is_success());
    wait_for_silence(&stand).await;
    let calls = [&first, &second, &late].map(|receiver| receiver.heard().len());
    assert_eq!(calls, [2, 1, 1], "a stem that is removed is no end");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_there_is_room_for_are_not_told_and_know_it() {
    let stand = Stand::start().await;
    let receiver = Receiver::start([]).await;
    for number in 0..16 {
        send(&stand, SONG, &receiver.callback(number)).await.hash();
    }
    let refused = send(&stand, SONG, &receiver.callback("one more")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.error().contains("ask /apiv1/status/"), "{}", refused.error());
    send(&stand, SONG, &receiver.callback(3)).await.hash();
    stand.upload(SONG, "").await.hash();
    stand.start_caller(INSIDE, None, PACE);
    stand.start_stages();
    let heard = receiver.wait_for(16).await;
    wait_for_silence(&stand).await;
    let mut data: Vec<u64> = heard.iter().map(|call| call.body["data"].as_u64().unwrap()).collect();
    data.sort_unstable();
    assert_eq!((data, receiver.heard().len()), ((0..16).collect(), 16));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_more_notices_can_wait_who_asks_for_a_song_that_is_done_knows_it() {
    let stand = Stand::with_stages().await;
    let hash = stand.upload(SONG, "").await.hash();
    wait_for_freed(&stand, &hash).await;
    let mut config = notices(&stand).await.cached_info().config.clone();
    config.max_bytes = 100;
    jetstream::new(stand.bus.client().clone()).update_stream(config).await.unwrap();
    let receiver = Receiver::start([]).await;
    let refused = send(&stand, SONG, &receiver.callback(1)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.error().contains(&format!("ask /apiv1/status/{hash}")), "{}", refused.error());
    assert_eq!(stand.upload(SONG, "").await.json()["reason"], "Song has been separated already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_run_again_tells_who_sent_it_again() {
    let stand = Stand::with_stages().await;
    stand.start_caller(INSIDE, None, PACE);
    let (first, second) = (Receiver::start([]).await, Receiver::start([]).await);
    let hash = send(&stand, BAD_SONG, &first.callback(1)).await.hash();
    first.wait_for(1).await;
    wait_for_freed(&stand, &hash).await;
    assert_eq!(send(&stand, BAD_SONG, &second.callback(2)).await.hash(), hash);
    let told = second.wait_for(1).await;
    wait_for_silence(&stand).await;
    assert!(told[0].id().starts_with(&format!("{hash}-2-")), "{told:?}");
    assert_eq!((first.heard().len(), second.heard().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_called_inside() {
    let outside = Guard::default();
    let stand = Stand::guarded(outside).await;
    stand.start_stages();
    stand.start_caller(outside, None, PACE);
    let receiver = Receiver::start([]).await;
    let literal = send(&stand, SONG, &receiver.callback(1)).await;
    assert_eq!(literal.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(literal.error().contains("use a public one"), "{}", literal.error());
    let query = stand.upload(SONG, "callback=gopher://example.org/").await;
    assert!(query.error().contains("use http or https"), "{}", query.error());
    stand.wait_for_empty_queue().await;

    // Where a name leads is seen when it is called.
    let url = format!("http://localhost:{}/", receiver.address.port());
    let hash = send(&stand, SONG, &json!({ "url": url })).await.hash();
    wait_for_freed(&stand, &hash).await;
    wait_for_silence(&stand).await;
    assert_eq!((counted(&stand, "refused").await, receiver.heard().len()), (1, 0));
    // An address that got into a record when others were allowed.
    let lax = Stand::start().await;
    lax.start_stages();
    lax.start_caller(outside, None, PACE);
    let hash = send(&lax, SONG, &receiver.callback(1)).await.hash();
    wait_for_freed(&lax, &hash).await;
    wait_for_silence(&lax).await;
    assert_eq!((counted(&lax, "refused").await, receiver.heard().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_does_not_answer_holds_up_no_other() {
    let stand = Stand::with_stages().await;
    let (dead, live) = (Receiver::start(vec![Manner::Hangs; 999]).await, Receiver::start([]).await);
    let hash = stand.upload(SONG, "").await.hash();
    stand.statuses(&hash).await;
    // More than are called at a time.
    for number in 0..140 {
        send(&stand, SONG, &dead.callback(number)).await.hash();
    }
    send(&stand, SONG, &live.callback("live")).await.hash();
    stand.start_caller(INSIDE, None, PACE);
    live.wait_for(1).await;
    let held = dead.heard().len();
    assert!((1..=4).contains(&held), "{held} calls to who does not answer");
}

/// The address of a process, once it listens.
async fn wait_until_ready(address: SocketAddr) {
    let deadline = soon();
    let url = format!("http://{address}/readyz");
    while !reqwest::get(&url).await.is_ok_and(|reply| reply.status() == 200) {
        deadline.pause_async(|| "the gateway is not ready".to_owned()).await;
    }
}

async fn shorten_lease(stand: &Stand) {
    let stream = notices(stand).await;
    let mut config = stream.consumer_info("callback").await.unwrap().config;
    config.ack_wait = Duration::from_secs(2);
    let config: pull::Config = FromConsumer::try_from_consumer_config(config).unwrap();
    stream.update_consumer(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_before_it_takes_note_has_another_tell_again() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const CLIENT: &str = "b7ad6b7169203331";
    let stand = Stand::with_stages().await;
    let receiver = Receiver::start([]).await;
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (workflow, log) = (folder.path().join("workflow.toml"), folder.path().join("log"));
    std::fs::write(&workflow, support::WORKFLOW).unwrap();
    let port = Port::reserve();
    let address = port.address();
    let settled = Point::before("$JS.API.STREAM.PURGE.STEMFLOW_CALLBACKS");
    let wire = Wire::lay(&stand.nats.url(), Some((settled, Deed::Hang))).await;
    let mut gateway = tokio::process::Command::new(binary("gateway"));
    gateway
        .args(["--listen", &address.to_string(), "--nats-url", wire.url(), "--workflow"])
        .arg(&workflow)
        .arg("--models")
        .arg(tree().join("models"))
        .env("STEMFLOW_CALLBACK_PRIVATE", "true")
        .env("STEMFLOW_LOG", "trace,async_nats=warn")
        .envs(collector.environment())
        .stderr(std::fs::File::create(&log).unwrap())
        .kill_on_drop(true);
    let mut gateway = gateway.spawn().unwrap();
    wait_until_ready(address).await;
    shorten_lease(&stand).await;

    let url = receiver.url().replace("http://", "http://me:pass-word@");
    let object =
        json!({"mp3": BASE64_STANDARD.encode(SONG), "callback": {"url": url, "data": "x"}});
    let (head, body) = support::json("/apiv1/separate", &object).into_parts();
    let mut request = Request::from_parts(head, body);
    let traceparent = format!("00-{TRACE}-{CLIENT}-01");
    request.headers_mut().insert("traceparent", traceparent.parse().unwrap());
    let hash = stand.send(request).await.hash();
    let first = receiver.wait_for(1).await.remove(0);
    wire.struck().await;
    let span = collector.wait_for("POST callback", 1, soon()).await.remove(0);
    gateway.kill().await.unwrap();
    stand.start_caller(INSIDE, None, PACE);
    let again = receiver.wait_for(2).await.remove(1);
    assert_eq!((again.id(), &again.body), (first.id(), &first.body));
    wait_for_silence(&stand).await;
    assert_eq!(receiver.heard().len(), 2);

    assert_eq!((span.trace(), span.parent()), (TRACE.to_owned(), CLIENT.to_owned()));
    assert_eq!(span.attribute("stemflow.job"), Some(hash.clone()));
    assert_eq!(span.attribute("http.response.status_code").as_deref(), Some("204"));
    assert_eq!(first.header("traceparent"), format!("00-{TRACE}-{}-01", span.id()));
    let basic = format!("Basic {}", BASE64_STANDARD.encode("me:pass-word"));
    assert_eq!(first.header("authorization"), basic);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains(&hash) && !log.contains("pass-word"), "{log}");
}
