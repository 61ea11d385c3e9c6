//! What the runtime counts. The names stand in the documentation of `telemetry`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use async_nats::Event;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, HistogramVec, IntCounterVec};
use telemetry::metrics::{counters, fraction_counters, gauges, histograms, register};

use crate::job::{Job, JobState, Lane};
use crate::object::Bucket;
use crate::stage::lock;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The task is done.
    Ok,
    /// It was given back: the stage or NATS has failed.
    Retry,
    /// It cannot be done; the input is at fault.
    Failed,
    /// It was given up.
    Dead,
    /// It was not needed any more: its job had ended, or another attempt was quicker.
    Moot,
    /// It was given back: the process has to end.
    Interrupted,
}

impl Outcome {
    const ALL: [Self; 6] =
        [Self::Ok, Self::Retry, Self::Failed, Self::Dead, Self::Moot, Self::Interrupted];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Retry => "retry",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Moot => "moot",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Which way an object went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Put,
    Get,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// What every process has that knows NATS.
struct Common {
    connected: GaugeVec,
    connects: IntCounterVec,
    slow: IntCounterVec,
    object_bytes: IntCounterVec,
    object_seconds: CounterVec,
    job_seconds: HistogramVec,
}

static COMMON: LazyLock<Common> = LazyLock::new(|| {
    let moved = ["bucket", "direction"];
    let common = Common {
        connected: gauges(
            "stemflow_nats_connected",
            "1 while there is a connection to NATS, else 0.",
            &[],
        ),
        connects: counters(
            "stemflow_nats_connects_total",
            "Connections to NATS that were made; more than 1 means that it was lost.",
            &[],
        ),
        slow: counters(
            "stemflow_nats_slow_consumer_total",
            "Times that messages were dropped because this process did not take them in time.",
            &[],
        ),
        object_bytes: counters(
            "stemflow_object_bytes_total",
            "Bytes moved to (put) or from (get) the object store.",
            &moved,
        ),
        object_seconds: fraction_counters(
            "stemflow_object_seconds_total",
            "Time spent waiting for the object store to move them.",
            &moved,
        ),
        job_seconds: histograms(
            "stemflow_job_seconds",
            "Time from a job's submission to its end, by the process that ended it.",
            &["outcome"],
        ),
    };
    for outcome in [JobState::Done, JobState::Failed, JobState::Cancelled] {
        common.job_seconds.with_label_values(&[&outcome.to_string()]);
    }
    for bucket in Bucket::ALL {
        for direction in [Direction::Put, Direction::Get] {
            let labels = [bucket.name(), direction.as_str()];
            common.object_bytes.with_label_values(&labels);
            common.object_seconds.with_label_values(&labels);
        }
    }
    common
});

/// Notes what the connection to NATS has come to.
pub(crate) fn nats(event: &Event) {
    let none: [&str; 0] = [];
    match event {
        Event::Connected => {
            COMMON.connected.with_label_values(&none).set(1.0);
            COMMON.connects.with_label_values(&none).inc();
        }
        Event::Disconnected | Event::Closed => COMMON.connected.with_label_values(&none).set(0.0),
        Event::SlowConsumer(_) => COMMON.slow.with_label_values(&none).inc(),
        _ => {}
    }
}

/// Counts a part of an object that was moved, and what it took.
pub(crate) fn moved(bucket: Bucket, direction: Direction, bytes: usize, began: Instant) {
    let labels = [bucket.name(), direction.as_str()];
    COMMON.object_bytes.with_label_values(&labels).inc_by(bytes as u64);
    COMMON.object_seconds.with_label_values(&labels).inc_by(began.elapsed().as_secs_f64());
}

/// Counts a job that has just ended.
pub(crate) fn ended(job: &Job) {
    let Some(finished) = job.finished else { return };
    let took = finished.duration_since(job.submitted).as_secs_f64().max(0.0);
    COMMON.job_seconds.with_label_values(&[&job.state.to_string()]).observe(took);
}

/// What a worker has besides.
struct Stages {
    tasks: IntCounterVec,
    redeliveries: IntCounterVec,
    seconds: HistogramVec,
    wait_seconds: HistogramVec,
    slots: GaugeVec,
    at_work: AtWork,
    units: Mutex<BTreeMap<&'static str, CounterVec>>,
}

static STAGES: LazyLock<Stages> = LazyLock::new(|| Stages {
    tasks: counters(
        "stemflow_tasks_total",
        "Deliveries of tasks that came to an end, by what became of them.",
        &["stage", "outcome"],
    ),
    redeliveries: counters(
        "stemflow_redeliveries_total",
        "Deliveries of tasks that were not the first.",
        &["stage"],
    ),
    seconds: histograms("stemflow_task_seconds", "Time at work, per attempt.", &["stage"]),
    wait_seconds: histograms(
        "stemflow_task_wait_seconds",
        "Time from a task's release to its first delivery.",
        &["stage", "lane"],
    ),
    slots: gauges(
        "stemflow_task_slots",
        "Tasks that the process can work on at a time.",
        &["stage"],
    ),
    at_work: AtWork::new(),
    units: Mutex::default(),
});

/// Makes all series of a stage, so that each is seen to begin at 0. `unit` is what it counts its
/// work in.
pub(crate) fn begin(stage: &'static str, slots: usize, unit: Option<&'static str>) {
    LazyLock::force(&COMMON);
    for outcome in Outcome::ALL {
        STAGES.tasks.with_label_values(&[stage, outcome.as_str()]);
    }
    STAGES.redeliveries.with_label_values(&[stage]);
    STAGES.seconds.with_label_values(&[stage]);
    for lane in Lane::ALL {
        STAGES.wait_seconds.with_label_values(&[stage, lane.as_str()]);
    }
    STAGES.slots.with_label_values(&[stage]).set(slots as f64);
    STAGES.at_work.change(stage, 0);
    if let Some(unit) = unit {
        let mut units = lock(&STAGES.units);
        let counter = units.entry(unit).or_insert_with(|| {
            let help = format!("Work done, in {}.", unit.replace('_', " "));
            fraction_counters(&format!("stemflow_{unit}_total"), &help, &["stage"])
        });
        counter.with_label_values(&[stage]);
    }
}

/// Counts a task that has been handed to a worker.
pub(crate) fn delivered(stage: &str, lane: &str, number: u32, waited: Duration) {
    if number > 1 {
        STAGES.redeliveries.with_label_values(&[stage]).inc();
        return;
    }
    STAGES.wait_seconds.with_label_values(&[stage, lane]).observe(waited.as_secs_f64());
}

/// Counts a delivery that has come to its end.
pub(crate) fn handled(stage: &str, outcome: Outcome) {
    STAGES.tasks.with_label_values(&[stage, outcome.as_str()]).inc();
}

/// Counts what has been done for good.
pub(crate) fn worked(stage: &str, unit: Option<&'static str>, amount: f64) {
    let units = lock(&STAGES.units);
    if let Some(counter) = unit.and_then(|unit| units.get(unit)) {
        counter.with_label_values(&[stage]).inc_by(amount.max(0.0));
    }
}

/// A task counts as at work for as long as what is returned lives.
pub(crate) fn at_work(stage: &'static str) -> Working {
    STAGES.at_work.change(stage, 1);
    Working { stage, began: Instant::now() }
}

pub(crate) struct Working {
    stage: &'static str,
    began: Instant,
}

impl Drop for Working {
    fn drop(&mut self) {
        STAGES.at_work.change(self.stage, -1);
        STAGES.seconds.with_label_values(&[self.stage]).observe(self.began.elapsed().as_secs_f64());
    }
}

/// Tasks at work, and the time they take all together, to the moment at which it is asked: a task of
/// an hour does not count for nothing for an hour.
#[derive(Clone)]
struct AtWork {
    in_progress: GaugeVec,
    busy: CounterVec,
    stages: Arc<Mutex<BTreeMap<&'static str, (i32, Instant)>>>,
}

impl AtWork {
    fn new() -> Self {
        let help = "Time at work, of all tasks that are or were.";
        let options = prometheus::Opts::new("stemflow_busy_seconds_total", help);
        register(CounterVec::new(options, &["stage"]).map(|busy| Self {
            in_progress: gauges("stemflow_tasks_in_progress", "Tasks at work.", &["stage"]),
            busy,
            stages: Arc::default(),
        }))
    }

    fn change(&self, stage: &'static str, by: i32) {
        let mut stages = lock(&self.stages);
        let (running, since) = stages.entry(stage).or_insert_with(|| (0, Instant::now()));
        let busy = f64::from(*running) * since.elapsed().as_secs_f64();
        self.busy.with_label_values(&[stage]).inc_by(busy);
        *running += by;
        *since = Instant::now();
        self.in_progress.with_label_values(&[stage]).set(f64::from(*running));
    }
}

impl Collector for AtWork {
    fn desc(&self) -> Vec<&Desc> {
        self.busy.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stages: Vec<_> = lock(&self.stages).keys().copied().collect();
        for stage in stages {
            self.change(stage, 0);
        }
        self.busy.collect()
    }
}
