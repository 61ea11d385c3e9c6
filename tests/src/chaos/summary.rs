//! The one table that a chaos run ends with.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::audit::Findings;
use super::faults::Counts;
use super::ledger::Page;

/// All that a run has to say.
pub struct Summary {
    /// What the schedule and the customers came from.
    pub(crate) seed: u64,
    /// How long all of it took.
    pub(crate) wall: Duration,
    /// How often each fault was done.
    pub(crate) faults: Counts,
    /// How often a process was started again.
    pub(crate) restarts: usize,
    /// Deliveries of tasks beyond the first of each.
    pub(crate) redeliveries: usize,
    /// What the clients saw.
    pub(crate) page: Page,
    /// What was found in the end.
    pub(crate) findings: Findings,
}

impl Summary {
    /// What must not be, all of it.
    pub fn violations(&self) -> impl Iterator<Item = &String> {
        self.page.violations.iter().chain(&self.findings.violations)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, findings, .. } = self;
        let mut row = |name: &str, value: &dyn fmt::Display| writeln!(f, "  {name:<44} {value:>8}");
        let deleted = page.accounts.values().filter(|account| account.is_deleted).count();
        let end = |state| findings.ends.get(state).copied().unwrap_or_default();
        row("seed", &self.seed)?;
        row("wall time, s", &self.wall.as_secs())?;
        row("songs sent", &page.sent)?;
        row("songs accepted", &page.accepted)?;
        row("jobs they make", &page.accounts.len())?;
        row("  done", &end("done"))?;
        row("  failed", &end("failed"))?;
        row("  cancelled", &end("cancelled"))?;
        row("  deleted", &deleted)?;
        row("stems compared with the calm run's", &page.compared)?;
        rows(&mut row, "requests refused, and sent again", &page.refused)?;
        rows(&mut row, "what clients did besides", &page.deeds)?;
        rows(&mut row, "faults", &self.faults)?;
        row("processes started again", &self.restarts)?;
        row("tasks delivered again", &self.redeliveries)?;
        row("longest wait for a job, s", &page.longest_wait().as_secs())?;
        row("longest stall: work and no end of any, s", &page.longest_stall().as_secs())?;
        rows(&mut row, "messages left", &findings.messages)?;
        row("violations", &self.violations().count())
    }
}

fn rows<K: fmt::Display, V: fmt::Display>(
    row: &mut impl FnMut(&str, &dyn fmt::Display) -> fmt::Result,
    title: &str,
    counts: &BTreeMap<K, V>,
) -> fmt::Result {
    row(title, &"")?;
    counts.iter().try_for_each(|(name, count)| row(&format!("  {name}"), count))
}
