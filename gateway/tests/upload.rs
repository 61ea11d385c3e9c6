//! A song comes in: in every form that it may have, and in some that it may not.

mod support;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use support::{LIMIT, Stand, form};
use workflow::Bucket;

const SONG: &[u8] = b"all these bytes are a song";

#[tokio::test(flavor = "multi_thread")]
async fn a_song_has_one_hash_however_it_comes() {
    let stand = Stand::start().await;
    let plain = stand.upload(SONG, "name=plain.mp3").await;
    assert_eq!(plain.json()["reason"], "Song enqueued for separation");
    let hash = plain.hash();

    let curl = form("/apiv1/separate", &[("mp3", Some("song.mp3"), SONG)]);
    let by_form = stand.send(curl).await;
    assert_eq!((by_form.hash(), &by_form.json()["state"]), (hash.clone(), &json!("decoding")));

    let options = [("audio", Some("song.mp3"), SONG), ("stems", None, b"drums,base,other,vocals")];
    let after_the_song = stand.send(form("/apiv1/separate", &options)).await;
    assert_eq!(after_the_song.hash(), hash);

    let callback = json!({"url": "http://localhost/", "data": {"a": 1}});
    let object = json!({"mp3": BASE64_STANDARD.encode(SONG), "callback": callback});
    let by_json = stand.send(support::json("/apiv1/separate", &object)).await;
    assert_eq!(by_json.hash(), hash);
    assert_eq!(by_json.json()["reason"], "Song is being separated already");

    for path in ["/apiv1/queue", "/apiv1/queue/"] {
        let queue = stand.get(path).await.json();
        assert_eq!((&queue["queue"], &queue["queue_length"]), (&json!([hash]), &json!(1)));
    }
    let metrics = stand.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        "stemflow_jobs_submitted_total{outcome=\"begun\"} 1",
        "stemflow_jobs_submitted_total{outcome=\"joined\"} 3",
        "stemflow_jobs{state=\"decoding\"} 1",
        "stemflow_upload_bytes_total 104",
        "stemflow_http_requests_total{method=\"POST\",route=\"/apiv1/separate\",status=\"200\"} 4",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_that_is_sent_many_times_at_once_is_separated_once() {
    let stand = Stand::start().await;
    let replies = futures::future::join_all((0..4).map(|_| stand.upload(SONG, ""))).await;
    let begun =
        replies.iter().filter(|reply| reply.json()["reason"] == "Song enqueued for separation");
    assert_eq!(begun.count(), 1);
    // Of the uploads, only that of the job is left.
    stand.start_stages();
    stand.statuses(&replies[0].hash()).await;
    stand.wait_for_empty_queue().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_change_the_hash_and_the_files() {
    let stand = Stand::with_stages().await;
    let (plain, _) = stand.separate(SONG, "name=a.mp3").await;
    let (hash, status) = stand.separate(SONG, "stems=vocals&stems=drums&format=flac").await;
    assert_ne!(hash, plain);
    let stems = status["manifest"]["stems"].as_array().unwrap();
    let files: Vec<_> = stems.iter().map(|stem| &stem["file"]).collect();
    assert_eq!(files, ["drums.flac", "vocals.flac"]);
    let again = stand.upload(SONG, "name=b.mp3").await;
    assert_eq!(again.json()["reason"], "Song has been separated already");
    assert_eq!(again.hash(), plain);
    stand.wait_for_empty_queue().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_the_limit_is_refused_and_nothing_of_it_stays() {
    let stand = Stand::start().await;
    let long = vec![7; LIMIT as usize + 1];
    let base64 = json!({"mp3": BASE64_STANDARD.encode(&long)});
    let unannounced = Body::from_stream(futures::stream::iter(
        (0..4).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![7; LIMIT as usize / 2]))),
    ));
    let announced = Request::post("/apiv1/separate").header("content-length", 9_u64 << 30);
    for request in [
        form("/apiv1/separate", &[("mp3", Some("song.mp3"), &long)]),
        form("/apiv1/separate", &[("nothing", None, b""), ("mp3", None, &long)]),
        support::json("/apiv1/separate", &base64),
        Request::post("/apiv1/separate").body(unannounced).unwrap(),
        announced.body(Body::empty()).unwrap(),
    ] {
        let reply = stand.send(request).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{:?}", reply.body);
        assert!(reply.error().contains("larger than 2097152 bytes"), "{}", reply.error());
    }
    stand.wait_for_empty_queue().await;
    let whole = stand.upload(&long[1..], "").await;
    assert_eq!(whole.status, StatusCode::OK, "the limit itself is not over the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_nothing_behind() {
    let stand = Stand::start().await;
    let broken = futures::stream::iter([
        Ok(Bytes::from(vec![7; 1 << 20])),
        Err(std::io::Error::other("the connection is gone")),
    ]);
    let reply =
        stand.send(Request::post("/apiv1/separate").body(Body::from_stream(broken)).unwrap());
    assert_eq!(reply.await.status, StatusCode::BAD_REQUEST);
    stand.wait_for_empty_queue().await;
    assert_eq!(stand.get("/apiv1/queue").await.json()["queue_length"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_nothing_more_is_not_waited_for() {
    let stand = Stand::start().await;
    let begun = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![7; 1 << 20]))]);
    let stalled = Body::from_stream(begun.chain(futures::stream::pending()));
    let reply = stand.send(Request::post("/apiv1/separate").body(stalled).unwrap()).await;
    assert_eq!(reply.status, StatusCode::REQUEST_TIMEOUT);
    assert!(reply.error().contains("for 1 seconds: send the song again"), "{}", reply.error());
    stand.wait_for_empty_queue().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_with_a_next_step() {
    let stand = Stand::start().await;
    let path = "/apiv1/separate";
    let song = ("mp3", Some("song.mp3"), SONG);
    let base64 = BASE64_STANDARD.encode(SONG);
    let of_type = |content_type: &str, body: &'static str| {
        Request::post(path).header("content-type", content_type).body(body.into()).unwrap()
    };
    for (request, status, error) in [
        (of_type("audio/mpeg", ""), 422, "the song is empty"),
        (form(path, &[("model", None, b"mini")]), 400, "No MP3 file"),
        (support::json(path, &json!({"model": "mini"})), 400, "No MP3 file"),
        (form(path, &[("mp3", Some(""), b"")]), 422, "the song is empty"),
        (support::json(path, &json!({"mp3": ""})), 422, "the song is empty"),
        (
            form(path, &[song, ("model", None, b"nope")]),
            422,
            "unknown model `nope`: use one of mini",
        ),
        (form(path, &[("stems", None, b"piano"), song]), 422, "`mini` gives drums, bass, other"),
        (form(&format!("{path}?format=aac"), &[song]), 422, "use mp3, flac or wav"),
        (form(&format!("{path}?bitrate=much"), &[song]), 422, "bitrate is `much`"),
        (support::json(path, &json!({"mp3": base64, "model": "nope"})), 422, "unknown model"),
        (support::json(path, &json!({"mp3": base64, "overlap": "x"})), 422, "not understood"),
        (support::json(path, &json!({"mp3": "%%%%"})), 400, "not base64"),
        (form(path, &[song, song]), 422, "two songs"),
        (of_type("application/json", "{\"mp3\": "), 400, "not a JSON object"),
        (of_type("multipart/form-data", "x"), 400, "names no boundary"),
        (of_type("multipart/form-data; boundary=x", "x"), 400, "not a multipart form"),
    ] {
        let reply = stand.send(request).await;
        assert_eq!(reply.status.as_u16(), status, "{error}: {:?}", reply.body);
        assert!(reply.error().contains(error), "{error} in {}", reply.error());
    }
    let packed = Request::post(path).header("content-encoding", "gzip").body("x".into()).unwrap();
    assert_eq!(stand.send(packed).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    stand.wait_for_empty_queue().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_songs_come_in_at_once_than_may() {
    let stand = Stand::start().await;
    let waiting = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let mut uploads: Vec<_> = (0..4)
        .map(|_| Box::pin(stand.send(Request::post("/apiv1/separate").body(waiting()).unwrap())))
        .collect();
    for upload in &mut uploads {
        assert!(futures::poll!(upload).is_pending());
    }
    let one_more = stand.upload(SONG, "").await;
    assert_eq!(one_more.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(one_more.header("retry-after"), "5");
    drop(uploads);
    assert_eq!(stand.upload(SONG, "").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_file_is_kept_for_show_only() {
    let stand = Stand::start().await;
    let named = form("/apiv1/separate", &[("mp3", Some("../Bjök (live).mp3"), SONG)]);
    let hash = stand.send(named).await.hash();
    let status = stand.get(&format!("/apiv1/status/{hash}")).await.json();
    assert_eq!(status["name"], "Bjök (live).mp3");
    let job = stand.bus.job(&hash.parse().unwrap()).await.unwrap().unwrap();
    assert!(job.input.object.name.starts_with("upload/") && job.input.owned);
    assert_eq!(job.input.object.bucket, Bucket::Queue);
}
