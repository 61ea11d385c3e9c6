//! A workflow DAG and its runtime on NATS JetStream.
//!
//! A [`Graph`] says which stages there are and what each waits for. A [`Job`] goes through it: its
//! tasks are messages, what they produce are facts, and both stand on subjects of one stream that
//! hold one message each, ever. That makes every step repeatable, and so every crash harmless.
//!
//! ```text
//! submit ─► job ─► task ─► worker ─► Stage::run ─► objects ─► fact ─► advance ─► next tasks ─► … ─► done
//! ```
//!
//! | read | for |
//! |---|---|
//! | `graph.rs` | `workflow.toml`, checked |
//! | `job.rs` | what is written down: jobs, tasks, facts |
//! | `names.rs` | every subject, stream, consumer and bucket |
//! | `layout.rs` | how these are made |
//! | `submit.rs` | how a job begins, and how it is cancelled |
//! | `stage.rs` | what a stage sees |
//! | `worker.rs` | how a task is done and handed over: the only file that acknowledges one |
//! | `ask.rs` | how one message is asked for |
//! | `worker/pull.rs` | where it gets its tasks |
//! | `worker/attempt.rs` | one attempt at it: the stage at work, its lease, the clock |
//! | `worker/tell.rs` | what is told of it meanwhile |
//! | `ledger.rs`, `advance.rs` | facts, and what follows from them |
//! | `object.rs` | large things, stored and verified |
//! | `object/name.rs` | the names by which people find what a job has made |
//! | `free.rs`, `reconcile.rs`, `dead.rs` | ends: clean, crashed, given up |
//! | `callback.rs` | who wants to be told of an end |
//! | `janitor.rs` | what no end has taken along |
//! | `write.rs` | how all of them write to a cluster that may lose a server |
//! | `backlog.rs` | what the stages have before them |
//! | `event.rs` | what is told meanwhile |
//! | `connect.rs`, `access.rs` | the way to NATS: keys and certificates |
//! | `permissions.rs` | who may do what on the bus |
//! | `metrics.rs`, `trace.rs`, `survey.rs` | what those see who run it |
//!
//! A stage is a type with a `run` and a `main` of three lines:
//!
//! ```no_run
//! use workflow::{Failure, Output, Stage, Task};
//!
//! struct Count;
//!
//! impl Stage for Count {
//!     fn name(&self) -> &'static str {
//!         "count"
//!     }
//!
//!     fn run(&self, task: &Task) -> Result<Output, Failure> {
//!         let bytes = std::io::copy(&mut task.open(task.input()), &mut std::io::sink())?;
//!         Output::of(&bytes)
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     workflow::serve("count", || Ok::<_, std::convert::Infallible>(Count))
//! }
//! ```

mod access;
mod advance;
mod ask;
mod backlog;
mod bus;
mod callback;
mod config;
mod connect;
mod dead;
mod event;
mod free;
mod graph;
mod janitor;
mod job;
mod jobs;
mod ledger;
mod metrics;
mod names;
mod object;
mod reconcile;
mod serve;
mod shutdown;
mod stage;
mod submit;
mod survey;
mod trace;
mod worker;
mod write;

pub mod layout;
pub mod permissions;

pub use access::{ACCESS_HELP, Access};
pub use backlog::Backlog;
pub use bus::{Bus, BusError, Full};
pub use callback::Notice;
pub use config::{Config, ConfigError, duration_from_env, parse_bytes};
pub use dead::{DeadLetter, LetterFilter, Redriven};
pub use event::{LiveProgress, PROGRESS, STATE, TaskProgress};
pub use graph::{Graph, GraphError, GraphErrors, StageProgress, StageSpec};
pub use janitor::{UPLOADS, clean};
pub use job::{Fact, Input, Job, JobError, JobId, JobState, Lane, RunId, StageTimes, TaskMessage};
pub use object::{Bucket, ObjectError, ObjectReader, ObjectRef, ObjectWriter};
pub use reconcile::{Rounds, reconcile};
pub use serve::serve;
pub use shutdown::on_signal;
pub use stage::{Failure, Output, Reader, Reporter, Stage, Task, Writer};
pub use submit::{Submission, Submitted};
pub use survey::{Queue, Store, Survey};
pub use worker::work;
