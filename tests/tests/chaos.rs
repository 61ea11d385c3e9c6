//! The audit that ends `make chaos` finds what it is there to find. An audit that finds nothing is
//! worth as much as what it was seen to find before.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use async_nats::jetstream;
use tests::Diamond;
use tests::chaos::{Account, Ends, audit};
use workflow::{JobId, JobState};

type Accounts = BTreeMap<String, Account>;

fn account(ends: Ends) -> Account {
    Account { work: 0, ends, may_be_cancelled: false, is_deleted: false, is_first_run: true }
}

/// A stand on which one job is done and one has failed, as they should, and nothing runs any more.
async fn stand() -> (Diamond, Accounts) {
    let mut diamond = Diamond::start().await;
    diamond.work_all();
    let mut accounts = Accounts::new();
    for (text, ends) in [("20", Ends::Done), ("no number", Ends::Failed("no-number"))] {
        let id = diamond.submit(text).await.job().hash.clone();
        diamond.wait_for_end(&id).await;
        accounts.insert(id.to_string(), account(ends));
    }
    diamond.wait_for_calm(1).await;
    diamond.stop_all();
    (diamond, accounts)
}

fn done() -> String {
    JobId::of("20").to_string()
}

async fn found(diamond: &Diamond, accounts: &Accounts) -> Vec<String> {
    audit(&diamond.bus, accounts).await.violations
}

async fn publish(diamond: &Diamond, subject: &str) {
    let js = jetstream::new(diamond.bus.client().clone());
    js.publish(subject.to_owned(), "{}".into()).await.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_promised_and_is_not_so_is_found() {
    let (diamond, accounts) = stand().await;
    assert_eq!(found(&diamond, &accounts).await, [""; 0], "not even where all is well");
    let with = |hash: String, account: Account| {
        let mut changed = accounts.clone();
        changed.insert(hash, account);
        changed
    };
    let without = accounts.iter().filter(|(hash, _)| **hash != done());
    let without = without.map(|(hash, account)| (hash.clone(), account.clone())).collect();
    let all_done = accounts.keys().map(|hash| (hash.clone(), account(Ends::Done)));
    let all_done: Accounts = all_done.collect();
    let deleted = Account { is_deleted: true, ..account(Ends::Done) };
    for (changed, part) in [
        (with("f".repeat(32), account(Ends::Done)), "is lost"),
        (without, "nobody was told of"),
        (with(done(), account(Ends::Failed("empty"))), "should be Failed"),
        (with(done(), deleted), "was deleted and is there"),
        (all_done.clone(), "should be Done"),
        (all_done, "a dead letter"),
    ] {
        let found = found(&diamond, &changed).await;
        assert!(found.iter().any(|what| what.contains(part)), "{part}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_behind_is_found() {
    let (diamond, accounts) = stand().await;
    for (subject, part) in [
        ("$O.output.C.nobody", "an orphan: $O.output.C.nobody"),
        ("$O.output.M.nobody", "there are 2 names for 1 files"),
        ("$O.work.C.nobody", "OBJ_work holds 1 messages"),
        ("$O.queue.C.nobody", "OBJ_queue holds 1 messages"),
        ("$KV.jobs.nobody", "KV_jobs holds 3 messages for 2 jobs"),
        ("stemflow.task.split.interactive.nobody.0", "split: "),
        ("stemflow.fact.nobody.split.0", "STEMFLOW holds 2 messages"),
    ] {
        publish(&diamond, subject).await;
        let found = found(&diamond, &accounts).await;
        assert!(found.iter().any(|what| what.contains(part)), "{part}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_and_what_was_done_twice_is_found() {
    let (diamond, accounts) = stand().await;
    let id = JobId::of("20");
    let job = diamond.bus.job(&id).await.unwrap().unwrap();
    let js = jetstream::new(diamond.bus.client().clone());
    let output = js.get_stream("OBJ_output").await.unwrap();
    let object = job.names.values().next().unwrap();
    output.purge().filter(format!("$O.output.C.{}", object.nuid)).await.unwrap();
    let found = found(&diamond, &accounts).await;
    assert!(found.iter().any(|what| what.contains("has 0 chunks of 3")), "{found:?}");

    diamond.bus.remove(&job.run_id()).await.unwrap();
    diamond.submit("20").await;
    let job = diamond.bus.cancel(&job.run_id()).await.unwrap().unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    diamond.work_all();
    diamond.submit("20").await;
    assert_eq!(diamond.wait_for_end(&id).await.run, 2);
    let found = audit(&diamond.bus, &accounts).await.violations;
    assert!(found.iter().any(|what| what.contains("was run 2 times")), "{found:?}");
}
