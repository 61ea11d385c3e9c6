//! Whose turn it is. A server has a few calls at a time, so that one that does not answer has not all
//! of them; a notice that must wait comes again when its turn will be, by what calls to that server
//! take. If they all came at once, they would come before what is new.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Calls to one server at a time.
const AT_A_TIME: usize = 4;
/// What a call takes, until one has been made.
const GUESS: Duration = Duration::from_secs(1);

/// The servers that are being called, or waited for.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Server>>);

struct Server {
    under_way: usize,
    /// What the last call took.
    took: Duration,
    /// When the last of those that wait has its turn.
    booked: Instant,
}

/// Leave to call a server, for as long as it is held.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    server: &'a str,
    since: Instant,
}

impl Turns {
    /// A turn, or how long to wait for one.
    pub(super) fn take<'a>(&'a self, name: &'a str) -> Result<Turn<'a>, Duration> {
        let now = Instant::now();
        let mut servers = self.lock();
        let new = || Server { under_way: 0, took: GUESS, booked: now };
        let server = servers.entry(name.to_owned()).or_insert_with(new);
        if server.under_way < AT_A_TIME {
            server.under_way += 1;
            return Ok(Turn { turns: self, server: name, since: now });
        }
        server.booked = server.booked.max(now) + server.took / AT_A_TIME as u32;
        Err(server.booked - now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Server>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut servers = self.turns.lock();
        if let Some(server) = servers.get_mut(self.server) {
            server.under_way -= 1;
            server.took = self.since.elapsed();
        }
        // Of those that nobody waits for there are as many as clients can think of.
        let now = Instant::now();
        servers.retain(|_, server| server.under_way > 0 || server.booked > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_few_calls_at_a_time_and_the_others_wait_their_turn() {
        let turns = Turns::default();
        let held: Vec<Turn> = (0..AT_A_TIME).map(|_| turns.take("dead:80").unwrap()).collect();
        let waits: Vec<Duration> = (0..8).map(|_| turns.take("dead:80").err().unwrap()).collect();
        assert!(waits.is_sorted() && waits[7] > Duration::from_millis(1500), "{waits:?}");
        assert!(turns.take("live:80").is_ok(), "another server is another matter");
        drop(held);
        assert!(turns.take("dead:80").is_ok());
    }

    #[test]
    fn servers_that_nobody_waits_for_are_forgotten() {
        let turns = Turns::default();
        for number in 0..9 {
            drop(turns.take(&number.to_string()).unwrap());
        }
        assert!(turns.lock().is_empty());
    }
}
