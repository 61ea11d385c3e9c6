//! Customers: each sends a song, sees its job through to its end, and keeps the stack to its word.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;
use tokio::time::sleep;

use super::door::{Door, Form, Refusal};
use super::fleet::Fleet;
use super::ledger::{Account, Ledger, Stems, Wait};
use super::works::{Ends, Work};

/// Between two looks at a job.
const LOOK: Duration = Duration::from_millis(700);
/// Before a request is repeated that came to nothing.
const AGAIN: Duration = Duration::from_secs(1);

/// What all customers share.
pub(crate) struct Town {
    /// The processes, for the addresses of the gateways.
    pub(crate) fleet: Arc<Fleet>,
    /// The way to the stack.
    pub(crate) door: Door,
    /// What is sent.
    pub(crate) works: Vec<Work>,
    /// What comes out of each work, by the calm run.
    pub(crate) stems: Vec<Stems>,
    /// What is known.
    pub(crate) ledger: Ledger,
    /// Past this nobody waits any longer.
    pub(crate) patience: Duration,
}

/// One customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Customer {
    /// Which one: no other has the same salt.
    pub(crate) number: u64,
    /// Which work is sent.
    pub(crate) work: usize,
    /// What is done with it.
    pub(crate) manner: Manner,
}

/// What a customer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Sends a song, waits, fetches the stems.
    Plain(Form),
    /// The same over NATS.
    OverNats,
    /// Sends the same song to both gateways at once.
    Twice,
    /// Sends what another customer has sent.
    Again,
    /// Cancels after a while; then wants it all the same, or does not.
    Cancel(Duration, bool),
    /// Fetches the stems and deletes the job; then sends it once more, or does not.
    Delete(bool),
    /// Hangs up in the middle of the song, then sends it.
    HangUp(Form),
}

impl Customer {
    /// The customer of that number: from the seed, and from nothing else.
    pub(crate) fn of(seed: u64, number: u64, works: usize) -> Self {
        let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let form = |rng: &mut Rng| if rng.bool() { Form::Raw } else { Form::Multipart };
        let slow = |rng: &mut Rng| Form::Slow(Duration::from_millis(rng.u64(50..400)));
        let manner = match rng.u8(0..20) {
            0..=4 => Manner::Plain(form(&mut rng)),
            5 => Manner::Plain(slow(&mut rng)),
            6..=8 => Manner::OverNats,
            9 => Manner::Twice,
            10 | 11 => Manner::Again,
            12..=14 => Manner::Cancel(Duration::from_millis(rng.u64(0..2500)), rng.bool()),
            15..=18 => Manner::Delete(rng.bool()),
            _ => Manner::HangUp(slow(&mut rng)),
        };
        Self { number, work: rng.usize(..works), manner }
    }

    /// Does what a customer of that manner does.
    pub(crate) async fn visit(self, town: &Town) {
        let visit = Visit { town, customer: self, since: Instant::now() };
        if let Err(what) = visit.run().await {
            town.ledger.violation(format!("customer {self:?}: {what}"));
        }
    }
}

struct Visit<'a> {
    town: &'a Town,
    customer: Customer,
    since: Instant,
}

/// What must not be, in words.
type Violation = String;

impl Visit<'_> {
    async fn run(&self) -> Result<(), Violation> {
        let Customer { number, manner, .. } = self.customer;
        let ledger = &self.town.ledger;
        match manner {
            Manner::Plain(form) => {
                let hash = self.send(number, form).await?;
                self.see_through(&hash).await
            }
            Manner::OverNats => self.over_nats().await,
            Manner::Twice => {
                let (one, other) =
                    tokio::join!(self.send(number, Form::Raw), self.send(number, Form::Multipart));
                let (one, other) = (one?, other?);
                ledger.did("song sent to both gateways at once");
                if one != other {
                    return Err(format!("the same song is {one} and {other}"));
                }
                self.see_through(&one).await
            }
            Manner::Again => {
                let hash = self.send(number, Form::Raw).await?;
                let again = self.send(number, Form::Multipart).await?;
                ledger.did("song sent again while under way");
                if hash != again {
                    return Err(format!("the same song is {hash} and {again}"));
                }
                self.see_through(&hash).await?;
                self.send(number, Form::Raw).await?;
                ledger.did("song sent again when done");
                self.see_through(&hash).await
            }
            Manner::Cancel(after, again) => self.cancel(after, again).await,
            Manner::Delete(again) => self.delete(again).await,
            Manner::HangUp(form) => {
                if let Form::Slow(pause) = form {
                    let file = self.work().file(number);
                    self.town.door.hang_up(&self.gateway(0), self.work(), &file, pause).await;
                    ledger.did("client hung up during an upload");
                }
                let hash = self.send(number, form).await?;
                self.see_through(&hash).await
            }
        }
    }

    async fn over_nats(&self) -> Result<(), Violation> {
        let Customer { number, .. } = self.customer;
        let (door, file) = (&self.town.door, self.work().file(number));
        let name = format!("customer-{number}");
        let submit = |_| async { door.submit(self.work(), &name, &file).await };
        let hash = self.until_taken("submit over NATS", submit).await?;
        self.accepted(&hash, true);
        self.town.ledger.did("song sent over NATS");
        self.see_through(&hash).await?;
        self.until("withdraw the song", |_| async {
            if door.withdraw(&name).await { Ok(()) } else { Err("NATS: not withdrawn".to_owned()) }
        })
        .await
    }

    async fn cancel(&self, after: Duration, again: bool) -> Result<(), Violation> {
        let number = self.customer.number;
        let hash = self.send(number, Form::Raw).await?;
        sleep(after).await;
        self.town.ledger.change(&hash, |account| account.may_be_cancelled = true);
        // A request without an answer may be heard late, and meet the next run.
        let in_doubt = AtomicBool::new(false);
        self.until("cancel", |_| async {
            let cancelled = self.town.door.cancel(&hash).await;
            cancelled.inspect_err(|_| in_doubt.store(true, Ordering::Relaxed))
        })
        .await?;
        self.town.ledger.did("job cancelled");
        self.see_through(&hash).await?;
        if !again || in_doubt.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.town.ledger.change(&hash, |account| account.may_be_cancelled = false);
        self.send(number, Form::Raw).await?;
        self.town.ledger.change(&hash, |account| account.is_first_run = false);
        self.town.ledger.did("cancelled song sent again");
        self.see_through(&hash).await
    }

    async fn delete(&self, again: bool) -> Result<(), Violation> {
        let number = self.customer.number;
        let hash = self.send(number, Form::Raw).await?;
        self.see_through(&hash).await?;
        self.town.ledger.change(&hash, |account| account.is_deleted = true);
        let (in_doubt, hash_ref) = (AtomicBool::new(false), hash.as_str());
        self.until("delete", |gateway| {
            let in_doubt = &in_doubt;
            async move {
                let deleted = self.town.door.delete(&gateway, hash_ref).await;
                let is_gone = deleted.inspect_err(|_| in_doubt.store(true, Ordering::Relaxed))?;
                if is_gone { Ok(()) } else { Err("not gone yet".to_owned()) }
            }
        })
        .await?;
        self.town.ledger.did("job deleted");
        if !again || in_doubt.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.town.ledger.change(&hash, |account| account.is_deleted = false);
        self.send(number, Form::Multipart).await?;
        self.town.ledger.did("deleted song sent again");
        self.see_through(&hash).await
    }

    /// Sends a song until it is accepted.
    async fn send(&self, salt: u64, form: Form) -> Result<String, Violation> {
        let file = self.work().file(salt);
        let door = &self.town.door;
        let hash = self
            .until_taken("send", |gateway| {
                let file = &file;
                async move { door.send(&gateway, self.work(), file, form).await }
            })
            .await?;
        self.accepted(&hash, true);
        Ok(hash)
    }

    fn accepted(&self, hash: &str, is_first_run: bool) {
        let Customer { work, .. } = self.customer;
        let mut page = self.town.ledger.open();
        page.accepted += 1;
        page.accounts.entry(hash.to_owned()).or_insert_with(|| Account {
            work,
            ends: self.work().ends,
            may_be_cancelled: false,
            is_deleted: false,
            is_first_run,
        });
    }

    /// Waits for the end of a job, and fetches what it has made.
    async fn see_through(&self, hash: &str) -> Result<(), Violation> {
        let from = Instant::now();
        let status = self
            .until("see the end of the job", |gateway| async move {
                let status = self.town.door.status(&gateway, hash).await?;
                let Some(status) = status else { return Err("the job is not there".to_owned()) };
                let is_final = |state| matches!(state, Some("done" | "failed" | "cancelled"));
                if is_final(status["state"].as_str()) {
                    Ok(status)
                } else {
                    Err(format!("not yet: {}", status["state"]))
                }
            })
            .await?;
        let state = status["state"].as_str().unwrap_or_default();
        {
            let mut page = self.town.ledger.open();
            page.waits.push(Wait { from, to: Instant::now() });
            *page.ended.entry(state.to_owned()).or_default() += 1;
        }
        self.check_end(hash, state, &status)?;
        if state == "done" { self.check_stems(hash, &status).await } else { Ok(()) }
    }

    fn check_end(&self, hash: &str, state: &str, status: &Value) -> Result<(), Violation> {
        let account = self.town.ledger.open().accounts.get(hash).cloned();
        let account = account.ok_or_else(|| format!("{hash} was never accepted"))?;
        let code = status["error"]["code"].as_str();
        match (state, account.ends) {
            ("cancelled", _) if account.may_be_cancelled => Ok(()),
            ("done", Ends::Done) => Ok(()),
            ("failed", Ends::Failed(expected)) if code == Some(expected) => Ok(()),
            _ => Err(format!("{hash} ended otherwise than {:?}: {status}", account.ends)),
        }
    }

    async fn check_stems(&self, hash: &str, status: &Value) -> Result<(), Violation> {
        let stems = self.town.stems.get(self.customer.work);
        let Some(expected) = stems else { return Ok(()) };
        let found = self.town.fetch(self.since, hash, status).await?;
        self.town.ledger.open().compared += found.len();
        same_stems(hash, expected, &found)
    }

    fn work(&self) -> &Work {
        &self.town.works[self.customer.work]
    }

    fn gateway(&self, attempt: usize) -> String {
        self.town.gateway(self.customer.number, attempt)
    }

    /// Repeats a request until it comes to something, at one gateway and the other; what it comes to
    /// meanwhile counts as refused.
    async fn until_taken<T, F: Future<Output = Result<T, Refusal>>>(
        &self,
        what: &str,
        request: impl Fn(String) -> F,
    ) -> Result<T, Violation> {
        self.town.ledger.open().sent += 1;
        self.town
            .persist(self.customer.number, self.since, what, |gateway| {
                let asked = request(gateway);
                async move { asked.await.inspect_err(|why| self.town.ledger.refused(why.clone())) }
            })
            .await
    }

    async fn until<T, F: Future<Output = Result<T, Refusal>>>(
        &self,
        what: &str,
        request: impl Fn(String) -> F,
    ) -> Result<T, Violation> {
        self.town.persist(self.customer.number, self.since, what, request).await
    }
}

impl Town {
    fn gateway(&self, customer: u64, attempt: usize) -> String {
        self.fleet.gateway(usize::try_from(customer).unwrap_or_default() + attempt)
    }

    /// The stems of a job that is done.
    pub(crate) async fn fetch(
        &self,
        since: Instant,
        hash: &str,
        status: &Value,
    ) -> Result<Stems, Violation> {
        let mut found = BTreeMap::new();
        for stem in status["manifest"]["stems"].as_array().into_iter().flatten() {
            let file = stem["file"].as_str().unwrap_or_default();
            let digest = self
                .persist(0, since, "fetch a stem", |gateway| async move {
                    self.door.track(&gateway, hash, file).await
                })
                .await?;
            found.insert(file.to_owned(), digest);
        }
        Ok(found)
    }

    async fn persist<T, F: Future<Output = Result<T, Refusal>>>(
        &self,
        customer: u64,
        since: Instant,
        what: &str,
        request: impl Fn(String) -> F,
    ) -> Result<T, Violation> {
        for attempt in 0.. {
            let why = match request(self.gateway(customer, attempt)).await {
                Ok(reply) => return Ok(reply),
                Err(why) => why,
            };
            if since.elapsed() > self.patience {
                return Err(format!("could not {what} in {:?}: {why}", since.elapsed()));
            }
            sleep(if why.starts_with("not ") { LOOK } else { AGAIN }).await;
        }
        unreachable!("attempts do not come to an end")
    }
}

/// Whether the stems of a job are those of the calm run.
pub(crate) fn same_stems(hash: &str, expected: &Stems, found: &Stems) -> Result<(), Violation> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{hash} has other stems than the calm run: {found:?}, not {expected:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_who_comes() {
        assert_eq!(Customer::of(1, 5, 9), Customer::of(1, 5, 9));
        let all: Vec<Customer> = (0..50).map(|number| Customer::of(1, number, 9)).collect();
        let manner = |is: fn(&Manner) -> bool| all.iter().any(|customer| is(&customer.manner));
        assert!(manner(|manner| matches!(manner, Manner::Cancel(..))));
        assert!(manner(|manner| matches!(manner, Manner::HangUp(_))));
        assert!(all.iter().any(|customer| *customer != all[0]));
    }

    #[test]
    fn stems_with_other_bytes_are_seen() {
        let stems = |digest: &str| Stems::from([("vocals.mp3".to_owned(), digest.to_owned())]);
        assert!(same_stems("hash", &stems("a"), &stems("a")).is_ok());
        assert!(same_stems("hash", &stems("a"), &stems("b")).is_err());
        assert!(same_stems("hash", &stems("a"), &Stems::new()).is_err());
    }
}
