//! What dead processes have left goes in time; what anybody may still ask for stays.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use async_nats::jetstream;
use tests::{Deadline, Diamond};
use workflow::{Bucket, Input, JobId, Lane, ObjectRef, RunId, Submission, UPLOADS};

const HOUR: Duration = Duration::from_secs(60 * 60);
const MOMENT: Duration = Duration::from_secs(1);

async fn put(diamond: &Diamond, bucket: Bucket, name: &str, owner: Option<&RunId>) -> ObjectRef {
    let mut object = diamond.bus.put(bucket, name.to_owned(), owner);
    object.write(b"something").await.unwrap();
    object.finish().await.unwrap()
}

async fn is_there(diamond: &Diamond, object: &ObjectRef) -> bool {
    let mut reader = diamond.bus.get(object);
    matches!(reader.next().await, Ok(Some(_)))
}

/// A job that nobody works on, of a song that came through the gateway.
async fn waiting(diamond: &Diamond) -> (RunId, ObjectRef) {
    let song = put(diamond, Bucket::Queue, &format!("{UPLOADS}song"), None).await;
    let input = Input { object: song.clone(), owned: true };
    let submission = Submission {
        id: JobId::of("waiting"),
        spec: serde_json::Value::Null,
        input,
        lane: Lane::Interactive,
        callback: None,
    };
    let submitted = diamond.bus.submit(submission, &diamond.graph, |_| true).await.unwrap();
    (submitted.job().run_id(), song)
}

/// The song of a job that was cancelled, which was not the job's to delete; its name leads elsewhere.
async fn ended_with_its_own_song(diamond: &Diamond) -> ObjectRef {
    let song = put(diamond, Bucket::Queue, "put-by-someone.mp3", None).await;
    let input = Input { object: song.clone(), owned: false };
    let (id, spec) = (JobId::of("cancelled"), serde_json::Value::Null);
    let submission = Submission { id, spec, input, lane: Lane::Interactive, callback: None };
    let submitted = diamond.bus.submit(submission, &diamond.graph, |_| true).await.unwrap();
    let job = diamond.bus.cancel(&submitted.job().run_id()).await.unwrap().unwrap();
    diamond.wait_for_end(&job.hash).await;
    put(diamond, Bucket::Queue, "put-by-someone.mp3", None).await;
    song
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_nothing_goes_and_nothing_else() {
    let mut diamond = Diamond::start().await;
    diamond.work_all();
    let id = diamond.submit("20").await.job().hash.clone();
    let done = diamond.wait_for_end(&id).await;
    diamond.wait_for_calm(1).await;
    diamond.stop_all();

    let (waiting, song) = waiting(&diamond).await;
    let mut kept: Vec<ObjectRef> = done.names.values().cloned().collect();
    kept.push(song);
    kept.push(put(&diamond, Bucket::Work, "table", Some(&waiting)).await);
    kept.push(put(&diamond, Bucket::Output, "sum", Some(&waiting)).await);

    // A song that its sender has put once more under the same name, after its job had begun.
    let replaced = ended_with_its_own_song(&diamond).await;
    kept.push(diamond.bus.find(Bucket::Queue, "put-by-someone.mp3").await.unwrap());

    let removed = RunId::first(JobId::of("removed"));
    let lost = [
        // Of a worker that has slept through the end of its run.
        put(&diamond, Bucket::Work, "late", Some(&done.run_id())).await,
        put(&diamond, Bucket::Output, "late", Some(&done.run_id())).await,
        put(&diamond, Bucket::Work, "late", Some(&removed)).await,
        // Of a gateway that was killed before its song was a job.
        put(&diamond, Bucket::Queue, &format!("{UPLOADS}lost"), None).await,
        replaced,
    ];
    // Of one that was killed before it had all of it.
    let js = jetstream::new(diamond.bus.client().clone());
    js.publish("$O.queue.C.half", "song".into()).await.unwrap().await.unwrap();

    assert_eq!(diamond.bus.clean(HOUR).await.unwrap(), 0, "what is new is left alone");
    let (deadline, mut gone) = (Deadline::after(Duration::from_secs(20)), 0);
    while gone < lost.len() + 1 {
        deadline.pause_async(|| format!("{gone} objects are gone")).await;
        gone += diamond.bus.clean(MOMENT).await.unwrap();
    }
    assert_eq!(diamond.bus.clean(MOMENT).await.unwrap(), 0);
    for object in &lost {
        assert!(!is_there(&diamond, object).await, "{object:?}");
    }
    for object in &kept {
        assert!(is_there(&diamond, object).await, "{object:?}");
    }
    // The two songs, a chunk and a name each.
    diamond.wait_for_messages("OBJ_queue", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_jobs_leave_no_tombstones() {
    let diamond = Diamond::start().await;
    diamond.work_all();
    for text in ["3", "4", "5"] {
        let id = diamond.submit(text).await.job().hash.clone();
        let job = diamond.wait_for_end(&id).await;
        diamond.bus.remove(&job.run_id()).await.unwrap();
        assert!(diamond.bus.job(&id).await.unwrap().is_none());
    }
    diamond.wait_for_messages("KV_jobs", 0).await;
    diamond.wait_for_calm(0).await;
}
