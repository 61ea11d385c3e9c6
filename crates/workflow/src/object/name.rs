//! Names by which people find what a run has made. A name is given when the run is done, and belongs
//! to the job: the next run of it takes the name over.

use std::collections::BTreeMap;

use super::{Bucket, Meta, ObjectRef, reference};
use crate::bus::{Bus, BusError, from_json};
use crate::job::RunId;
use crate::jobs::{Standing, unheard};
use crate::write::{last_message, purge_to};

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
            self.take(name, object).await?;
        }
        Ok(())
    }

    /// Deletes the name of an object, but only if it still leads to it. Repeatable.
    pub(crate) async fn take_name(&self, object: &ObjectRef) -> Result<(), BusError> {
        self.take(&object.name, object).await
    }

    async fn take(&self, name: &str, object: &ObjectRef) -> Result<(), BusError> {
        let (meta, sequence) = self.meta_entry(object.bucket, name).await?;
        if meta.is_none_or(|meta| meta.nuid != object.nuid) {
            return Ok(());
        }
        let stream = self.stream_of(object.bucket).await?;
        purge_to(&stream, &object.bucket.meta(name), sequence).await
    }

    /// What the names on these subjects lead to.
    pub(crate) async fn named(
        &self,
        bucket: Bucket,
        names: impl Iterator<Item = String>,
    ) -> Result<Vec<ObjectRef>, BusError> {
        let stream = self.stream_of(bucket).await?;
        let mut found = Vec::new();
        for subject in names {
            let Some(message) = last_message(&stream, &subject).await? else { continue };
            // What cannot be read is not ours.
            let Ok(meta) = from_json::<Meta>("an object's description", &message.payload) else {
                continue;
            };
            if !meta.deleted && meta.options.link.is_none() {
                found.push(reference(bucket, meta));
            }
        }
        Ok(found)
    }
}
