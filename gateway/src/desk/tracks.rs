//! The stems of a finished job: found, and removed.

use std::collections::BTreeMap;

use separation::{Manifest, ManifestStem};
use serde::Serialize;
use serde_json::Value;
use workflow::{Job, JobId, JobState};

use super::{Desk, Status, manifest, name, parse_hash};
use crate::error::{ApiError, NoTrack};

/// A stem that can be had.
#[derive(Clone, Debug)]
pub struct Track {
    /// The stem.
    pub stem: ManifestStem,
    /// What its file is called on its way out: `<song> (vocals).mp3`, or `vocals.mp3`.
    pub file_name: String,
}

/// The reply to the removal of a track.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// The job.
    pub hash: JobId,
    /// The stem.
    pub track: String,
    /// What was done, in words.
    pub reason: &'static str,
}

impl Desk {
    /// The stem that a client calls `track`.
    pub async fn track(&self, hash: &str, track: &str) -> Result<Track, ApiError> {
        let job = self.job_with_tracks(hash).await?;
        let Some(manifest) = finished(&job) else {
            return Err(ApiError::NoTrack(self.no_track_yet(&job).await?));
        };
        let stem = manifest.stem(track).ok_or_else(|| no_such_track(&manifest))?.clone();
        if stem.removed {
            return Err(no_track("it was removed: send the song again to have it back"));
        }
        Ok(Track { file_name: file_name(&job, &stem), stem })
    }

    /// All stems that can be had, and what the song is called.
    pub async fn tracks(&self, hash: &str) -> Result<(String, Vec<Track>), ApiError> {
        let job = self.job_with_tracks(hash).await?;
        let Some(manifest) = finished(&job) else {
            return Err(ApiError::NoTrack(self.no_track_yet(&job).await?));
        };
        let there = manifest.stems.into_iter().filter(|stem| !stem.removed);
        let tracks = there.map(|stem| Track { file_name: file_name(&job, &stem), stem }).collect();
        Ok((title(&job).unwrap_or("stems").to_owned(), tracks))
    }

    /// Deletes a stem, and with the last one the job.
    pub async fn remove_track(&self, hash: &str, track: &str) -> Result<Removed, ApiError> {
        let found = self.track(hash, track).await?.stem;
        let id = parse_hash(hash)?;
        // Whoever marks it has removed it; whoever comes second finds nothing to remove.
        let mut marked = false;
        let mark = |results: &mut BTreeMap<String, Value>| {
            marked = mark_removed(results, &found);
            marked
        };
        let job = self.bus.change_results(&id, mark).await?;
        let Some(job) = job.filter(|_| marked) else {
            return Err(no_track("it was removed just now: send the song again to have it back"));
        };
        let name = Manifest::output_name(&id, &found.file);
        self.bus.take_names(&BTreeMap::from([(name, found.object.clone())])).await?;
        self.bus.delete(&found.object).await?;
        let none_left = manifest(&job).is_some_and(|now| now.stems.iter().all(|stem| stem.removed));
        if none_left {
            self.bus.remove(&job.run_id()).await?;
        }
        Ok(Removed { hash: id, track: found.stem, reason: "Track removed" })
    }

    /// Like [`Desk::job`]; clients of the first API expect `Track not found` whatever is missing.
    async fn job_with_tracks(&self, hash: &str) -> Result<Job, ApiError> {
        self.job(hash).await.map_err(|error| match error {
            ApiError::NotFound(hint) => ApiError::NoTrack(NoTrack { hint, ..NoTrack::default() }),
            other => other,
        })
    }

    async fn no_track_yet(&self, job: &Job) -> Result<NoTrack, ApiError> {
        let Status { state, progress, error, .. } = self.status_of(job).await?;
        let hint = match (&job.state, error) {
            (JobState::Failed, Some(error)) => format!("the separation failed: {}", error.message),
            (JobState::Cancelled, _) => "the separation was cancelled: send the song again".into(),
            (JobState::Done, _) => "the job has no stems: send the song again".into(),
            _ => "the song is being separated: ask again in a few seconds".into(),
        };
        let progress = Some(progress).filter(|_| !job.state.is_final());
        Ok(NoTrack { state: Some(state), progress, hint })
    }
}

fn finished(job: &Job) -> Option<Manifest> {
    if job.state == JobState::Done { manifest(job) } else { None }
}

fn no_track(hint: &str) -> ApiError {
    ApiError::NoTrack(NoTrack { hint: hint.to_owned(), ..NoTrack::default() })
}

fn no_such_track(manifest: &Manifest) -> ApiError {
    let known: Vec<&str> = manifest.stems.iter().map(|stem| stem.stem.as_str()).collect();
    no_track(&format!("this song's tracks are {}", known.join(", ")))
}

/// Marks the very file that was found, not one that a later run has put in its place.
fn mark_removed(results: &mut BTreeMap<String, Value>, found: &ManifestStem) -> bool {
    let Some(result) = results.get_mut(super::RESULT) else { return false };
    let Ok(mut manifest) = serde_json::from_value::<Manifest>(result.clone()) else { return false };
    let is_found = |stem: &&mut ManifestStem| stem.object == found.object && !stem.removed;
    let Some(stem) = manifest.stems.iter_mut().find(is_found) else { return false };
    stem.removed = true;
    match serde_json::to_value(&manifest) {
        Ok(changed) => *result = changed,
        Err(_) => return false,
    }
    true
}

/// The song's name without the end that says what form it had.
fn title(job: &Job) -> Option<&str> {
    let name = name(job)?;
    let title = name.rsplit_once('.').map_or(name, |(title, _)| title).trim();
    (!title.is_empty()).then_some(title)
}

fn file_name(job: &Job, stem: &ManifestStem) -> String {
    let ManifestStem { stem, file, .. } = stem;
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    title(job).map_or_else(|| file.clone(), |title| format!("{title} ({stem}).{extension}"))
}
