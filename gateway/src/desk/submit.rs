//! A song and what is to be done with it become a job.

use separation::{Request, Spec};
use serde::Serialize;
use workflow::{Input, JobId, JobState, ObjectRef, Submission, Submitted};

use super::{Desk, manifest};
use crate::callback::Callback;
use crate::error::ApiError;
use crate::trace;

/// A song that lies in the bucket `queue`.
#[derive(Clone, Debug)]
pub struct Song {
    /// Where it lies.
    pub object: ObjectRef,
    /// True if it was stored for one job alone, and is to go with it.
    pub owned: bool,
}

/// What became of a song that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its separation has begun.
    Begun,
    /// It is being separated already.
    Joined,
    /// It has been separated already.
    Done,
}

impl Outcome {
    /// One word, for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Joined => "joined",
            Self::Done => "done",
        }
    }

    /// The first of these is what clients of the first API expect.
    fn reason(self) -> &'static str {
        match self {
            Self::Begun => "Song enqueued for separation",
            Self::Joined => "Song is being separated already",
            Self::Done => "Song has been separated already",
        }
    }
}

/// The reply to a song.
#[derive(Debug, Serialize)]
pub struct Receipt {
    /// The name of the job.
    pub hash: JobId,
    /// What became of the song, in words.
    pub reason: &'static str,
    /// Where the job stands.
    pub state: String,
    /// What became of the song.
    #[serde(skip)]
    pub outcome: Outcome,
}

impl Desk {
    /// What a request comes down to.
    pub fn spec(&self, request: Request) -> Result<Spec, ApiError> {
        let name = request.name.as_deref().and_then(clean_name);
        if let Some(callback) = &request.callback {
            Callback::read(callback, self.callbacks).map_err(ApiError::Refused)?;
        }
        let resolved = Request { name, ..request }.resolve(&self.catalogue);
        resolved.map_err(|error| ApiError::Refused(error.to_string()))
    }

    /// Has `song` separated as `spec` says, unless that is being done or has been done already: then
    /// a song that was stored for this job alone is deleted again.
    pub async fn submit(&self, song: &Song, spec: &Spec) -> Result<Receipt, ApiError> {
        let submitted = self.try_submit(song, spec).await;
        if song.owned && self.is_needless(song, spec, submitted.as_ref().ok()).await {
            self.discard(&song.object).await;
        }
        let submitted = submitted?;
        let outcome = match &submitted {
            Submitted::Begun(_) => Outcome::Begun,
            Submitted::Joined(_) => Outcome::Joined,
            Submitted::Done(_) => Outcome::Done,
            Submitted::Crowded(job) => {
                let text = "this song has been sent already, and as many wait to be told of its end as can be: send it without a callback, and ask";
                return Err(ApiError::Refused(format!("{text} /apiv1/status/{}", job.hash)));
            }
        };
        let job = submitted.job();
        trace::submitted(job, outcome);
        if outcome == Outcome::Begun {
            self.admission.add(job);
        }
        tracing::info!(job = %job.hash, outcome = outcome.as_str(), bytes = song.object.size, "song");
        let (hash, state) = (job.hash.clone(), job.state.to_string());
        Ok(Receipt { hash, reason: outcome.reason(), state, outcome })
    }

    /// True if the answer to `song` is there already, or on its way: that costs nothing.
    pub(crate) async fn is_known(&self, song: &Song, spec: &Spec) -> Result<bool, ApiError> {
        let job = self.bus.job(&spec.job_id(&song.object.digest)).await?;
        Ok(job.is_some_and(|job| match job.state {
            JobState::Failed | JobState::Cancelled => false,
            JobState::Done => manifest(&job).is_some_and(|result| result.is_whole()),
            _ => true,
        }))
    }

    async fn try_submit(&self, song: &Song, spec: &Spec) -> Result<Submitted, ApiError> {
        let submission = Submission {
            id: spec.job_id(&song.object.digest),
            spec: serde_json::to_value(spec).map_err(|error| ApiError::Internal(error.into()))?,
            input: Input { object: song.object.clone(), owned: song.owned },
            lane: self.admission.lane(spec.lane, song.object.size),
            callback: spec.callback.clone(),
        };
        let is_whole = |job: &workflow::Job| manifest(job).is_some_and(|result| result.is_whole());
        Ok(self.bus.submit(submission, &self.graph, is_whole).await?)
    }

    /// True if it is known that no job starts from `song`. After an error it may be that one does
    /// and only the answer was lost: the job's record tells.
    async fn is_needless(&self, song: &Song, spec: &Spec, told: Option<&Submitted>) -> bool {
        let job = match told {
            Some(submitted) => Ok(Some(submitted.job().clone())),
            None => self.bus.job(&spec.job_id(&song.object.digest)).await,
        };
        job.is_ok_and(|job| job.is_none_or(|job| job.input.object != song.object))
    }

    /// What stays behind goes with the bucket's age.
    async fn discard(&self, object: &ObjectRef) {
        if let Err(error) = self.bus.delete(object).await {
            tracing::warn!(object = object.name, %error, "failed to delete a song that is not needed");
        }
    }
}

/// A song's name is cut to this many characters.
const NAME_CHARS: usize = 200;

/// A file's name as it can be shown: no folders, no control characters, not without end.
fn clean_name(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(NAME_CHARS).collect();
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_only_a_name() {
        assert_eq!(clean_name("../../etc/song.mp3").as_deref(), Some("song.mp3"));
        assert_eq!(clean_name("C:\\music\\söng.mp3").as_deref(), Some("söng.mp3"));
        assert_eq!(clean_name("a\r\nX-Header: b").as_deref(), Some("aX-Header: b"));
        assert_eq!(clean_name(" / "), None);
    }
}
