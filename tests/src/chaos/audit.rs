//! What must be true once all is calm again: every job has its one end, and nothing else is left.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::{self, Context};
use futures::{StreamExt, TryStreamExt};
use workflow::{Bucket, Bus, Job, JobState};

use super::ledger::Account;
use super::works::Ends;

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Jobs by the state they ended in.
    pub ends: BTreeMap<String, usize>,
    /// Messages of each stream.
    pub messages: BTreeMap<String, u64>,
    /// What must not be.
    pub violations: Vec<String>,
}

/// Streams that hold nothing once all jobs have ended.
const EMPTY: [&str; 4] = ["STEMFLOW", "STEMFLOW_CALLBACKS", "OBJ_work", "OBJ_queue"];

/// Compares what is stored with what the clients were promised.
pub async fn audit(bus: &Bus, accounts: &BTreeMap<String, Account>) -> Findings {
    let js = jetstream::new(bus.client().clone());
    let mut findings = Findings::default();
    if let Err(error) = look(bus, &js, accounts, &mut findings).await {
        findings.violations.push(format!("NATS does not tell: {error}"));
    }
    findings
}

type Told<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

async fn look(
    bus: &Bus,
    js: &Context,
    accounts: &BTreeMap<String, Account>,
    findings: &mut Findings,
) -> Told<()> {
    let jobs: BTreeMap<String, Job> =
        bus.all_jobs().await?.into_iter().map(|job| (job.hash.to_string(), job)).collect();
    for job in jobs.values() {
        *findings.ends.entry(job.state.to_string()).or_default() += 1;
    }
    let violations = &mut findings.violations;
    for (hash, account) in accounts {
        violations.extend(wrong_with(hash, account, jobs.get(hash)));
    }
    let unknown = jobs.keys().filter(|hash| !accounts.contains_key(*hash));
    violations.extend(unknown.map(|hash| format!("{hash} is a job that nobody was told of")));
    violations.extend(consumers(js).await?);
    violations.extend(letters(bus, accounts).await?);
    violations.extend(output(js, &jobs).await?);
    let names: Vec<String> = js.stream_names().try_collect().await?;
    for name in names {
        let messages = js.get_stream(&name).await?.cached_info().state.messages;
        findings.messages.insert(name, messages);
    }
    for stream in EMPTY {
        let messages = findings.messages.get(stream).copied().unwrap_or_default();
        if messages > 0 {
            let left = subjects(js, stream).await?;
            let some: Vec<&String> = left.keys().take(5).collect();
            findings.violations.push(format!("{stream} holds {messages} messages: {some:?} …"));
        }
    }
    let records = findings.messages.get("KV_jobs").copied().unwrap_or_default();
    if records != jobs.len() as u64 {
        let what = format!("KV_jobs holds {records} messages for {} jobs", jobs.len());
        findings.violations.push(what);
    }
    Ok(())
}

/// What is wrong with the end of a job.
fn wrong_with(hash: &str, account: &Account, job: Option<&Job>) -> Option<String> {
    let Some(job) = job else {
        return (!account.is_deleted).then(|| format!("{hash} is lost: {account:?}"));
    };
    if account.is_deleted {
        return Some(format!("{hash} was deleted and is there: {job:?}"));
    }
    let code = job.error.as_ref().map(|error| error.code.as_str());
    let is_right = match (&job.state, account.ends) {
        (JobState::Cancelled, _) => account.may_be_cancelled,
        (JobState::Done, ends) => ends == Ends::Done,
        (JobState::Failed, Ends::Failed(expected)) => code == Some(expected),
        _ => false,
    };
    if !is_right {
        return Some(format!("{hash} should be {:?}: {job:?}", account.ends));
    }
    if !job.freed {
        return Some(format!("{hash} is not freed: {job:?}"));
    }
    let runs_once =
        account.is_first_run && job.state == JobState::Done && !account.may_be_cancelled;
    (runs_once && job.run != 1).then(|| format!("{hash} was run {} times: {job:?}", job.run))
}

/// Tasks that wait, or that a worker seems to have.
async fn consumers(js: &Context) -> Told<Vec<String>> {
    let stream = js.get_stream("STEMFLOW").await?;
    let mut wrong = Vec::new();
    let mut consumers = stream.consumers();
    while let Some(info) = consumers.try_next().await? {
        let (waiting, in_hand) = (info.num_pending, info.num_ack_pending);
        if (waiting, in_hand) != (0, 0) {
            wrong.push(format!("{}: {waiting} tasks wait, {in_hand} are in hand", info.name));
        }
    }
    Ok(wrong)
}

/// Dead letters but those of files that are no songs.
async fn letters(bus: &Bus, accounts: &BTreeMap<String, Account>) -> Told<Vec<String>> {
    let letters = bus.dead_letters().await?;
    let is_expected = |letter: &workflow::DeadLetter| {
        let account = accounts.get(&letter.task.run.job.to_string());
        account.is_some_and(|account| account.ends_with(&letter.code))
    };
    let unexpected = letters.iter().filter(|letter| !is_expected(letter));
    Ok(unexpected.map(|letter| format!("a dead letter: {letter:?}")).collect())
}

impl Account {
    fn ends_with(&self, code: &str) -> bool {
        matches!(self.ends, Ends::Failed(expected) if expected == code)
    }
}

/// What of the bucket `output` belongs to no finished job, or is missing from one.
async fn output(js: &Context, jobs: &BTreeMap<String, Job>) -> Told<Vec<String>> {
    let mut stored = subjects(js, &Bucket::Output.stream()).await?;
    let mut wrong = Vec::new();
    let (mut names, mut kept) = (0, BTreeSet::new());
    for (hash, job) in jobs {
        if job.state == JobState::Done && job.names.is_empty() {
            wrong.push(format!("{hash} is done and has made nothing"));
        }
        for (name, object) in &job.names {
            if !kept.insert(&object.nuid) {
                continue;
            }
            names += 1;
            let chunks = stored.remove(&format!("$O.output.C.{}", object.nuid)).unwrap_or(0);
            if chunks as u64 != object.chunks {
                let all = object.chunks;
                wrong.push(format!("{name} of {hash} has {chunks} chunks of {all}"));
            }
        }
    }
    let (found, orphans): (Vec<_>, Vec<_>) =
        stored.into_keys().partition(|subject| subject.starts_with("$O.output.M."));
    if found.len() != names {
        wrong.push(format!("there are {} names for {names} files", found.len()));
    }
    wrong.extend(orphans.iter().map(|subject| format!("an orphan: {subject}")));
    Ok(wrong)
}

/// The subjects of a stream, with how many messages each holds.
async fn subjects(js: &Context, stream: &str) -> Told<BTreeMap<String, usize>> {
    let stream = js.get_stream_no_info(stream).await?;
    let subjects = stream.info_with_subjects(">").await?;
    Ok(subjects.collect::<Vec<_>>().await.into_iter().collect::<Result<_, _>>()?)
}
