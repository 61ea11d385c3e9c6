//! `workflow.toml` as a [`Graph`]: pure data, checked whole before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::names;
use crate::object::Bucket;

/// A validated workflow: stages in an order in which each comes after all that it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    stages: Vec<StageSpec>,
    source: String,
    digest: String,
}

/// One `[[stage]]` table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StageSpec {
    /// The stage's one name: consumer, deployment, metric label.
    pub name: String,
    /// The stages whose tasks must all be recorded before this stage's tasks are released.
    #[serde(default)]
    pub after: Vec<String>,
    /// One task per item of this list, which a stage before this one puts into its fact. Absent:
    /// one task per job.
    pub each: Option<String>,
    /// How often a task is tried before it is dead and its job failed.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// The hard limit for one attempt.
    #[serde(default = "default_deadline", with = "humantime_serde")]
    pub deadline: Duration,
    /// What a job in this stage is called; by default the stage's name in its -ing form.
    pub state: Option<String>,
    /// This stage's part in the job's progress, relative to the others'.
    #[serde(default = "default_weight")]
    pub weight: f64,
    /// The buckets that it reads objects from; by default all.
    reads: Option<Vec<Bucket>>,
    /// The buckets that it stores objects in; by default `work` and `output`.
    writes: Option<Vec<Bucket>>,
    #[serde(flatten)]
    unknown: BTreeMap<String, toml::Value>,
}

fn default_attempts() -> u32 {
    5
}

fn default_deadline() -> Duration {
    Duration::from_secs(15 * 60)
}

fn default_weight() -> f64 {
    1.0
}

impl StageSpec {
    /// What a job in this stage is called: `decode` → `decoding`.
    pub fn state(&self) -> String {
        match &self.state {
            Some(state) => state.clone(),
            None => format!("{}ing", self.name.strip_suffix('e').unwrap_or(&self.name)),
        }
    }

    /// The buckets that its user on the bus may read objects from.
    pub fn reads(&self) -> &[Bucket] {
        self.reads.as_deref().unwrap_or(&Bucket::ALL)
    }

    /// The buckets that its user on the bus may store objects in.
    pub fn writes(&self) -> &[Bucket] {
        self.writes.as_deref().unwrap_or(&[Bucket::Work, Bucket::Output])
    }
}

/// Everything that is wrong with a workflow, at once.
#[derive(Debug, thiserror::Error, PartialEq)]
pub struct GraphErrors(Vec<GraphError>);

impl GraphErrors {
    /// The errors, at least one, in the order of the file.
    pub fn errors(&self) -> &[GraphError] {
        &self.0
    }
}

impl fmt::Display for GraphErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// One thing that is wrong with a workflow.
#[derive(Debug, thiserror::Error, PartialEq)]
#[allow(missing_docs, reason = "each message says it all")]
pub enum GraphError {
    #[error("not a workflow: {0}")]
    Toml(String),
    #[error("the workflow has no stage")]
    Empty,
    #[error("unknown table or key `{0}`, only [[stage]] is known")]
    UnknownTable(String),
    #[error(
        "stage `{stage}`: unknown key `{key}`, known are name, after, each, attempts, deadline, state, weight, reads, writes"
    )]
    UnknownKey { stage: String, key: String },
    #[error("{what} `{name}`: use 1 to 32 of a-z, 0-9 and -")]
    Name { what: &'static str, name: String },
    #[error("stage `{0}`: a name that ends in `-batch` is that of a consumer, use another")]
    Reserved(String),
    #[error("stage `{0}` is declared twice")]
    Duplicate(String),
    #[error("stage `{stage}` comes after `{after}`, which is not a stage")]
    UnknownAfter { stage: String, after: String },
    #[error("stage `{stage}` names `{after}` twice in `after`")]
    RepeatedAfter { stage: String, after: String },
    #[error("the stages go in a circle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    #[error("stage `{stage}`: attempts must be at least 1")]
    Attempts { stage: String },
    #[error("stage `{stage}`: deadline must be longer than nothing")]
    Deadline { stage: String },
    #[error("stage `{stage}`: weight must be a number of 0 or more")]
    Weight { stage: String },
    #[error(
        "stage `{stage}`: no stage with one task per job comes before it, so none can give the list `{each}`"
    )]
    NoList { stage: String, each: String },
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    stage: Vec<StageSpec>,
    #[serde(flatten)]
    unknown: BTreeMap<String, toml::Value>,
}

impl Graph {
    /// Reads and checks a `workflow.toml`.
    pub fn parse(source: &str) -> Result<Self, GraphErrors> {
        let file: File = toml::from_str(source)
            .map_err(|error| GraphErrors(vec![GraphError::Toml(error.to_string())]))?;
        let mut errors = Vec::new();
        errors.extend(file.unknown.into_keys().map(GraphError::UnknownTable));
        if file.stage.is_empty() {
            errors.push(GraphError::Empty);
        }
        check_stages(&file.stage, &mut errors);
        let stages = in_order(file.stage, &mut errors);
        check_lists(&stages, &mut errors);
        if !errors.is_empty() {
            return Err(GraphErrors(errors));
        }
        let digest = hex::encode(Sha256::digest(source));
        Ok(Self { stages, source: source.to_owned(), digest })
    }

    /// All stages, each after those that it needs.
    pub fn stages(&self) -> &[StageSpec] {
        &self.stages
    }

    /// The stage of that name.
    pub fn stage(&self, name: &str) -> Option<&StageSpec> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The stages before `name`, near and far, in order.
    pub fn ancestors(&self, name: &str) -> Vec<&StageSpec> {
        ancestors(&self.stages, name)
    }

    /// The stages that come right after `name`.
    pub fn successors(&self, name: &str) -> impl Iterator<Item = &StageSpec> {
        self.stages.iter().filter(move |stage| stage.after.iter().any(|after| after == name))
    }

    /// True if no other stage comes after it.
    pub(crate) fn is_last(&self, name: &str) -> bool {
        self.successors(name).next().is_none()
    }

    /// The stages that no other comes after.
    pub(crate) fn last_stages(&self) -> impl Iterator<Item = &StageSpec> {
        self.stages.iter().filter(|stage| self.is_last(&stage.name))
    }

    /// The text that this graph was read from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// SHA-256 of the text, in hex: a job pins it.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

fn check_stages(stages: &[StageSpec], errors: &mut Vec<GraphError>) {
    let names: BTreeSet<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    for stage in stages {
        let name = || stage.name.clone();
        if !names::is_token(&stage.name) {
            errors.push(GraphError::Name { what: "stage", name: name() });
        }
        if stage.name.ends_with(names::BATCH) {
            errors.push(GraphError::Reserved(name()));
        }
        if !seen.insert(&stage.name) {
            errors.push(GraphError::Duplicate(name()));
        }
        for key in stage.unknown.keys() {
            errors.push(GraphError::UnknownKey { stage: name(), key: key.clone() });
        }
        if let Some(each) = stage.each.as_ref().filter(|each| !names::is_token(each)) {
            errors.push(GraphError::Name { what: "list", name: each.clone() });
        }
        let mut edges = BTreeSet::new();
        for after in &stage.after {
            if !names.contains(after.as_str()) {
                errors.push(GraphError::UnknownAfter { stage: name(), after: after.clone() });
            }
            if !edges.insert(after) {
                errors.push(GraphError::RepeatedAfter { stage: name(), after: after.clone() });
            }
        }
        if stage.attempts == 0 {
            errors.push(GraphError::Attempts { stage: name() });
        }
        if stage.deadline.is_zero() {
            errors.push(GraphError::Deadline { stage: name() });
        }
        if !(stage.weight >= 0.0 && stage.weight.is_finite()) {
            errors.push(GraphError::Weight { stage: name() });
        }
    }
}

/// Sorts the stages so that each comes after all that it needs; where that cannot be done, names
/// the circle that prevents it. Edges to unknown stages are left out of account.
fn in_order(mut waiting: Vec<StageSpec>, errors: &mut Vec<GraphError>) -> Vec<StageSpec> {
    let mut ordered = Vec::with_capacity(waiting.len());
    loop {
        let names: BTreeSet<String> = waiting.iter().map(|stage| stage.name.clone()).collect();
        let free = |stage: &StageSpec| !stage.after.iter().any(|after| names.contains(after));
        let Some(next) = waiting.iter().position(free) else { break };
        ordered.push(waiting.remove(next));
    }
    if let Some(start) = waiting.first() {
        errors.push(GraphError::Cycle(circle_from(start, &waiting)));
    }
    ordered
}

/// Follows `after` from `start` until a stage comes up again: each of `waiting` needs another of
/// them, so one does. The circle is given in the order of the data, first stage twice.
fn circle_from(start: &StageSpec, waiting: &[StageSpec]) -> Vec<String> {
    let mut path = vec![start];
    loop {
        let last = path[path.len() - 1];
        let needed = waiting.iter().find(|stage| last.after.contains(&stage.name));
        let needed = needed.expect("a stage that waits needs another that waits");
        let seen = path.iter().position(|stage| stage.name == needed.name);
        path.push(needed);
        if let Some(seen) = seen {
            return path[seen..].iter().rev().map(|stage| stage.name.clone()).collect();
        }
    }
}

fn check_lists(stages: &[StageSpec], errors: &mut Vec<GraphError>) {
    for stage in stages {
        let Some(each) = &stage.each else { continue };
        let before = ancestors(stages, &stage.name);
        if !before.iter().any(|stage| stage.each.is_none()) {
            errors.push(GraphError::NoList { stage: stage.name.clone(), each: each.clone() });
        }
    }
}

fn ancestors<'a>(stages: &'a [StageSpec], name: &str) -> Vec<&'a StageSpec> {
    let mut needed: BTreeSet<&str> = BTreeSet::from([name]);
    let mut found = Vec::new();
    for stage in stages.iter().rev() {
        if needed.contains(stage.name.as_str()) {
            needed.extend(stage.after.iter().map(String::as_str));
            found.push(stage);
        }
    }
    found.retain(|stage| stage.name != name);
    found.reverse();
    found
}

/// How far a job has come in one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageProgress {
    /// Tasks of the stage, once it is released.
    pub tasks: usize,
    /// Tasks recorded, parts of running ones included.
    pub done: f64,
}

impl Graph {
    /// How far a job is on its way, 0 to 1, each stage counted by its weight.
    pub fn progress(&self, stages: &BTreeMap<String, StageProgress>) -> f64 {
        let whole: f64 = self.stages.iter().map(|stage| stage.weight).sum();
        let mut done = 0.0;
        for stage in &self.stages {
            let Some(progress) = stages.get(&stage.name) else { continue };
            let part =
                if progress.tasks == 0 { 1.0 } else { progress.done / progress.tasks as f64 };
            done += stage.weight * part.clamp(0.0, 1.0);
        }
        if whole > 0.0 { done / whole } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(source: &str) -> Vec<String> {
        let errors = Graph::parse(source).unwrap_err();
        errors.errors().iter().map(ToString::to_string).collect()
    }

    fn names(graph: &Graph) -> Vec<&str> {
        graph.stages().iter().map(|stage| stage.name.as_str()).collect()
    }

    const DIAMOND: &str = r#"
        [[stage]]
        name = "join"
        after = ["left", "right"]
        [[stage]]
        name = "left"
        after = ["split"]
        each = "part"
        deadline = "90s"
        [[stage]]
        name = "split"
        attempts = 2
        [[stage]]
        name = "right"
        after = ["split"]
    "#;

    #[test]
    fn stages_come_after_what_they_need() {
        let graph = Graph::parse(DIAMOND).unwrap();
        assert_eq!(names(&graph), ["split", "left", "right", "join"]);
        let before: Vec<_> = graph.ancestors("join").iter().map(|stage| &stage.name).collect();
        assert_eq!(before, ["split", "left", "right"]);
        assert_eq!(graph.stage("left").unwrap().deadline, Duration::from_secs(90));
        assert_eq!(graph.stage("split").unwrap().attempts, 2);
        assert_eq!(graph.stage("join").unwrap().attempts, 5);
        assert_eq!(graph.digest().len(), 64);
    }

    #[test]
    fn a_cycle_is_named_in_the_error() {
        let found = errors(
            r#"
            [[stage]]
            name = "root"
            [[stage]]
            name = "one"
            after = ["root", "three"]
            [[stage]]
            name = "two"
            after = ["one"]
            [[stage]]
            name = "three"
            after = ["two"]
            "#,
        );
        assert_eq!(found, ["the stages go in a circle: one -> two -> three -> one"]);
        assert_eq!(
            errors("[[stage]]\nname = \"a\"\nafter = [\"a\"]"),
            ["the stages go in a circle: a -> a"]
        );
    }

    #[test]
    fn all_errors_are_told_at_once() {
        let found = errors(
            r#"
            [[step]]
            [[stage]]
            name = "Decode!"
            retries = 3
            attempts = 0
            deadline = "0s"
            weight = -1.0
            [[stage]]
            name = "b"
            after = ["nowhere", "nowhere"]
            each = "a list"
            [[stage]]
            name = "b"
            "#,
        );
        for part in [
            "unknown table or key `step`",
            "stage `Decode!`: use",
            "unknown key `retries`",
            "attempts must",
            "deadline must",
            "weight must",
            "`nowhere`, which is not a stage",
            "names `nowhere` twice",
            "list `a list`: use",
            "`b` is declared twice",
        ] {
            assert!(found.iter().any(|error| error.contains(part)), "{part} in {found:#?}");
        }
        assert_eq!(errors(""), ["the workflow has no stage"]);
        assert!(errors("[[stage]]\nname = 3")[0].starts_with("not a workflow"));
    }

    #[test]
    fn a_list_must_have_a_giver() {
        let found = errors("[[stage]]\nname = \"a\"\neach = \"part\"");
        assert!(found[0].contains("none can give the list `part`"), "{found:?}");
    }

    #[test]
    fn states_are_named_after_the_stages() {
        let graph = Graph::parse(
            "[[stage]]\nname = \"decode\"\n[[stage]]\nname = \"publish\"\n[[stage]]\nname = \"loudness\"\nstate = \"measuring\"",
        )
        .unwrap();
        let states: Vec<_> = graph.stages().iter().map(StageSpec::state).collect();
        assert_eq!(states, ["decoding", "publishing", "measuring"]);
    }

    #[test]
    fn progress_counts_each_stage_by_its_weight() {
        let graph = Graph::parse(
            "[[stage]]\nname = \"a\"\n[[stage]]\nname = \"b\"\nafter = [\"a\"]\nweight = 3.0",
        )
        .unwrap();
        let mut stages = BTreeMap::new();
        assert_eq!(graph.progress(&stages), 0.0);
        stages.insert("a".to_owned(), StageProgress { tasks: 1, done: 1.0 });
        stages.insert("b".to_owned(), StageProgress { tasks: 4, done: 2.0 });
        assert_eq!(graph.progress(&stages), 0.625);
    }
}
