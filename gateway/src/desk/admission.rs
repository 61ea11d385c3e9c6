//! How much music waits, how fast it is worked off, and so whether another song can be taken.
//!
//! Counted every few seconds from the jobs' records, for each lane by itself; a request only
//! compares two numbers.

use std::collections::{BTreeMap, HashMap};
use std::ops::Add;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use workflow::{Job, JobState, Lane, RunId};

use crate::error::ApiError;

/// How long the past counts for the speed: half of it is forgotten in about two thirds of this.
const MEMORY: Duration = Duration::from_secs(300);
/// Bytes of a second of music in CD quality: what is larger than a long song in it is long.
const CD_BYTES: f64 = 176_400.0;
/// Seconds of music in a byte of a song that has not been decoded, until some have been: MP3 of
/// 192 kbit/s.
const SECONDS_PER_BYTE: f64 = 1.0 / 24_000.0;
/// Nobody is told to come again earlier or later.
const RETRY: (f64, f64) = (5.0, 86_400.0);

/// What may wait, and where.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// A song that is longer goes to the lane `batch`.
    pub long: Duration,
    /// A lane in which more music waits takes no more.
    pub max_queued: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { long: Duration::from_secs(20 * 60), max_queued: Duration::from_secs(6 * 60 * 60) }
    }
}

/// What waits in a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LaneLoad {
    /// Seconds of music that are still to be separated.
    pub seconds: f64,
    /// Seconds of music that are separated in a second.
    pub speed: f64,
    /// No more songs are taken above this.
    pub limit: f64,
}

/// The part of a job that is still to be done.
#[derive(Clone, Debug)]
pub(super) struct Share {
    lane: Lane,
    seconds: f64,
    /// 0 to 1.
    done: f64,
}

/// Counts, and decides.
pub(super) struct Admission {
    policy: Policy,
    tally: Mutex<Tally>,
}

#[derive(Default)]
pub(super) struct Tally {
    shares: HashMap<RunId, Share>,
    paces: BTreeMap<Lane, Pace>,
    counted: Option<Instant>,
    /// Of songs that have been decoded.
    seconds: f64,
    bytes: f64,
}

/// What was worked off, and in what time.
#[derive(Clone, Copy, Default)]
struct Pace {
    worked: f64,
    busy: f64,
}

impl Pace {
    fn note(&mut self, worked: f64, took: f64) {
        let kept = (-took / MEMORY.as_secs_f64()).exp();
        self.worked = self.worked * kept + worked;
        self.busy = self.busy * kept + took;
    }

    /// As fast as it plays, as long as nothing is known.
    fn speed(&self) -> f64 {
        if self.worked > 0.0 && self.busy > 0.0 { self.worked / self.busy } else { 1.0 }
    }
}

impl Tally {
    fn load(&self, lane: Lane) -> f64 {
        let left = |share: &Share| share.seconds * (1.0 - share.done);
        // Not `sum`, for which the sum of nothing is -0.0: people read it.
        self.shares.values().filter(|share| share.lane == lane).map(left).fold(0.0, f64::add)
    }

    fn speed(&self, lane: Lane) -> f64 {
        self.paces.get(&lane).copied().unwrap_or_default().speed()
    }

    /// The length of a song, exact or after those that were decoded before.
    fn seconds_of(&self, job: &Job) -> f64 {
        let rate = if self.bytes > 0.0 { self.seconds / self.bytes } else { SECONDS_PER_BYTE };
        job.weight.unwrap_or(job.input.object.size as f64 * rate)
    }

    /// Takes note of how all jobs stand that have not ended, or had not when this was done last.
    pub(super) fn count(&mut self, jobs: &[(Job, f64)], now: Instant) {
        let took = self.counted.replace(now).map(|before| now.duration_since(before).as_secs_f64());
        let before = std::mem::take(&mut self.shares);
        let mut worked: BTreeMap<Lane, f64> = BTreeMap::new();
        for (job, done) in jobs {
            let done = if job.state == JobState::Done { 1.0 } else { *done };
            let (run, lane, seconds) = (job.run_id(), job.lane_now(), self.seconds_of(job));
            // What had ended when this was counted for the first time took time of which nothing is
            // known; what begins and ends between two counts is all new.
            let done_before = before.get(&run).map_or(0.0, |share| share.done);
            if took.is_some() {
                *worked.entry(lane).or_default() += seconds * (done - done_before).max(0.0);
            }
            if job.state.is_final() {
                self.learn(job);
            } else {
                self.shares.insert(run, Share { lane, seconds, done });
            }
        }
        let Some(took) = took else { return };
        for lane in Lane::ALL {
            let worked = worked.get(&lane).copied().unwrap_or_default();
            if worked > 0.0 || before.values().any(|share| share.lane == lane) {
                self.paces.entry(lane).or_default().note(worked, took);
            }
        }
    }

    fn learn(&mut self, job: &Job) {
        if let Some(seconds) = job.weight {
            self.seconds += seconds;
            self.bytes += job.input.object.size as f64;
        }
    }
}

impl Admission {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, tally: Mutex::default() }
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a song of that size begins, if its sender wishes so.
    pub(super) fn lane(&self, wish: Lane, bytes: u64) -> Lane {
        let is_long = bytes as f64 > self.policy.long.as_secs_f64() * CD_BYTES;
        if is_long { Lane::Batch } else { wish }
    }

    /// Leave to take another song in.
    pub(super) fn admit(&self, lane: Lane) -> Result<(), ApiError> {
        let LaneLoad { seconds, speed, limit } = self.load(lane);
        if seconds < limit {
            return Ok(());
        }
        let (soonest, latest) = RETRY;
        let retry_after = ((seconds - limit) / speed).ceil().clamp(soonest, latest) as u64;
        Err(ApiError::Full { lane, retry_after })
    }

    /// A song that has been taken counts at once.
    pub(super) fn add(&self, job: &Job) {
        let mut tally = self.tally();
        let share = Share { lane: job.lane_now(), seconds: tally.seconds_of(job), done: 0.0 };
        tally.shares.entry(job.run_id()).or_insert(share);
    }

    pub(super) fn load(&self, lane: Lane) -> LaneLoad {
        let tally = self.tally();
        let limit = self.policy.max_queued.as_secs_f64();
        LaneLoad { seconds: tally.load(lane), speed: tally.speed(lane), limit }
    }

    pub(super) fn loads(&self) -> BTreeMap<Lane, LaneLoad> {
        Lane::ALL.into_iter().map(|lane| (lane, self.load(lane))).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(hash: char, state: &str, lane: &str, seconds: f64) -> Job {
        let object = json!({
            "bucket": "queue", "name": "song", "nuid": "n", "size": 240_000, "chunks": 1,
            "digest": "d",
        });
        serde_json::from_value(json!({
            "hash": hash.to_string().repeat(32), "run": 1, "state": state, "lane": lane,
            "workflow": "w", "spec": null, "input": { "object": object, "owned": true },
            "submitted": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z",
            "weight": if seconds > 0.0 { Some(seconds) } else { None },
        }))
        .unwrap()
    }

    fn policy(seconds: u64) -> Policy {
        Policy { max_queued: Duration::from_secs(seconds), ..Policy::default() }
    }

    #[test]
    fn a_full_lane_refuses_until_it_will_have_room_at_the_measured_speed() {
        let admission = Admission::new(policy(60));
        let start = Instant::now();
        let long = job('a', "separating", "batch", 600.0);
        admission.tally().count(&[(long.clone(), 0.0)], start);
        // 60 of 600 s in 20 s: three seconds of music in a second.
        admission.tally().count(&[(long, 0.1)], start + Duration::from_secs(20));
        let load = admission.load(Lane::Batch);
        assert_eq!((load.seconds.round(), load.speed.round()), (540.0, 3.0));
        let Err(ApiError::Full { retry_after, .. }) = admission.admit(Lane::Batch) else {
            panic!("a song was taken");
        };
        assert_eq!(retry_after, 160, "(540 - 60) / 3");
        assert!(admission.admit(Lane::Interactive).is_ok(), "that lane is empty");
    }

    #[test]
    fn what_has_ended_does_not_wait_and_was_worked_off() {
        let admission = Admission::new(policy(60));
        let start = Instant::now();
        let states = |state| [(job('a', state, "interactive", 100.0), 0.0)];
        admission.tally().count(&states("separating"), start);
        assert!(admission.admit(Lane::Interactive).is_err());
        admission.tally().count(&states("done"), start + Duration::from_secs(10));
        admission.tally().count(&[], start + Duration::from_secs(20));
        let load = admission.load(Lane::Interactive);
        assert_eq!((load.seconds, load.speed.round()), (0.0, 10.0), "idle time is not counted");
        // What was cancelled was not worked off.
        let admission = Admission::new(policy(60));
        admission.tally().count(&states("separating"), start);
        admission.tally().count(&states("cancelled"), start + Duration::from_secs(10));
        assert_eq!(admission.tally().paces[&Lane::Interactive].worked, 0.0);
    }

    #[test]
    fn a_song_that_is_not_decoded_is_guessed_after_those_that_were() {
        let mut tally = Tally::default();
        assert_eq!(tally.seconds_of(&job('a', "queued", "batch", 0.0)), 10.0);
        tally.count(&[(job('b', "done", "batch", 30.0), 1.0)], Instant::now());
        assert_eq!(tally.seconds_of(&job('a', "queued", "batch", 0.0)), 30.0);
    }

    #[test]
    fn what_is_surely_long_begins_in_the_lane_batch() {
        let admission = Admission::new(Policy::default());
        let twenty_minutes = 20 * 60 * 176_400;
        assert_eq!(admission.lane(Lane::Interactive, twenty_minutes), Lane::Interactive);
        assert_eq!(admission.lane(Lane::Interactive, twenty_minutes + 1), Lane::Batch);
        assert_eq!(admission.lane(Lane::Batch, 1), Lane::Batch);
    }
}
