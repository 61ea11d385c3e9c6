//! Names by which people find what a run has made. A name is given when the run is done, and belongs
//! to the job: the next run of it takes the name over.

use std::collections::BTreeMap;

use super::{Bucket, Meta, ObjectRef};
use crate::bus::{Bus, BusError};
use crate::job::RunId;
use crate::jobs::{Standing, unheard};
use crate::write::patiently;

/// How often a name is tried that others give at the same time.
const NAME_ATTEMPTS: u32 = 10;

impl Bus {
    /// Gives a run's objects their names in the bucket `output`; false if the run is over before
    /// all have theirs. Repeatable.
    ///
    /// A name is looked at before the job is, and changed only if it is still what it was: a
    /// process that sleeps in between does not take a name from a later run.
    pub(crate) async fn give_names(
        &self,
        run: &RunId,
        names: &BTreeMap<String, ObjectRef>,
    ) -> Result<bool, BusError> {
        for (name, object) in names {
            if !self.give_name(run, name, object).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn give_name(
        &self,
        run: &RunId,
        name: &str,
        object: &ObjectRef,
    ) -> Result<bool, BusError> {
        for _ in 0..NAME_ATTEMPTS {
            let (meta, sequence) = self.meta_entry(Bucket::Output, name).await?;
            if meta.is_some_and(|meta| meta.nuid == object.nuid) {
                return Ok(true);
            }
            match self.standing(run).await? {
                Standing::Live(_) => {}
                Standing::Over => return Ok(false),
                Standing::Unheard => return Err(unheard(run)),
            }
            if self.replace_meta(&Meta::of(object, name), sequence).await? {
                return Ok(true);
            }
        }
        Err(BusError::new(format!("give the name {name}"), "others change it all the time"))
    }

    /// Deletes names, but only such as still lead to these objects. Repeatable.
    pub async fn take_names(&self, names: &BTreeMap<String, ObjectRef>) -> Result<(), BusError> {
        for (name, object) in names {
            let (meta, sequence) = self.meta_entry(Bucket::Output, name).await?;
            if meta.is_none_or(|meta| meta.nuid != object.nuid) {
                continue;
            }
            let stream = self.stream_of(Bucket::Output).await?;
            let subject = Bucket::Output.meta(name);
            let purge =
                || async { stream.purge().sequence(sequence + 1).filter(&subject).await.map(drop) };
            patiently(|| format!("take back the name {name}"), purge).await?;
        }
        Ok(())
    }
}
