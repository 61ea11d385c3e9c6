//! Dead letters: tasks that will not be tried again, with the reason, to be looked at.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::bus::{Bus, BusError, During, to_json};
use crate::job::TaskMessage;
use crate::names;

/// A task that was given up, as it lies in the stream `STEMFLOW_DEAD`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The task.
    pub task: TaskMessage,
    /// A short stable word.
    pub code: String,
    /// The last error.
    pub reason: String,
    /// When it was given up.
    pub died: Timestamp,
}

impl Bus {
    pub(crate) async fn bury(
        &self,
        task: &TaskMessage,
        code: &str,
        reason: &str,
    ) -> Result<(), BusError> {
        let letter = DeadLetter {
            task: task.clone(),
            code: code.to_owned(),
            reason: reason.to_owned(),
            died: Timestamp::now(),
        };
        let what = "lay down a dead task";
        let subject = names::dead(&task.stage, &task.run, &task.key);
        let sent = self.js.publish(subject, to_json(&letter)?).await.during(what)?;
        sent.await.during(what)?;
        Ok(())
    }
}
