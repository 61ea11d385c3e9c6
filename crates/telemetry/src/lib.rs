//! What a process tells of itself: metrics, traces, logs and probes.
//!
//! | read | for |
//! |---|---|
//! | `metrics.rs` | the registry of the process |
//! | `listen.rs`, `readiness.rs` | `/metrics`, `/livez` and `/readyz` of processes without a port of their own |
//! | `logs.rs` | the log |
//! | `traces.rs` | where spans go; they go nowhere unless an endpoint is set |
//! | `context.rs` | how a trace goes on in another process |
//!
//! # Metrics
//!
//! Names are for ever: dashboards and alerts rely on them. `stage` is the name in `workflow.toml`,
//! `lane` is `interactive` or `batch`. A job is never a label.
//!
//! Every process:
//!
//! | metric | type, labels | |
//! |---|---|---|
//! | `stemflow_build_info` | gauge `version`, `revision` | 1 |
//! | `stemflow_nats_connected` | gauge | 1 while there is a connection |
//! | `stemflow_nats_connects_total` | counter | connections made; more than 1: it was lost |
//! | `stemflow_nats_slow_consumer_total` | counter | times that NATS dropped messages for this process |
//! | `stemflow_object_bytes_total` | counter `bucket`, `direction` | `put` or `get`, moved to or from the object store |
//! | `stemflow_object_seconds_total` | counter `bucket`, `direction` | time spent waiting for it to move them |
//! | `stemflow_job_seconds` | histogram `outcome` | from submission to `done`, `failed` or `cancelled`; by the process that ended the job, so sum over all |
//! | `process_*` | | CPU, memory, files, threads, start |
//!
//! Stages, each with its own name as `stage`:
//!
//! | metric | type, labels | |
//! |---|---|---|
//! | `stemflow_tasks_total` | counter `stage`, `outcome` | deliveries that came to an end: `ok`, `retry` (given back, by failure), `failed` (the input's fault), `dead` (given up), `moot` (not needed any more), `interrupted` (given back, by shutdown) |
//! | `stemflow_redeliveries_total` | counter `stage` | deliveries that were not the task's first |
//! | `stemflow_task_seconds` | histogram `stage` | work, per attempt |
//! | `stemflow_task_wait_seconds` | histogram `stage`, `lane` | from release to first delivery |
//! | `stemflow_tasks_in_progress` | gauge `stage` | tasks at work now |
//! | `stemflow_task_slots` | gauge `stage` | tasks that can be at work at a time |
//! | `stemflow_busy_seconds_total` | counter `stage` | time at work, of all slots: its rate by `stemflow_task_slots` is the busy share |
//! | `stemflow_audio_seconds_total` | counter `stage` | audio done, in seconds of the song; times the stems in `encode`. Its rate by that of `stemflow_busy_seconds_total` is how many times as fast as it plays |
//! | `stemflow_model_load_seconds` | gauge `model` | how long loading it took the last time; `separate` alone |
//! | `stemflow_device_info` | gauge `device`, `precision` | 1; `separate` alone |
//!
//! The gateway; what stands below the line is the same from every replica, so take the `max`:
//!
//! | metric | type, labels | |
//! |---|---|---|
//! | `stemflow_http_requests_total` | counter `method`, `route`, `status` | |
//! | `stemflow_http_request_seconds` | histogram `route` | from a request's head to its reply's |
//! | `stemflow_service_requests_total` | counter `endpoint`, `status` | the NATS micro service |
//! | `stemflow_upload_bytes_total` | counter | songs stored by way of HTTP |
//! | `stemflow_jobs_submitted_total` | counter `outcome` | `begun`, `joined` or `done` |
//! | `stemflow_callbacks_total` | counter `outcome` | tries to tell someone of a job's end: `told`, `retry` (not heard, will be tried again), `given-up` (not heard for a day), `gone` (answered with 410), `refused` (the address is not one to call) |
//! | — | | |
//! | `stemflow_jobs` | gauge `state` | jobs that have not ended |
//! | `stemflow_oldest_job_seconds` | gauge | age of the oldest job that has not ended; 0 if there is none |
//! | `stemflow_tasks_waiting` | gauge `stage`, `lane` | tasks that no worker has had yet |
//! | `stemflow_tasks_in_hand` | gauge `stage`, `lane` | tasks that a worker has, or had and gave back |
//! | `stemflow_workers_idle` | gauge `stage`, `lane` | workers' slots that ask for a task and get none |
//! | `stemflow_oldest_task_seconds` | gauge `stage`, `lane` | age of the oldest task that is not done; 0 if there is none |
//! | `stemflow_dead_letters` | gauge | tasks that lie in `stemflow dead list` |
//! | `stemflow_stream_bytes` | gauge `stream` | what a stream or bucket of ours holds |
//! | `stemflow_stream_limit_bytes` | gauge `stream` | what it may hold; absent if there is no limit |
//!
//! GPU memory and load are the DCGM exporter's, broker internals the NATS exporter's.
//!
//! # Traces
//!
//! One trace per job. Its root is the upload, or the client's span if the request has a
//! `traceparent`. Then `publish <stage>` (a release of tasks), and under it per task and delivery
//! `receive <stage>` and `process <stage>`. What a task has read from other tasks it links to. Below
//! the root, too: `POST callback`, for each try to tell someone of the end.

mod listen;
mod logs;
mod readiness;

pub mod context;
pub mod metrics;
pub mod traces;

pub use listen::{listen, listen_as_told};
pub use readiness::Readiness;

/// The log and the traces of a process, for as long as this lives. When it is dropped, the spans
/// that have ended are sent.
#[must_use = "what is dropped at once tells nothing"]
pub struct Telemetry {
    _traces: Option<traces::Traces>,
}

/// Begins to log, and to trace if the environment names an endpoint. `process` is the process's
/// name: `gateway`, or that of its stage.
///
/// # Errors
/// If the environment asks for traces in a way that cannot be had.
pub fn start(process: &'static str) -> anyhow::Result<Telemetry> {
    logs::to_stderr();
    Ok(Telemetry { _traces: traces::start(process)? })
}
