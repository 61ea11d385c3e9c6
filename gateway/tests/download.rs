//! Stems go out, whole and in parts, and are removed.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use async_zip::base::read1::seek::ZipArchiveReader;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use futures::AsyncReadExt;
use futures::io::Cursor;
use serde_json::json;
use support::{BAD_SONG, Reply, Stand, stem_bytes};
use workflow::Bucket;

const SONG: &[u8] = b"all these bytes are a song";

async fn get(stand: &Stand, path: &str, header: (&str, &str)) -> Reply {
    let request = Request::get(path).header(header.0, header.1);
    stand.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_is_a_file_with_a_name() {
    let stand = Stand::with_stages().await;
    let (hash, _) = stand.separate(SONG, "name=Bj%C3%B6k%20%28live%29.wav").await;
    for (track, stem) in
        [("vocals", "vocals"), ("vocals.mp3", "vocals"), ("base", "bass"), ("bass.mp3", "bass")]
    {
        let reply = stand.get(&format!("/apiv1/track/{hash}/{track}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{:?}", reply.body);
        assert!(reply.body == stem_bytes(stem), "the bytes of {stem}");
        assert_eq!(reply.header("content-type"), "audio/mpeg");
        assert_eq!(reply.header("content-length"), "700000");
        assert_eq!(
            reply.header("content-disposition"),
            format!(
                "attachment; filename=\"Bj_k (live) ({stem}).mp3\"; \
                 filename*=UTF-8''Bj%C3%B6k%20%28live%29%20%28{stem}%29.mp3"
            )
        );
    }
    let inline = stand.get(&format!("/apiv1/track/{hash}/vocals?inline=1")).await;
    assert!(inline.header("content-disposition").starts_with("inline; "));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_track_can_be_had() {
    let stand = Stand::with_stages().await;
    let (hash, _) = stand.separate(SONG, "").await;
    let path = format!("/apiv1/track/{hash}/drums");
    let whole = stem_bytes("drums");
    for (range, first, last) in [
        ("bytes=0-", 0, 699_999),
        ("bytes=5-9", 5, 9),
        // Across the end of an object's chunk, and past it.
        ("bytes=524280-524300", 524_280, 524_300),
        ("bytes=600000-600000", 600_000, 600_000),
        ("bytes=-10", 699_990, 699_999),
    ] {
        let part = get(&stand, &path, ("range", range)).await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/700000"));
        assert_eq!(part.header("content-length"), (last - first + 1).to_string());
        assert!(part.body == whole[first..=last], "{range}");
    }
    let outside = get(&stand, &path, ("range", "bytes=700000-")).await;
    assert_eq!(outside.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(outside.header("content-range"), "bytes */700000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_is_not_sent_to_those_who_have_it() {
    let stand = Stand::with_stages().await;
    let (hash, _) = stand.separate(SONG, "").await;
    let path = format!("/apiv1/track/{hash}/drums");
    let head = Request::builder().method(Method::HEAD).uri(&path).body(Body::empty()).unwrap();
    let head = stand.send(head).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header("content-length"), "700000");
    let etag = head.header("etag");
    assert!(etag.starts_with('"') && etag.len() == 45, "{etag}");
    let again = get(&stand, &path, ("if-none-match", etag)).await;
    assert_eq!((again.status, again.header("etag")), (StatusCode::NOT_MODIFIED, etag));
    let other = get(&stand, &path, ("if-none-match", "\"other\"")).await;
    assert_eq!(other.status, StatusCode::OK);
    for (tag, status) in [(etag, 206), ("\"other\"", 200)] {
        let request = Request::get(&path).header("range", "bytes=1-2").header("if-range", tag);
        let reply = stand.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status.as_u16(), status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_that_is_not_there_is_not_found_whatever_the_reason() {
    let stand = Stand::start().await;
    let hash = stand.upload(SONG, "").await.hash();
    let unknown = "0123456789abcdef0123456789abcdef";
    for (path, hint) in [
        (format!("{hash}/vocals"), "is being separated"),
        (format!("{unknown}/vocals"), "no job of that hash"),
        ("short/vocals".to_owned(), "32 hex digits"),
        (format!("{}/vocals", hash.to_uppercase()), "32 hex digits"),
    ] {
        let reply = stand.get(&format!("/apiv1/track/{path}")).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert_eq!(reply.error(), "Track not found");
        let body = reply.json();
        assert!(body["hint"].as_str().unwrap().contains(hint), "{body}");
    }
    let running = stand.get(&format!("/apiv1/track/{hash}/vocals")).await;
    assert_eq!(running.header("retry-after"), "5");
    assert_eq!(running.json()["state"], "decoding");
    assert_eq!(running.json()["progress"], 0.0);

    stand.start_stages();
    stand.statuses(&hash).await;
    let no_such = stand.get(&format!("/apiv1/track/{hash}/piano")).await;
    assert_eq!(no_such.json()["hint"], "this song's tracks are drums, bass, other, vocals");
    let other_form = stand.get(&format!("/apiv1/track/{hash}/vocals.wav")).await;
    assert_eq!(other_form.status, StatusCode::NOT_FOUND);

    let (bad, _) = stand.separate(BAD_SONG, "").await;
    let failed = stand.get(&format!("/apiv1/track/{bad}/vocals")).await;
    assert_eq!(failed.json()["state"], "failed");
    assert_eq!(failed.json()["hint"], "the separation failed: this is not audio: send a song");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_is_removed_and_with_the_last_one_the_job() {
    let stand = Stand::with_stages().await;
    let (hash, _) = stand.separate(SONG, "").await;
    let remove = |track: &str| format!("/apiv1/remove/{hash}/{track}");
    let reply = stand.get(&remove("base.mp3")).await;
    let expected = json!({"hash": hash, "track": "bass", "reason": "Track removed"});
    assert_eq!(reply.json(), expected);
    assert!(stand.bus.find(Bucket::Output, &format!("{hash}/bass.mp3")).await.is_err());
    assert!(stand.bus.find(Bucket::Output, &format!("{hash}/drums.mp3")).await.is_ok());
    let gone = stand.get(&format!("/apiv1/track/{hash}/bass")).await;
    assert_eq!((gone.status, gone.error().as_str()), (StatusCode::NOT_FOUND, "Track not found"));
    assert_eq!(stand.delete(&remove("bass")).await.status, StatusCode::NOT_FOUND);

    // What is no longer whole is separated again when the song comes again.
    let again = stand.upload(SONG, "").await;
    assert_eq!(again.json()["reason"], "Song enqueued for separation");
    stand.statuses(&hash).await;
    assert_eq!(stand.get(&format!("/apiv1/track/{hash}/bass")).await.status, StatusCode::OK);

    for track in ["drums", "bass", "other", "vocals"] {
        assert_eq!(stand.delete(&remove(track)).await.status, StatusCode::OK, "{track}");
    }
    let status = stand.get(&format!("/apiv1/status/{hash}")).await;
    assert_eq!(status.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_stems_come_as_one_archive() {
    let stand = Stand::with_stages().await;
    let (hash, _) = stand.separate(SONG, "name=song.mp3").await;
    stand.delete(&format!("/apiv1/remove/{hash}/other")).await;
    let reply = stand.get(&format!("/apiv1/stems/{hash}.zip")).await;
    assert_eq!(reply.header("content-type"), "application/zip");
    assert!(reply.header("content-disposition").contains("filename=\"song.zip\""));
    let mut archive = ZipArchiveReader::open(Cursor::new(&reply.body)).await.unwrap();
    let names = archive.cdrs().iter().map(|entry| entry.insecure_file_name.as_str().unwrap());
    let names: Vec<_> = names.collect();
    assert_eq!(names, ["song (drums).mp3", "song (bass).mp3", "song (vocals).mp3"]);
    let mut vocals = Vec::new();
    archive.file(2).await.unwrap().read_to_end(&mut vocals).await.unwrap();
    assert!(vocals == stem_bytes("vocals"));
    let no_zip = stand.get(&format!("/apiv1/stems/{hash}")).await;
    assert_eq!(no_zip.status, StatusCode::NOT_FOUND);
}
