//! Jobs from the outside: how they stand, what is told of them, how they end.

mod support;

use axum::http::StatusCode;
use serde_json::json;
use support::{BAD_SONG, Stand};

const SONG: &[u8] = b"all these bytes are a song";

#[tokio::test(flavor = "multi_thread")]
async fn a_status_says_all_there_is_to_say() {
    let stand = Stand::start().await;
    let hash = stand.upload(SONG, "name=song.mp3").await.hash();
    let status = stand.get(&format!("/apiv1/status/{hash}")).await.json();
    assert_eq!((&status["state"], &status["progress"]), (&json!("decoding"), &json!(0.0)));
    assert_eq!((&status["name"], &status["hash"]), (&json!("song.mp3"), &json!(hash)));
    assert_eq!((&status["error"], &status["manifest"]), (&json!(null), &json!(null)));
    let decode = &status["stages"][0];
    assert_eq!((&decode["name"], &decode["tasks"]), (&json!("decode"), &json!(1)));
    assert_eq!(decode["finished"], false);
    let publish =
        json!({"name": "publish", "tasks": 0, "done": 0.0, "seconds": 0.0, "finished": false});
    assert_eq!(status["stages"][1], publish);

    stand.start_stages();
    let done = stand.statuses(&hash).await.pop().unwrap();
    assert_eq!((&done["state"], &done["progress"]), (&json!("done"), &json!(1.0)));
    assert_eq!(done["manifest"]["stems"].as_array().unwrap().len(), 4);
    assert!(done["stages"].as_array().unwrap().iter().all(|stage| stage["finished"] == true));
    let elapsed = done["elapsed_seconds"].as_f64().unwrap();
    let factor = done["realtime_factor"].as_f64().unwrap();
    assert!((factor - elapsed / 2.0).abs() < 1e-3, "{factor} of {elapsed} s");
    let queue = stand.get("/apiv1/queue").await.json();
    assert_eq!((&queue["queue"], &queue["queue_length"]), (&json!([]), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_a_job_to_its_end() {
    let stand = Stand::start().await;
    let hash = stand.upload(SONG, "").await.hash();
    let path = format!("/apiv1/events/{hash}");
    // The stages start while someone listens.
    let (statuses, ()) = tokio::join!(stand.statuses(&hash), async { stand.start_stages() });
    assert_eq!(statuses[0]["state"], "decoding");
    assert_eq!(statuses.last().unwrap()["state"], "done");
    let progress: Vec<f64> = statuses.iter().map(|s| s["progress"].as_f64().unwrap()).collect();
    assert!(progress.is_sorted(), "{progress:?}");
    assert_eq!(stand.statuses(&hash).await.len(), 1, "of what has ended there is one more status");
    let events = stand.get(&path).await;
    assert!(events.body.starts_with(b"event: status\ndata: {"), "{:?}", events.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_says_why_and_can_be_sent_again() {
    let stand = Stand::with_stages().await;
    let (hash, status) = stand.separate(BAD_SONG, "").await;
    assert_eq!(status["state"], "failed");
    let error = json!({"code": "not-audio", "message": "this is not audio: send a song", "stage": "decode"});
    assert_eq!(status["error"], error);
    let again = stand.upload(BAD_SONG, "").await;
    assert_eq!(again.json()["reason"], "Song enqueued for separation");
    stand.statuses(&hash).await;
    let (_, next) = stand.separate(SONG, "").await;
    assert_eq!(next["state"], "done", "the next song works");
    stand.wait_for_empty_queue().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_while_it_runs_and_deleted_when_it_has_ended() {
    let stand = Stand::start().await;
    let hash = stand.upload(SONG, "").await.hash();
    let path = format!("/apiv1/job/{hash}");
    let cancelled = json!({"hash": hash, "state": "cancelled", "reason": "Job cancelled"});
    assert_eq!(stand.delete(&path).await.json(), cancelled);
    stand.wait_for_empty_queue().await;
    assert_eq!(stand.statuses(&hash).await[0]["state"], "cancelled");

    stand.start_stages();
    stand.separate(SONG, "").await;
    let deleted = json!({"hash": hash, "state": "done", "reason": "Job deleted"});
    assert_eq!(stand.delete(&path).await.json(), deleted);
    assert_eq!(stand.delete(&path).await.status, StatusCode::NOT_FOUND);
    let file = format!("{hash}/vocals.mp3");
    assert!(stand.bus.find(workflow::Bucket::Output, &file).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_job_that_is_not_there_nothing_is_told() {
    let stand = Stand::start().await;
    for hash in ["0123456789abcdef0123456789abcdef", "nonsense", "%00", "..%2f.."] {
        for path in ["status", "events"] {
            let reply = stand.get(&format!("/apiv1/{path}/{hash}")).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path} {hash}");
            assert!(reply.error().contains("hash"), "{}", reply.error());
        }
        let reply = stand.delete(&format!("/apiv1/job/{hash}")).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
    }
}
