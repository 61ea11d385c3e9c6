//! The bus with accounts, keys and TLS: each service can do its work, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::{ConnectOptions, Event, ServerError, jetstream};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tests::{Deadline, Guarded, PATIENCE, Port, answer, binary, song, tree};
use tokio::sync::mpsc;
use workflow::{Access, Bus, Config, Graph, layout};

/// A process that is killed when dropped.
struct Running(Child);

impl Running {
    fn start(server: &Guarded, program: &str, user: &str, more: &[(&str, &str)]) -> Self {
        let log = fs::File::create(server.path(&format!("{program}.log"))).unwrap();
        let process = Command::new(binary(program))
            .current_dir(tree())
            .envs(server.environment(user))
            .envs(more.iter().copied())
            .env("STEMFLOW_LOG", "debug,async_nats=warn,hyper=warn")
            .stderr(log)
            .stdout(Stdio::null())
            .spawn();
        Self(process.unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Listens for callbacks; where.
async fn receive(called: mpsc::UnboundedSender<Value>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let hear = post(async move |Json(body): Json<Value>| called.send(body).unwrap());
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", hear)).await });
    url
}

fn workflow_in_the_tree() -> String {
    fs::read_to_string(tree().join("workflow.toml")).unwrap()
}

fn stemflow(server: &Guarded, words: &[&str]) -> String {
    let mut command = Command::new(binary("stemflow"));
    let ran = command.current_dir(tree()).envs(server.environment("admin")).args(words).output();
    let ran = ran.unwrap();
    let said = String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap();
    assert!(ran.status.success(), "stemflow {words:?}: {said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn songs_go_through_with_each_service_under_its_own_user() {
    let server = Guarded::start(&workflow_in_the_tree());
    stemflow(&server, &["init"]);
    let port = Port::reserve();
    let listen = port.address().to_string();
    let environment = [("STEMFLOW_LISTEN", listen.as_str()), ("STEMFLOW_CALLBACK_PRIVATE", "true")];
    let _gateway = Running::start(&server, "gateway", "gateway", &environment);
    let stages = ["decode", "separate", "encode", "publish"];
    let _stages = stages.map(|stage| Running::start(&server, stage, stage, &[]));
    let url = |path: &str| format!("http://{listen}{path}");
    let deadline = Deadline::after(PATIENCE);
    while !reqwest::get(url("/readyz")).await.is_ok_and(|reply| reply.status() == 200) {
        let log = || fs::read_to_string(server.path("gateway.log")).unwrap();
        deadline.pause_async(log).await;
    }

    let client = reqwest::Client::new();
    let (called, mut calls) = mpsc::unbounded_channel();
    let callback = receive(called).await;
    let send = async |body: Vec<u8>| {
        let path = format!("/apiv1/separate?stems=vocals&callback={callback}");
        let request = client.post(url(&path)).body(body);
        let (code, reply) = answer(request.header("content-type", "audio/mpeg").send().await).await;
        assert_eq!(code, 200, "{reply}");
        reply["hash"].as_str().unwrap().to_owned()
    };
    let end_of = async |hash: &str| {
        let deadline = Deadline::after(PATIENCE);
        loop {
            let status = answer(reqwest::get(url(&format!("/apiv1/status/{hash}"))).await).await.1;
            if let Some(state @ ("done" | "failed" | "cancelled")) = status["state"].as_str() {
                return state.to_owned();
            }
            deadline.pause_async(|| format!("{status:#}\n{:#?}", server.refused())).await;
        }
    };
    let done = send(song()).await;
    let failed = send(vec![7; 5000]).await;
    assert_eq!((end_of(&done).await, end_of(&failed).await), ("done".into(), "failed".into()));
    let mut told = BTreeSet::new();
    while told.len() < 2 {
        let call = tokio::time::timeout(PATIENCE, calls.recv()).await.expect("someone is called");
        told.insert(call.unwrap()["hash"].as_str().unwrap().to_owned());
    }
    assert_eq!(told, BTreeSet::from([done.clone(), failed.clone()]));
    let track = reqwest::get(url(&format!("/apiv1/track/{done}/vocals"))).await.unwrap();
    assert!(track.bytes().await.unwrap().len() > 100_000);
    for hash in [&done, &failed] {
        let ended = client.delete(url(&format!("/apiv1/job/{hash}"))).send().await.unwrap();
        assert!(ended.status().is_success(), "{ended:?}");
    }
    assert!(stemflow(&server, &["dead", "list"]).contains(&failed));
    stemflow(&server, &["dead", "drop", "--all"]);
    assert_eq!(server.refused(), Vec::<String>::new());
}

/// A deed that a user is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Publish(&'static str),
    Subscribe(&'static str),
}
use Deed::{Publish, Subscribe};

/// What no stage may do.
const OF_NO_STAGE: [Deed; 21] = [
    Publish("stemflow.task.decode.interactive.x-1.0"),
    Publish("stemflow.submit"),
    Publish("_INBOX.x"),
    Publish("_INBOX_gateway.x"),
    Publish("$KV.workflows.x"),
    Publish("$O.queue.C.x"),
    Publish("$O.queue.M.x"),
    Publish("$JS.API.STREAM.CREATE.OTHER"),
    Publish("$JS.API.STREAM.UPDATE.STEMFLOW"),
    Publish("$JS.API.STREAM.DELETE.STEMFLOW"),
    Publish("$JS.API.STREAM.MSG.DELETE.STEMFLOW"),
    Publish("$JS.API.STREAM.MSG.GET.STEMFLOW_DEAD"),
    Publish("$JS.API.CONSUMER.CREATE.STEMFLOW.mine.stemflow.task.>"),
    Publish("$JS.API.CONSUMER.DELETE.STEMFLOW.decode"),
    Publish("$JS.API.CONSUMER.CREATE.STEMFLOW_CALLBACKS.mine.stemflow.callback.>"),
    Publish("$JS.API.CONSUMER.MSG.NEXT.STEMFLOW_CALLBACKS.callback"),
    Publish("$JS.ACK.STEMFLOW_CALLBACKS.callback.1.1.1.1.1"),
    Publish("$JS.API.STREAM.PURGE.STEMFLOW_CALLBACKS"),
    Subscribe(">"),
    Subscribe("_INBOX.>"),
    Subscribe("stemflow.task.>"),
];

/// What is refused, besides.
const OF_OTHERS: [(&str, &[Deed]); 6] = [
    (
        "decode",
        &[
            Publish("stemflow.fact.x-1.separate.000"),
            Publish("stemflow.dead.separate.x-1.000"),
            Publish("stemflow.task.encode.interactive.x-1.vocals"),
            Publish("stemflow.task.publish.interactive.x-1.0"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.STEMFLOW.separate"),
            Publish("$JS.ACK.STEMFLOW.separate.1.1.1.1.1"),
            Publish("$JS.API.DIRECT.GET.OBJ_output"),
            Publish("$JS.API.STREAM.MSG.GET.OBJ_output"),
            Publish("$O.output.C.x-1.y"),
            Publish("$O.output.M.x"),
            Subscribe("_INBOX_separate.>"),
        ],
    ),
    (
        "separate",
        &[
            Publish("stemflow.fact.x-1.decode.0"),
            Publish("stemflow.task.publish.interactive.x-1.0"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.STEMFLOW.decode-batch"),
            Publish("$JS.API.DIRECT.GET.OBJ_queue"),
            Publish("$JS.API.DIRECT.GET.OBJ_output"),
            Publish("$O.output.C.x-1.y"),
        ],
    ),
    (
        "encode",
        &[
            Publish("stemflow.fact.x-1.publish.0"),
            Publish("stemflow.task.separate.interactive.x-1.000"),
            Publish("$JS.API.DIRECT.GET.OBJ_queue"),
            Publish("$O.work.C.x-1.y"),
            Publish("$O.output.M.x"),
        ],
    ),
    (
        "publish",
        &[
            Publish("stemflow.fact.x-1.encode.vocals"),
            Publish("stemflow.task.encode.interactive.x-1.vocals"),
            Publish("$JS.API.DIRECT.GET.OBJ_work"),
            Publish("$O.work.C.x-1.y"),
            Publish("$O.output.C.x-1.y"),
        ],
    ),
    (
        "gateway",
        &[
            Publish("stemflow.fact.x-1.decode.0"),
            Publish("$O.work.C.x-1.y"),
            Publish("$JS.API.STREAM.CREATE.OTHER"),
            Publish("$JS.API.STREAM.DELETE.STEMFLOW"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.STEMFLOW.decode"),
            Publish("$JS.ACK.STEMFLOW.decode.1.1.1.1.1"),
            Publish("$JS.API.CONSUMER.CREATE.STEMFLOW_CALLBACKS.mine.stemflow.callback.>"),
            Publish("$JS.API.CONSUMER.DELETE.STEMFLOW_CALLBACKS.callback"),
            Publish("$JS.API.STREAM.DELETE.STEMFLOW_CALLBACKS"),
            Subscribe(">"),
            Subscribe("_INBOX_decode.>"),
        ],
    ),
    (
        "client",
        &[
            Publish("stemflow.task.decode.interactive.x-1.0"),
            Publish("stemflow.fact.x-1.decode.0"),
            Publish("stemflow.event.x.state"),
            Publish("$KV.jobs.x"),
            Publish("stemflow.callback.x-1.y"),
            Publish("$JS.API.STREAM.MSG.GET.STEMFLOW_CALLBACKS"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.STEMFLOW_CALLBACKS.callback"),
            Publish("$O.work.C.x-1.y"),
            Publish("$O.output.C.x-1.y"),
            Publish("$O.output.M.x"),
            Publish("$JS.API.DIRECT.GET.OBJ_work"),
            Publish("$JS.API.STREAM.MSG.GET.STEMFLOW"),
            Publish("$JS.API.STREAM.PURGE.OBJ_queue"),
            Publish("$JS.API.STREAM.DELETE.OBJ_queue"),
            Publish("$JS.API.CONSUMER.CREATE.OBJ_work.x.$O.work.C.>"),
            Publish("$JS.API.CONSUMER.CREATE.STEMFLOW.x.stemflow.task.>"),
            Subscribe(">"),
            Subscribe("_INBOX_decode.>"),
            Subscribe("stemflow.task.>"),
        ],
    ),
];

/// Those of the deeds that the server lets that user do.
async fn not_refused(server: &Guarded, user: &str, deeds: Vec<Deed>) -> Vec<Deed> {
    let (refusals, mut refused) = mpsc::unbounded_channel();
    let seed = fs::read_to_string(server.path(&format!("{user}.nk"))).unwrap();
    let options = ConnectOptions::with_nkey(seed.trim().to_owned())
        .add_root_certificates(server.path("ca.crt"))
        .event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(text)) = event {
                let _ = refusals.send(text);
            }
            std::future::ready(())
        });
    let client = options.connect(server.url()).await.unwrap();
    let mut subscriptions = Vec::new();
    for deed in &deeds {
        match *deed {
            Publish(subject) => client.publish(subject, "".into()).await.unwrap(),
            Subscribe(subject) => subscriptions.push(client.subscribe(subject).await.unwrap()),
        }
    }
    // This one is refused last, so that all before it have been told of.
    client.publish("last", "".into()).await.unwrap();
    let mut told = Vec::new();
    loop {
        let text = tokio::time::timeout(Duration::from_secs(20), refused.recv()).await;
        let text = text.expect("the last is refused").unwrap();
        if text.contains("\"last\"") {
            break;
        }
        told.push(text);
    }
    let is_told = |deed: &Deed| {
        let wanted = match deed {
            Publish(subject) => format!("Publish to \"{subject}\""),
            Subscribe(subject) => format!("Subscription to \"{subject}\""),
        };
        told.iter().any(|text| text.contains(&wanted))
    };
    deeds.into_iter().filter(|deed| !is_told(deed)).collect()
}

async fn holes(server: &Guarded) -> Vec<(&'static str, Deed)> {
    let mut holes = Vec::new();
    for (user, deeds) in OF_OTHERS {
        let is_stage = !["gateway", "client"].contains(&user);
        let general = OF_NO_STAGE.iter().filter(|_| is_stage);
        let deeds = deeds.iter().chain(general).copied().collect();
        let open = not_refused(server, user, deeds).await;
        holes.extend(open.into_iter().map(|deed| (user, deed)));
    }
    holes
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_is_refused_what_is_not_its_own() {
    let server = Guarded::start(&workflow_in_the_tree());
    assert_eq!(holes(&server).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_wider_than_it_should_be_is_found() {
    let widen = |accounts: String| {
        let wide = accounts.replace("\"stemflow.fact.*.decode.*\"", "\"stemflow.fact.>\"");
        wide.replace("\"_INBOX_gateway.>\"", "\"_INBOX_decode.>\"")
    };
    let server = Guarded::with(&workflow_in_the_tree(), widen);
    let expected = [
        ("decode", Publish("stemflow.fact.x-1.separate.000")),
        ("gateway", Subscribe("_INBOX_decode.>")),
    ];
    assert_eq!(holes(&server).await, expected);
}

async fn refusal(config: &Config) -> String {
    match Bus::open(config).await {
        Ok(_) => panic!("{config:?} is let in"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_let_in_and_are_told_why() {
    let server = Guarded::start(&workflow_in_the_tree());
    let decode = server.config("decode");
    let with = |access| Config { access, ..decode.clone() };
    let access = || decode.access.clone();

    let nobody = refusal(&with(Access { nkey: None, ..access() })).await;
    assert!(
        nobody.contains("authorization violation: it asks who is there: set NATS_NKEY"),
        "{nobody}"
    );

    let other = Guarded::start(&workflow_in_the_tree());
    let unknown = Access { nkey: other.config("decode").access.nkey, ..access() };
    let unknown = refusal(&with(unknown)).await;
    assert!(
        unknown.contains("does not know the user U") && unknown.contains("keys.conf"),
        "{unknown}"
    );

    let wrong = Access { ca: other.config("decode").access.ca, ..access() };
    let wrong = refusal(&with(wrong)).await;
    assert!(wrong.contains("is not from the CA in NATS_CA, "), "{wrong}");

    let untold = Config {
        nats_url: server.url().replace("tls:", "nats:"),
        ..with(Access { ca: None, ..access() })
    };
    let untold = refusal(&untold).await;
    assert!(untold.contains("set NATS_CA to a file with its CA"), "{untold}");

    // The server itself, for a client that would talk in the clear.
    let mut plain = TcpStream::connect(server.url().trim_start_matches("tls://")).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    plain.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("\"tls_required\":true") && !said.contains("PONG"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_the_seed_of_another_says_what_is_wrong() {
    let server = Guarded::start(&workflow_in_the_tree());
    stemflow(&server, &["init"]);
    let _encode = Running::start(&server, "encode", "decode", &[]);
    let deadline = Deadline::after(Duration::from_secs(60));
    let log = || fs::read_to_string(server.path("encode.log")).unwrap();
    let is_told = |log: &str| {
        log.contains("NATS does not allow this: is NATS_NKEY the seed of this service")
            && log.contains("Subscription to \\\"_INBOX_encode.")
    };
    while !is_told(&log()) {
        deadline.pause_async(log).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_with_the_configuration_in_the_tree_agree() {
    let servers = Guarded::three(&workflow_in_the_tree());
    let graph = Graph::parse(&workflow_in_the_tree()).unwrap();
    let deadline = Deadline::after(PATIENCE);
    // A cluster that has just begun elects a leader first.
    while let Err(error) = layout::ensure(&servers.config("gateway"), &graph, 3).await {
        deadline.pause_async(|| format!("{error}\n{}", servers.log())).await;
    }
    let bus = Bus::open(&servers.config("admin")).await.unwrap();
    let mut stream = jetstream::new(bus.client().clone()).get_stream("STEMFLOW").await.unwrap();
    let info = stream.info().await.unwrap();
    assert_eq!(info.cluster.as_ref().unwrap().replicas.len(), 2, "{info:#?}");
}
