//! A song goes in as the clients of the API send it, and comes out as stems that keep the contract.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Cursor;

use audio::{Contract, Song, Waveform};
use serde_json::{Value, json};
use tests::{PATIENCE, Stack, answer, song};

const STEMS: [&str; 4] = ["drums", "bass", "other", "vocals"];

fn decoded(file: Vec<u8>) -> Waveform {
    let mut whole = Waveform::default();
    for block in Song::open(Cursor::new(file)).unwrap() {
        whole.extend(&block.unwrap());
    }
    whole
}

async fn send_form(stack: &Stack, field: &'static str) -> (u16, Value) {
    let part = reqwest::multipart::Part::bytes(song()).file_name("song.mp3");
    let form = reqwest::multipart::Form::new().part(field, part);
    let request = reqwest::Client::new().post(stack.url("/apiv1/separate")).multipart(form);
    answer(request.send().await).await
}

async fn send_json(stack: &Stack) -> (u16, Value) {
    use base64::Engine;
    let mp3 = base64::prelude::BASE64_STANDARD.encode(song());
    let body = json!({ "mp3": mp3, "callback": { "url": "http://localhost:1/", "data": {} } });
    answer(reqwest::Client::new().post(stack.url("/apiv1/separate")).json(&body).send().await).await
}

/// The ways of the system before this one: form, JSON, raw body; queue; track; remove.
#[tokio::test(flavor = "multi_thread")]
async fn a_song_becomes_four_stems_of_its_length_however_it_is_sent() {
    let stack = Stack::start();
    let (code, reply) = send_form(&stack, "mp3").await;
    assert_eq!(code, 200, "{reply}");
    assert_eq!(reply["reason"], "Song enqueued for separation");
    let hash = reply["hash"].as_str().unwrap();

    // While it runs it is in the queue, and its tracks are not there yet.
    for path in ["/apiv1/queue", "/apiv1/queue/"] {
        let (_, queue) = stack.get_json(path).await;
        assert_eq!((&queue["queue"], &queue["queue_length"]), (&json!([hash]), &json!(1)));
    }
    let (code, reply) = stack.get_json(&format!("/apiv1/track/{hash}/vocals")).await;
    assert_eq!((code, &reply["error"]), (404, &json!("Track not found")));

    let status = stack.wait_for(hash).await;
    assert_eq!(status["state"], "done", "{status:#}");
    assert_eq!(status["progress"], 1.0);
    check_stems(&stack, hash, &status["manifest"]).await;

    // Sent again, in each form, it is the same job, and separated once.
    for (code, reply) in
        [send_form(&stack, "file").await, send_json(&stack).await, stack.send(song(), "").await]
    {
        assert_eq!((code, &reply["hash"], &reply["state"]), (200, &json!(hash), &json!("done")));
    }
    assert_eq!(stack.log().matches("state=done").count(), 1, "{}", stack.log());

    // Removed is removed, for this track alone; and the song can be sent again.
    let (code, _) = stack.get_json(&format!("/apiv1/remove/{hash}/base.mp3")).await;
    assert_eq!(code, 200);
    let (code, _) = stack.get_json(&format!("/apiv1/track/{hash}/bass")).await;
    assert_eq!(code, 404);
    assert!(!stack.track(hash, "drums").await.is_empty());
    assert_eq!(stack.submit(song(), "").await, hash);
    assert_eq!(stack.wait_for(hash).await["state"], "done");
    assert!(!stack.track(hash, "base").await.is_empty());
}

async fn check_stems(stack: &Stack, hash: &str, manifest: &Value) {
    let mix = decoded(song());
    let contract = Contract { frames: mix.frames() as u64 };
    assert_eq!(manifest["frames"], mix.frames());
    let mut sum = Waveform::silence(mix.frames());
    for stem in STEMS {
        let file = stack.track(hash, &format!("{stem}.mp3")).await;
        let report = contract.check(Cursor::new(file.clone())).unwrap();
        assert!(report.peak > 0.01, "{stem} is all but silent");
        sum.add(0, &decoded(file));
    }
    // Nothing makes the model's stems add up to the mix, but they come near it.
    let error = power(&difference(&sum, &mix)) / power(&mix);
    assert!(error < 0.1, "the stems' sum is {error} away from the mix");
}

fn difference(a: &Waveform, b: &Waveform) -> Waveform {
    let minus = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a - b).collect();
    Waveform::new(minus(a.left(), b.left()), minus(a.right(), b.right()))
}

fn power(wave: &Waveform) -> f32 {
    wave.planes().iter().flatten().map(|sample| sample * sample).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stem_in_another_format_is_a_job_of_its_own() {
    let stack = Stack::start();
    let hash = stack.submit(song(), "stems=vocals&format=wav").await;
    let status = stack.wait_for(&hash).await;
    assert_eq!(status["state"], "done", "{status:#}");
    let stems = status["manifest"]["stems"].as_array().unwrap();
    assert_eq!(stems.len(), 1);
    let frames = decoded(song()).frames() as u64;
    let file = stack.track(&hash, "vocals.wav").await;
    Contract { frames }.check(Cursor::new(file)).unwrap();
    let (code, _) = stack.get_json(&format!("/apiv1/track/{hash}/drums")).await;
    assert_eq!(code, 404);
}

/// What a process of the stage `separate` has finished, by its name in the log.
fn shards_done(log: &str, process: &str) -> usize {
    let is_its_own =
        |line: &&str| line.trim_start().starts_with(process) && line.contains("task done");
    log.lines().filter(is_its_own).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_a_song_and_give_the_same_bytes() {
    let two = Stack::with(&["--scale", "separate=2"]);
    // Three times the song: shards enough that both workers get some.
    let long = song().repeat(3);
    let hash = two.submit(long.clone(), "format=wav").await;
    assert_eq!(two.wait_for(&hash).await["state"], "done");
    let log = two.log();
    let (first, second) = (shards_done(&log, "separate.1"), shards_done(&log, "separate.2"));
    assert!(first > 0 && second > 0, "{first} and {second} shards");

    let one = Stack::start();
    assert_eq!(one.submit(long, "format=wav").await, hash);
    assert_eq!(one.wait_for(&hash).await["state"], "done");
    for stem in STEMS {
        assert!(one.track(&hash, stem).await == two.track(&hash, stem).await, "{stem} differs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_uploads_waits_and_downloads() {
    let stack = Stack::start();
    let out = stack.path("stems");
    let mut submit = tokio::process::Command::new(tests::binary("stemflow"));
    submit.arg("submit").arg(tests::tree().join("demo/song.mp3"));
    submit.args(["--url", &stack.url("")]).arg("--out").arg(&out);
    let done = tokio::time::timeout(PATIENCE, submit.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    for stem in STEMS {
        assert!(out.join(format!("{stem}.mp3")).exists(), "{said}");
    }
}
