//! What people send that is no song: each gets a clear answer, nothing falls over, and the next
//! song works.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::Value;
use tests::{Stack, song};

/// A WAV file that says it has `bytes` bytes of samples and has none.
fn empty_wav() -> Vec<u8> {
    let mut wav = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0".to_vec();
    wav.extend(44_100_u32.to_le_bytes());
    wav.extend((44_100_u32 * 4).to_le_bytes());
    wav.extend(b"\x04\0\x10\0data\0\0\0\0");
    wav
}

fn error(reply: &Value) -> String {
    reply["error"].as_str().unwrap_or_else(|| panic!("no error in {reply}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_song_gets_a_clear_error_and_the_next_song_works() {
    let stack = Stack::start();
    let started = starts(&stack.log());

    // Refused at the door.
    for (body, options, expected, part) in [
        (Vec::new(), "", 422, "empty"),
        (song(), "model=nope", 422, "unknown model `nope`: use one of mini"),
        (song(), "stems=kazoo", 422, "unknown stem `kazoo`"),
        (song(), "format=midi", 422, "unknown format `midi`"),
        (song(), "overlap=much", 422, "overlap"),
    ] {
        let (code, reply) = stack.send(body, options).await;
        assert_eq!(code, expected, "{options}: {reply}");
        assert!(error(&reply).contains(part), "{options}: {reply}");
    }
    let missing = stack.get_json("/apiv1/track/not-a-hash/vocals").await;
    assert_eq!(missing.0, 404, "{}", missing.1);
    let (code, reply) = stack.get_json(&format!("/apiv1/status/{}", "0".repeat(32))).await;
    assert_eq!(code, 404, "{reply}");

    // Taken, and found out by decode: the job says why.
    for (body, code, part) in [
        (b"this is a text and no music, whatever its name says\n".repeat(100), "not-audio", "send"),
        (empty_wav(), "empty", "no sound"),
    ] {
        let hash = stack.submit(body, "name=song.mp3").await;
        let status = stack.wait_for(&hash).await;
        assert_eq!(status["state"], "failed", "{status:#}");
        assert_eq!(status["error"]["code"], code, "{status:#}");
        assert!(status["error"]["message"].as_str().unwrap().contains(part), "{status:#}");
        let (code, reply) = stack.get_json(&format!("/apiv1/track/{hash}/vocals")).await;
        assert_eq!(code, 404, "{reply}");
    }

    // A truncated song is as long as what is left of it.
    let whole = song();
    let hash = stack.submit(whole[..whole.len() / 3].to_vec(), "").await;
    let status = stack.wait_for(&hash).await;
    assert_eq!(status["state"], "done", "{status:#}");

    let hash = stack.submit(whole, "").await;
    let status = stack.wait_for(&hash).await;
    assert_eq!(status["state"], "done", "{status:#}");
    let (code, reply) = stack.get_json(&format!("/apiv1/track/{hash}/kazoo")).await;
    assert_eq!((code, error(&reply).as_str()), (404, "Track not found"));

    assert_eq!(starts(&stack.log()), started, "a process was started again:\n{}", stack.log());
}

/// How often a stage has said that it is ready.
fn starts(log: &str) -> usize {
    log.lines().filter(|line| line.contains("ready") && line.contains("slots=")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_and_leaves_nothing() {
    // The gateway's own settings come through the environment of the stack.
    let stack = Stack::with_env(&[("STEMFLOW_MAX_UPLOAD", "64KiB")]);
    let (code, reply) = stack.send(song(), "").await;
    assert_eq!(code, 413, "{reply}");
    let client = async_nats::connect(stack.nats_url()).await.unwrap();
    let js = async_nats::jetstream::new(client);
    let deadline = tests::Deadline::after(tests::PATIENCE);
    loop {
        let queue = js.get_stream("OBJ_queue").await.unwrap().get_info().await.unwrap();
        if queue.state.messages == 0 {
            break;
        }
        deadline.pause_async(|| format!("{} messages are left", queue.state.messages)).await;
    }
}
