//! Facts: what the tasks of a run have produced. The first writer of a fact wins, and whoever
//! decides anything by facts asks the stream's leader.

use std::collections::BTreeMap;

use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::Stream;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;

use crate::bus::{Bus, BusError, During, from_json};
use crate::job::{Fact, RunId};
use crate::names;
use crate::write::{Fence, Once, last_message, patiently};

/// The part of a stream's info that counts.
#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    total: usize,
}

/// Facts that are read at a time.
const READS: usize = 16;

impl Bus {
    /// Writes down what a task produced, unless another attempt at it has done so already, or the
    /// task itself is gone: an ended run's tasks are deleted first, and nothing late gets in.
    pub(crate) async fn record(
        &self,
        run: &RunId,
        fact: &Fact,
        task: &Fence,
    ) -> Result<Once, BusError> {
        self.publish_behind(task, names::fact(run, &fact.stage, &fact.key), fact).await
    }

    /// What one task produced, if it has.
    pub async fn fact(
        &self,
        run: &RunId,
        stage: &str,
        key: &str,
    ) -> Result<Option<Fact>, BusError> {
        let message = last_message(&self.control, &names::fact(run, stage, key)).await?;
        message.map(|message| from_json("a fact", &message.payload)).transpose()
    }

    /// What all tasks of a stage have produced so far, by key: `9` before `10`. An error if the run
    /// is freed meanwhile.
    pub async fn facts(&self, run: &RunId, stage: &str) -> Result<Vec<Fact>, BusError> {
        self.facts_as(run, stage, Ok).await
    }

    /// What `look` makes of each of them. Few are held at a time.
    pub(crate) async fn facts_as<T, E: From<BusError>>(
        &self,
        run: &RunId,
        stage: &str,
        mut look: impl FnMut(Fact) -> Result<T, E>,
    ) -> Result<Vec<T>, E> {
        let mut facts = std::pin::pin!(self.facts_left(run, stage).await?);
        let mut seen = Vec::new();
        while let Some(fact) = facts.try_next().await? {
            let gone = || BusError::new(format!("read a fact of {stage}"), "it is gone");
            seen.push(look(fact.ok_or_else(gone)?)?);
        }
        Ok(seen)
    }

    /// The same of a run that others may be freeing; `None` for what went while this read.
    pub(crate) async fn facts_left(
        &self,
        run: &RunId,
        stage: &str,
    ) -> Result<impl futures::Stream<Item = Result<Option<Fact>, BusError>>, BusError> {
        let mut keys = self.recorded(&names::facts_of_stage(run, stage)).await?;
        let mut keys = keys.remove(stage).unwrap_or_default();
        keys.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        let reads = futures::stream::iter(keys)
            .map(move |key| async move { self.fact(run, stage, &key).await });
        Ok(reads.buffered(READS))
    }

    /// How many tasks of one stage are recorded.
    pub(crate) async fn recorded_of(&self, run: &RunId, stage: &str) -> Result<usize, BusError> {
        let filter = names::facts_of_stage(run, stage);
        patiently(|| format!("count {filter}"), || self.count(names::STREAM, &filter)).await
    }

    /// How many subjects of a stream hold something, asked once. Asks for the count alone: past the
    /// last of the subjects there is none to list, and a fan-out of thousands counts as often.
    pub(crate) async fn count(&self, stream: &str, filter: &str) -> Result<usize, BusError> {
        let request = serde_json::json!({ "subjects_filter": filter, "offset": u32::MAX });
        let what = || format!("count {filter}");
        match self.js.request(format!("STREAM.INFO.{stream}"), &request).await.during(what())? {
            Response::Ok(Counted { total }) => Ok(total),
            Response::Err { error } => Err(BusError::new(what(), error)),
        }
    }

    /// The recorded keys of each stage of a run.
    pub(crate) async fn recorded_of_run(
        &self,
        run: &RunId,
    ) -> Result<BTreeMap<String, Vec<String>>, BusError> {
        self.recorded(&names::facts_of_run(run)).await
    }

    async fn recorded(&self, filter: &str) -> Result<BTreeMap<String, Vec<String>>, BusError> {
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for subject in self.subjects(&self.control, filter).await? {
            if let Some((stage, key)) = names::stage_and_key(&subject) {
                keys.entry(stage.to_owned()).or_default().push(key.to_owned());
            }
        }
        Ok(keys)
    }

    /// The subjects of a stream that hold something, by the word of its leader.
    pub(crate) async fn subjects<I>(
        &self,
        stream: &Stream<I>,
        filter: &str,
    ) -> Result<Vec<String>, BusError> {
        let what = || format!("list {filter}");
        let list = || async {
            let subjects = stream.info_with_subjects(filter).await.during(what())?;
            subjects.map_ok(|(subject, _)| subject).try_collect().await.during(what())
        };
        patiently(what, list).await
    }
}
