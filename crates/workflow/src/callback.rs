//! Callbacks: who wants to be told that a job has ended, and how that is not forgotten.
//!
//! ```text
//! submit ─► job's record ─► free ─► notice ─► gateway ─► the callback
//! ```
//!
//! A job's record says who. Whoever frees an ended run lays a notice for each of them into a stream
//! of its own, and only then writes that the run is freed; so a crash on the way is seen to like any
//! other. A gateway takes a notice with a lease and deletes it when it has been heard, or given up.
//! The record is not written for that: it would outlive the stems that it tells of.

use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{AckKind, Message};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ask::PULL_EXPIRES;
use crate::bus::{Bus, BusError, During, Full, from_json, to_json};
use crate::job::{Job, JobId};
use crate::names;
use crate::write::{Fence, Write, purge_to};

/// Callbacks that one run has at most: each is kept in the job's record.
const MOST: usize = 16;

/// What became of the wish to be told of a run's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It is in the record from now on.
    Added,
    /// It is there already.
    Known,
    /// There is no room for it.
    Refused,
}

impl Job {
    /// Who is to be told. Earlier versions kept the one that they knew among the words of the stages.
    fn to_call(&self) -> impl Iterator<Item = &Value> {
        self.spec
            .get("callback")
            .filter(|callback| !callback.is_null())
            .into_iter()
            .chain(&self.callbacks)
    }

    /// Notes another one who wants to be told.
    pub(crate) fn wish(&mut self, callback: &Value) -> Wish {
        if self.to_call().any(|known| known == callback) {
            return Wish::Known;
        }
        if self.to_call().count() >= MOST {
            return Wish::Refused;
        }
        self.callbacks.push(callback.clone());
        Wish::Added
    }

    /// Takes over those that the run before has not told yet of its own end.
    pub(crate) fn wish_for(&mut self, before: &Self) {
        if !before.called {
            for callback in before.to_call() {
                self.wish(callback);
            }
        }
    }
}

/// A notice as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: String,
    callback: Value,
    job: Job,
}

/// What one who wants to know is still owed: the end of a job.
pub struct Notice {
    /// Its name, `<hash>-<run>-…`: the same however often it is delivered.
    pub id: String,
    /// Who is to be told, as it was sent with the song.
    pub callback: Value,
    /// The job, as it stood when it had ended.
    pub job: Job,
    /// For how long it has been owed.
    pub age: Duration,
    bus: Bus,
    message: Message,
    sequence: u64,
}

impl Notice {
    /// Deletes it: it has been heard, or nobody will hear it.
    ///
    /// # Errors
    /// If NATS does not do it; then it is delivered again.
    pub async fn settle(self) -> Result<(), BusError> {
        self.bus.forget_notice(&self.message.subject, self.sequence).await?;
        // Not needed any more, but the server need not find out by itself.
        let _ = self.message.ack().await;
        Ok(())
    }

    /// Has it delivered again after that time, to any gateway.
    pub async fn postpone(self, delay: Duration) {
        if let Err(error) = self.message.ack_with(AckKind::Nak(Some(delay))).await {
            tracing::debug!(%error, "a notice was not given back, its lease will run out");
        }
    }
}

impl Bus {
    /// Lays a notice for each who wants to know of a run that has ended. Repeatable: while one has
    /// not been heard there is no second, and should another come later, it has the same name.
    pub(crate) async fn owe(&self, job: &Job) -> Result<(), BusError> {
        if job.called || job.to_call().next().is_none() {
            return Ok(());
        }
        let now = self.job(&job.hash).await?;
        if now.is_some_and(|now| now.run == job.run && now.called) {
            return Ok(());
        }
        for callback in job.to_call() {
            let id = format!("{}-{}", job.run_id(), token(job, callback)?);
            self.lay_notice(id, job, callback).await?;
        }
        Ok(())
    }

    /// Lays a notice for one who asks for a job that has ended before; false if there is no room for
    /// it, of which only those that are heard make more.
    pub(crate) async fn owe_to(&self, job: &Job, callback: &Value) -> Result<bool, BusError> {
        // A name of its own: the same one may have asked before, and been told.
        let id = format!("{}-{}", job.run_id(), self.unique());
        match self.lay_notice(id, job, callback).await {
            Err(error) if error.full() == Some(Full::Bucket) => Ok(false),
            laid => laid.map(|()| true),
        }
    }

    async fn lay_notice(&self, id: String, job: &Job, callback: &Value) -> Result<(), BusError> {
        let subject = names::callback(&job.run_id(), &token(job, callback)?);
        let mut job = job.clone();
        // What nobody is told of.
        job.callbacks.clear();
        job.names.clear();
        job.excused.clear();
        let stored = to_json(&Stored { id, callback: callback.clone(), job })?;
        let fence = Fence { subject: subject.clone(), sequence: 0 };
        // Another one that has not been heard yet tells the same.
        self.write(&self.notices().await?, Write::new(subject, stored), &fence).await?;
        Ok(())
    }

    /// The next notice that is due, with a lease on it; `None` if there was none for a while.
    ///
    /// # Errors
    /// If NATS does not answer, or has no such consumer.
    pub async fn next_notice(&self) -> Result<Option<Notice>, BusError> {
        let what = "ask for a notice".to_owned();
        let wait = Some(PULL_EXPIRES);
        let mut asked = self.ask(names::CALLBACK_STREAM, names::CALLBACK, wait, what).await?;
        match asked.answer().await? {
            Some(message) => self.read_notice(message).await,
            None => Ok(None),
        }
    }

    async fn read_notice(&self, message: Message) -> Result<Option<Notice>, BusError> {
        let (sequence, published) = {
            let info = message.info().during("understand a notice's address")?;
            (info.stream_sequence, info.published.unix_timestamp_nanos())
        };
        let age = Timestamp::now().as_nanosecond() - published;
        // Clocks differ: never less than nothing.
        let age = u64::try_from(age).map_or(Duration::ZERO, Duration::from_nanos);
        match from_json("a notice", &message.payload) {
            Ok(Stored { id, callback, job }) => {
                Ok(Some(Notice { id, callback, job, age, bus: self.clone(), message, sequence }))
            }
            Err(error) => {
                tracing::error!(subject = %message.subject, %error, "a notice that cannot be read");
                self.forget_notice(&message.subject, sequence).await?;
                Ok(None)
            }
        }
    }

    async fn forget_notice(&self, subject: &str, sequence: u64) -> Result<(), BusError> {
        purge_to(&self.notices().await?, subject, sequence).await
    }

    async fn notices(&self) -> Result<Stream<()>, BusError> {
        let opened = self.js.get_stream_no_info(names::CALLBACK_STREAM).await;
        opened.during("open the stream of callbacks")
    }
}

/// A callback as one token of a subject. The run's time is in it: a job that was removed begins anew
/// with its first run.
fn token(job: &Job, callback: &Value) -> Result<String, BusError> {
    Ok(JobId::of(to_json(&(job.submitted, callback))?).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(spec: &Value) -> Job {
        let object = json!({
            "bucket": "queue", "name": "song", "nuid": "n", "size": 1, "chunks": 1, "digest": "d",
        });
        serde_json::from_value(json!({
            "hash": "a".repeat(32), "run": 1, "state": "decoding", "workflow": "w", "spec": spec,
            "input": { "object": object, "owned": true },
            "submitted": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    fn to_call(job: &Job) -> Vec<Value> {
        job.to_call().cloned().collect()
    }

    #[test]
    fn each_is_told_once_and_not_too_many_are() {
        let mut job = job(&Value::Null);
        assert_eq!(job.wish(&json!({"url": "a"})), Wish::Added);
        assert_eq!(job.wish(&json!({"url": "a"})), Wish::Known);
        for number in 1..MOST {
            assert_eq!(job.wish(&json!({"url": "a", "data": number})), Wish::Added);
        }
        assert_eq!(job.wish(&json!({"url": "b"})), Wish::Refused);
        assert_eq!(to_call(&job).len(), MOST);
    }

    #[test]
    fn a_record_of_an_earlier_version_has_its_callback_among_the_stages_words() {
        let mut old = job(&json!({"model": "m", "callback": {"url": "a", "data": 1}}));
        assert_eq!(to_call(&old), [json!({"url": "a", "data": 1})]);
        assert_eq!(old.wish(&json!({"url": "a", "data": 1})), Wish::Known);
        assert_eq!(old.wish(&json!({"url": "b"})), Wish::Added);
        assert_eq!(to_call(&old).len(), 2);
        assert_eq!(to_call(&job(&json!({"callback": null}))), [] as [Value; 0]);
    }

    #[test]
    fn a_run_tells_those_that_the_run_before_has_not_told() {
        let mut before = job(&Value::Null);
        before.wish(&json!({"url": "a"}));
        let mut next = job(&Value::Null);
        next.wish(&json!({"url": "b"}));
        next.wish_for(&before);
        assert_eq!(to_call(&next), [json!({"url": "b"}), json!({"url": "a"})]);
        before.called = true;
        let mut next = job(&Value::Null);
        next.wish_for(&before);
        assert_eq!(to_call(&next), [] as [Value; 0]);
    }
}
