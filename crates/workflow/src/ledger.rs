//! Facts: what the tasks of a run have produced. The first writer of a fact wins, and whoever
//! decides anything by facts asks the stream's leader.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};

use crate::bus::{Bus, BusError, During, Once, from_json};
use crate::job::{Fact, RunId};
use crate::names;

/// Facts that are read at a time.
const READS: usize = 16;

impl Bus {
    /// Writes down what a task produced, unless another attempt at it has done so already.
    pub(crate) async fn record(&self, run: &RunId, fact: &Fact) -> Result<Once, BusError> {
        self.publish_once(names::fact(run, &fact.stage, &fact.key), fact).await
    }

    /// What one task produced, if it has.
    pub async fn fact(
        &self,
        run: &RunId,
        stage: &str,
        key: &str,
    ) -> Result<Option<Fact>, BusError> {
        let message = self.last_message(&names::fact(run, stage, key)).await?;
        message.map(|message| from_json("a fact", &message)).transpose()
    }

    /// What all tasks of a stage have produced so far, by key: `9` before `10`.
    pub async fn facts(&self, run: &RunId, stage: &str) -> Result<Vec<Fact>, BusError> {
        let mut keys = self.recorded(&names::facts_of_stage(run, stage)).await?;
        let mut keys = keys.remove(stage).unwrap_or_default();
        keys.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        let reads = futures::stream::iter(keys).map(|key| async move {
            let fact = self.fact(run, stage, &key).await?;
            fact.ok_or_else(|| BusError::new(format!("read a fact of {stage}"), "it is gone"))
        });
        reads.buffered(READS).try_collect().await
    }

    /// How many tasks of one stage are recorded.
    pub(crate) async fn recorded_of(&self, run: &RunId, stage: &str) -> Result<usize, BusError> {
        let keys = self.recorded(&names::facts_of_stage(run, stage)).await?;
        Ok(keys.get(stage).map_or(0, Vec::len))
    }

    /// The recorded keys of each stage of a run.
    pub(crate) async fn recorded_of_run(
        &self,
        run: &RunId,
    ) -> Result<BTreeMap<String, Vec<String>>, BusError> {
        self.recorded(&names::facts_of_run(run)).await
    }

    async fn recorded(&self, filter: &str) -> Result<BTreeMap<String, Vec<String>>, BusError> {
        let what = || format!("count {filter}");
        let mut subjects = self.control.info_with_subjects(filter).await.during(what())?;
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        while let Some((subject, _)) = subjects.try_next().await.during(what())? {
            if let Some((stage, key)) = names::stage_and_key(&subject) {
                keys.entry(stage.to_owned()).or_default().push(key.to_owned());
            }
        }
        Ok(keys)
    }
}
