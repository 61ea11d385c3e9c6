//! What the clients were promised, and what they saw.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::works::Ends;

/// The stems of a job by their files' names: the SHA-256 of each.
pub(crate) type Stems = BTreeMap<String, String>;

/// What is known of one job.
#[derive(Clone, Debug)]
pub struct Account {
    /// Which work it is of.
    pub work: usize,
    /// How it ends if nobody ends it.
    pub ends: Ends,
    /// True if its client has asked for its end: it may be too late for that.
    pub may_be_cancelled: bool,
    /// True if its client has deleted it.
    pub is_deleted: bool,
    /// True if it has to be in its first run: it was sent, and nothing else.
    pub is_first_run: bool,
}

/// From the moment that a job was accepted to its end, as its client saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// When the hash came.
    pub(crate) from: Instant,
    /// When the job was seen to have ended.
    pub(crate) to: Instant,
}

/// All that the clients know, shared between them.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Page>);

/// The ledger, open.
#[derive(Default)]
pub(crate) struct Page {
    /// The jobs that were accepted, by their hashes.
    pub(crate) accounts: BTreeMap<String, Account>,
    /// Songs that were sent; each once, however often that took.
    pub(crate) sent: usize,
    /// Songs that were accepted.
    pub(crate) accepted: usize,
    /// Ends of jobs that clients have seen, by their states.
    pub(crate) ended: BTreeMap<String, usize>,
    /// Requests that were refused or came to nothing, by the reason.
    pub(crate) refused: BTreeMap<String, usize>,
    /// What else clients did, and how often.
    pub(crate) deeds: BTreeMap<&'static str, usize>,
    /// Stems that were compared with the calm run's.
    pub(crate) compared: usize,
    /// How long clients waited.
    pub(crate) waits: Vec<Wait>,
    /// What must not be, as clients saw it.
    pub(crate) violations: Vec<String>,
}

impl Ledger {
    /// Opens it.
    pub(crate) fn open(&self) -> MutexGuard<'_, Page> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something must not be.
    pub(crate) fn violation(&self, what: String) {
        eprintln!("VIOLATION {what}");
        self.open().violations.push(what);
    }

    /// Notes a request that was refused.
    pub(crate) fn refused(&self, why: String) {
        *self.open().refused.entry(why).or_default() += 1;
    }

    /// Notes a deed of a client.
    pub(crate) fn did(&self, what: &'static str) {
        *self.open().deeds.entry(what).or_default() += 1;
    }

    /// Changes what is known of a job.
    pub(crate) fn change(&self, hash: &str, change: impl FnOnce(&mut Account)) {
        self.open().accounts.get_mut(hash).map(change);
    }
}

impl Page {
    /// The longest that any client waited for its job to end.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.waits.iter().map(|wait| wait.to - wait.from).max().unwrap_or_default()
    }

    /// The longest time in which jobs were under way and none of them ended.
    pub(crate) fn longest_stall(&self) -> Duration {
        let mut moments: Vec<(Instant, bool)> = Vec::new();
        for wait in &self.waits {
            moments.extend([(wait.from, false), (wait.to, true)]);
        }
        moments.sort();
        let (mut under_way, mut since, mut longest) = (0_usize, None, Duration::ZERO);
        for (moment, is_end) in moments {
            if is_end {
                longest = longest.max(since.map_or(Duration::ZERO, |since| moment - since));
                under_way -= 1;
                since = (under_way > 0).then_some(moment);
            } else {
                under_way += 1;
                since.get_or_insert(moment);
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_a_time_with_work_and_without_an_end() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let wait = |from, to| Wait { from: at(from), to: at(to) };
        let page = Page { waits: vec![wait(0, 4), wait(3, 9), wait(20, 22)], ..Page::default() };
        assert_eq!(page.longest_stall(), Duration::from_secs(5));
        assert_eq!(page.longest_wait(), Duration::from_secs(6));
    }
}
