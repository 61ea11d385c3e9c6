//! The NATS door: what those see who use the `nats` command.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::Arc;

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use gateway::Micro;
use serde_json::{Value, json};
use support::Stand;
use tokio_util::sync::{CancellationToken, DropGuard};
use workflow::Bucket;

const SONG: &[u8] = b"all these bytes are a song";

async fn open(stand: &Stand) -> DropGuard {
    let micro = Micro::start(Arc::clone(&stand.gateway), stand.bus.client()).await.unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(micro.serve(shutdown.clone()));
    shutdown.drop_guard()
}

async fn put(stand: &Stand, name: &str) {
    let mut object = stand.bus.put(Bucket::Queue, name.to_owned(), None);
    object.write(SONG).await.unwrap();
    object.finish().await.unwrap();
}

async fn ask(stand: &Stand, subject: &'static str, payload: impl ToString) -> async_nats::Message {
    stand.bus.client().request(subject, payload.to_string().into()).await.unwrap()
}

fn json_of(message: &async_nats::Message) -> Value {
    serde_json::from_slice(&message.payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_in_the_bucket_is_separated_and_stays() {
    let stand = Stand::start().await;
    let _door = open(&stand).await;
    put(&stand, "song.mp3").await;
    let receipt = json_of(&ask(&stand, "stemflow.submit", json!({"object": "song.mp3"})).await);
    assert_eq!(receipt["reason"], "Song enqueued for separation");
    let hash = receipt["hash"].as_str().unwrap();
    assert_eq!(stand.upload(SONG, "").await.hash(), hash, "both doors give the same hash");
    let queue = json_of(&ask(&stand, "stemflow.queue", "").await);
    assert_eq!((&queue["queue"], &queue["queue_length"]), (&json!([hash]), &json!(1)));

    stand.start_stages();
    let by_http = stand.statuses(hash).await.pop().unwrap();
    assert_eq!(by_http["name"], "song.mp3");
    for payload in [hash.to_owned(), json!({"hash": hash}).to_string()] {
        assert_eq!(json_of(&ask(&stand, "stemflow.status", payload).await), by_http);
    }
    let again = json!({"object": "song.mp3", "stems": ["vocals"], "format": "wav"});
    let vocals = json_of(&ask(&stand, "stemflow.submit", again).await);
    assert_ne!(vocals["hash"], hash);
    assert!(stand.bus.find(Bucket::Queue, "song.mp3").await.is_ok(), "it is not ours to delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled() {
    let stand = Stand::start().await;
    let _door = open(&stand).await;
    let hash = stand.upload(SONG, "").await.hash();
    let ended = json_of(&ask(&stand, "stemflow.cancel", &hash).await);
    assert_eq!(ended, json!({"hash": hash, "state": "cancelled", "reason": "Job cancelled"}));
    let again = json_of(&ask(&stand, "stemflow.cancel", &hash).await);
    assert_eq!(again["reason"], "Job has ended already");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_in_the_headers_and_in_the_body() {
    let stand = Stand::start().await;
    let _door = open(&stand).await;
    put(&stand, "song.mp3").await;
    for (subject, payload, code, error) in [
        ("stemflow.submit", "song.mp3".to_owned(), "400", "send {\"object\": \"song.mp3\"}"),
        (
            "stemflow.submit",
            json!({"object": "no.mp3"}).to_string(),
            "404",
            "nats object put queue",
        ),
        (
            "stemflow.submit",
            json!({"object": "song.mp3", "model": "nope"}).to_string(),
            "422",
            "unknown model `nope`: use one of mini",
        ),
        ("stemflow.status", "nonsense".to_owned(), "404", "32 hex digits"),
        ("stemflow.cancel", "0123456789abcdef0123456789abcdef".to_owned(), "404", "no job"),
    ] {
        let reply = ask(&stand, subject, payload).await;
        let text = json_of(&reply)["error"].as_str().unwrap().to_owned();
        assert!(text.contains(error), "{error} in {text}");
        let headers = reply.headers.unwrap();
        assert_eq!(headers.get(NATS_SERVICE_ERROR_CODE).unwrap().as_str(), code);
        assert_eq!(headers.get(NATS_SERVICE_ERROR).unwrap().as_str(), text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_describes_itself() {
    let stand = Stand::start().await;
    let _door = open(&stand).await;
    let info = json_of(&ask(&stand, "$SRV.INFO.stemflow", "").await);
    assert_eq!(info["name"], "stemflow");
    let endpoints = info["endpoints"].as_array().unwrap();
    let mut subjects: Vec<_> = endpoints.iter().map(|e| e["subject"].as_str().unwrap()).collect();
    subjects.sort_unstable();
    let expected = ["stemflow.cancel", "stemflow.queue", "stemflow.status", "stemflow.submit"];
    assert_eq!(subjects, expected);
    assert!(endpoints.iter().all(|endpoint| endpoint["metadata"]["description"].is_string()));
}
