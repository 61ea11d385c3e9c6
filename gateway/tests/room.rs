//! What is refused when there is too much of it: music that waits, and songs that are stored.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::service::NATS_SERVICE_ERROR_CODE;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use gateway::Micro;
use gateway::desk::Policy;
use serde_json::{Value, json};
use support::Stand;
use tests::Deadline;
use tokio_util::sync::CancellationToken;
use workflow::Bucket;
use workflow::layout::Quotas;

/// A thousandth of a second, by its bytes.
const SONG: &[u8] = b"all these bytes are a song";
const OTHER: &[u8] = b"these are another";

fn nearly_nothing() -> Policy {
    Policy { max_queued: Duration::from_nanos(1), ..Policy::default() }
}

async fn stored(stand: &Stand) -> u64 {
    let stream = jetstream::new(stand.bus.client().clone()).get_stream("OBJ_queue").await.unwrap();
    stream.cached_info().state.messages
}

async fn wait_until_stored(stand: &Stand, before: u64) {
    let deadline = Deadline::after(Duration::from_secs(20));
    while stored(stand).await != before {
        deadline.pause_async(|| "what came of the song is still there".to_owned()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_in_which_too_much_waits_takes_no_more_before_the_song_has_come() {
    let stand = Stand::of(nearly_nothing(), Quotas::default()).await;
    stand.upload(SONG, "").await.hash();
    let before = stored(&stand).await;
    // A body that is only sent to those who want it.
    let asked = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_asked = Arc::clone(&asked);
    let body = futures::stream::once(async move {
        is_asked.store(true, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(OTHER))
    });
    let request = Request::post("/apiv1/separate").header("expect", "100-continue");
    let refused = stand.send(request.body(Body::from_stream(body)).unwrap()).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert!(refused.error().contains("send the song again in"), "{}", refused.error());
    assert!(!asked.load(std::sync::atomic::Ordering::SeqCst), "the body was asked for");
    assert_eq!(stored(&stand).await, before);
    // The other lane is not concerned, and once the songs are done there is room again.
    let batch = stand.upload(OTHER, "lane=batch").await.hash();
    let job = stand.bus.job(&batch.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(job.lane, workflow::Lane::Batch);
    stand.start_stages();
    let deadline = Deadline::after(Duration::from_secs(60));
    while stand.upload(b"a third", "").await.status != StatusCode::OK {
        stand.gateway.count().await.unwrap();
        deadline.pause_async(|| "still full".to_owned()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_nats_a_song_that_is_known_is_answered_however_full_it_is() {
    let stand = Stand::of(nearly_nothing(), Quotas::default()).await;
    let micro = Micro::start(Arc::clone(&stand.gateway), stand.bus.client()).await.unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(micro.serve(shutdown.clone()));
    let _door = shutdown.drop_guard();
    for (name, bytes) in [("song", SONG), ("other", OTHER)] {
        let mut object = stand.bus.put(Bucket::Queue, name.to_owned(), None);
        object.write(bytes).await.unwrap();
        object.finish().await.unwrap();
    }
    let submit = async |name: &str| {
        let request = json!({ "object": name }).to_string().into();
        let reply = stand.bus.client().request("stemflow.submit", request).await.unwrap();
        let code = reply.headers.as_ref().and_then(|h| h.get(NATS_SERVICE_ERROR_CODE));
        let code = code.map(ToString::to_string);
        (code, serde_json::from_slice::<Value>(&reply.payload).unwrap())
    };
    assert_eq!(submit("song").await.0, None);
    let (code, error) = submit("other").await;
    assert_eq!(code.as_deref(), Some("429"));
    assert!(error["retry_after"].as_u64().unwrap() >= 1, "{error}");
    let (code, joined) = submit("song").await;
    assert_eq!((code, &joined["reason"]), (None, &json!("Song is being separated already")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_bucket_takes_no_song_until_another_has_gone() {
    let quotas = Quotas { queue: Some(2_000_000), ..Quotas::default() };
    let stand = Stand::of(Policy::default(), quotas).await;
    let (first, second) = (vec![1; 1_300_000], vec![2; 1_300_000]);
    let hash = stand.upload(&first, "").await.hash();
    let before = stored(&stand).await;
    let refused = stand.upload(&second, "").await;
    assert_eq!(refused.status, StatusCode::INSUFFICIENT_STORAGE, "{:?}", refused.body);
    assert!(refused.error().contains("DELETE /apiv1/job/<hash>"), "{}", refused.error());
    wait_until_stored(&stand, before).await;
    stand.delete(&format!("/apiv1/job/{hash}")).await;
    stand.upload(&second, "").await.hash();
}

/// A server does not start with less storage than is set aside for tasks.
async fn set_little_aside(stand: &Stand) {
    let js = jetstream::new(stand.bus.client().clone());
    for name in ["STEMFLOW", "STEMFLOW_DEAD"] {
        let mut config = js.get_stream(name).await.unwrap().cached_info().config.clone();
        config.max_bytes = 100_000;
        js.update_stream(config).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_storage_takes_no_song_and_what_was_taken_is_done() {
    let mut stand = Stand::start().await;
    set_little_aside(&stand).await;
    stand.nats.restart_with("jetstream { max_file_store: 8MB }");
    let one_stem = "stems=vocals";
    let taken = [SONG, OTHER].map(|song| stand.upload(song, one_stem));
    let taken = futures::future::join_all(taken).await;
    let mut other = stand.bus.put(Bucket::Output, "something else".to_owned(), None);
    other.write(&vec![0; 6_500_000]).await.unwrap();
    let other = other.finish().await.unwrap();
    let before = stored(&stand).await;
    let large = vec![1; 1_900_000];
    let refused = stand.upload(&large, one_stem).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{:?}", refused.body);
    assert!(refused.error().contains("the storage is full"), "{}", refused.error());
    assert_eq!(refused.header("retry-after"), "60");
    wait_until_stored(&stand, before).await;
    stand.start_stages();
    for song in taken {
        assert_eq!(stand.statuses(&song.hash()).await.pop().unwrap()["state"], "done");
    }
    stand.bus.delete(&other).await.unwrap();
    stand.upload(&large, one_stem).await.hash();
}
