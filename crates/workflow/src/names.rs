//! Every stream, subject, consumer and bucket name, built here and nowhere else.

use async_nats::jetstream::kv;

use crate::job::{JobId, Lane, RunId};

/// The control stream: tasks and facts.
pub(crate) const STREAM: &str = "STEMFLOW";
/// The stream of dead tasks and of the server's advisories about them.
pub(crate) const DEAD_STREAM: &str = "STEMFLOW_DEAD";
/// The stream of notices: who is still to be told of a job's end.
pub(crate) const CALLBACK_STREAM: &str = "STEMFLOW_CALLBACKS";
/// Its one consumer, which all gateways share.
pub(crate) const CALLBACK: &str = "callback";
/// The KV bucket of job records.
pub(crate) const JOBS: &str = "jobs";
/// The KV bucket of workflow texts by digest.
pub(crate) const WORKFLOWS: &str = "workflows";

/// Every subject of the control stream.
pub(crate) const STREAM_SUBJECTS: [&str; 2] = ["stemflow.task.>", "stemflow.fact.>"];

/// Every subject of the stream of the dead.
pub(crate) const DEAD_SUBJECTS: [&str; 3] = [
    LETTERS,
    "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.STEMFLOW.>",
    "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.STEMFLOW.>",
];

/// All notices.
pub(crate) const CALLBACKS: &str = "stemflow.callback.>";
/// All dead tasks.
pub(crate) const LETTERS: &str = "stemflow.dead.>";
/// All that the server tells about tasks that it will not deliver again.
pub(crate) const ADVISORIES: &str = "$JS.EVENT.ADVISORY.CONSUMER.>";

/// What the name of a consumer of the lane `batch` ends with; no stage's name does.
pub(crate) const BATCH: &str = "-batch";

/// True for a name that is one token of a subject: 1 to 32 of a-z, 0-9 and `-`.
pub(crate) fn is_token(name: &str) -> bool {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=32).contains(&name.len()) && name.chars().all(known)
}

/// The consumer of one lane of a stage.
pub(crate) fn consumer(stage: &str, lane: Lane) -> String {
    match lane {
        Lane::Interactive => stage.to_owned(),
        Lane::Batch => format!("{stage}{BATCH}"),
    }
}

/// Where a task stands. It can be published there once.
pub(crate) fn task(stage: &str, lane: Lane, run: &RunId, key: &str) -> String {
    format!("stemflow.task.{stage}.{lane}.{run}.{key}")
}

/// The run, the stage and the key of a task's subject.
pub(crate) fn run_stage_and_key(task: &str) -> Option<(RunId, &str, &str)> {
    let mut tokens = task.strip_prefix("stemflow.task.")?.split('.');
    let (stage, _lane) = (tokens.next()?, tokens.next()?);
    let (run, key) = (tokens.next()?.parse().ok()?, tokens.next()?);
    tokens.next().is_none().then_some((run, stage, key))
}

/// All tasks of one lane of a stage: what its consumer takes.
pub(crate) fn tasks_of_stage(stage: &str, lane: Lane) -> String {
    format!("stemflow.task.{stage}.{lane}.>")
}

/// All tasks of one run.
pub(crate) fn tasks_of_run(run: &RunId) -> String {
    format!("stemflow.task.*.*.{run}.>")
}

/// Where a fact stands. The first writer wins.
pub(crate) fn fact(run: &RunId, stage: &str, key: &str) -> String {
    format!("stemflow.fact.{run}.{stage}.{key}")
}

/// All facts of one stage of a run.
pub(crate) fn facts_of_stage(run: &RunId, stage: &str) -> String {
    format!("stemflow.fact.{run}.{stage}.*")
}

/// All facts of one run.
pub(crate) fn facts_of_run(run: &RunId) -> String {
    format!("stemflow.fact.{run}.>")
}

/// The stage and the key of a fact's subject.
pub(crate) fn stage_and_key(fact: &str) -> Option<(&str, &str)> {
    let mut tokens = fact.split('.').skip(3);
    let (stage, key) = (tokens.next()?, tokens.next()?);
    tokens.next().is_none().then_some((stage, key))
}

/// Where a dead task is laid.
pub(crate) fn dead(stage: &str, run: &RunId, key: &str) -> String {
    format!("stemflow.dead.{stage}.{run}.{key}")
}

/// All dead tasks of one run.
pub(crate) fn dead_of_run(run: &RunId) -> String {
    format!("stemflow.dead.*.{run}.>")
}

/// Where the notice for one callback of a run is laid.
pub(crate) fn callback(run: &RunId, token: &str) -> String {
    format!("stemflow.callback.{run}.{token}")
}

/// All that is laid there, as permissions say it.
pub(crate) fn callback_of_any() -> String {
    "stemflow.callback.*.*".to_owned()
}

/// Where an entry of a key-value bucket stands.
pub(crate) fn entry(bucket: &kv::Store, key: impl ToString) -> String {
    format!("{}{}", bucket.prefix, key.to_string())
}

/// What is told about a job while it happens; not stored.
pub(crate) fn event(job: &JobId, kind: &str) -> String {
    format!("stemflow.event.{job}.{kind}")
}

/// All events of all jobs.
pub(crate) const EVENTS: &str = "stemflow.event.>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_found_again_by_its_subject() {
        let run = RunId::first(JobId::of("song"));
        assert_eq!(stage_and_key(&fact(&run, "separate", "007")), Some(("separate", "007")));
        assert_eq!(stage_and_key("stemflow.fact.x.y"), None);
        assert_eq!(stage_and_key("stemflow.fact.x.y.z.more"), None);
    }

    #[test]
    fn a_task_is_found_again_by_its_subject() {
        let run = RunId::first(JobId::of("song"));
        for lane in Lane::ALL {
            let subject = task("separate", lane, &run, "007");
            assert_eq!(run_stage_and_key(&subject), Some((run.clone(), "separate", "007")));
        }
        for subject in ["stemflow.task.a.b.c.d", "stemflow.fact.a.b.c.d", "stemflow.task.a"] {
            assert_eq!(run_stage_and_key(subject), None);
        }
    }

    #[test]
    fn a_token_cannot_break_out_of_its_subject() {
        for name in ["decode", "007", "a-b"] {
            assert!(is_token(name));
        }
        for name in ["", "a.b", "*", ">", "a b", "A", &"x".repeat(33)] {
            assert!(!is_token(name), "{name}");
        }
    }
}
