//! The streams, buckets and consumers that Stemflow lives in. Made by `stemflow init` and by the
//! gateway when it starts, never by a stage; as often as one likes.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream::{Config as StreamConfig, DiscardPolicy, RetentionPolicy};
use async_nats::jetstream::{Context, kv, object_store};

use crate::bus::{self, Bus, BusError, During};
use crate::config::Config;
use crate::connect::connect;
use crate::graph::{Graph, StageSpec};
use crate::job::Lane;
use crate::names;
use crate::object::Bucket;
use crate::write::patiently;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a task or a fact is remembered, and with it that it may not be published again.
const CONTROL_AGE: Duration = Duration::from_secs(72 * 60 * 60);
/// The lease of a task; a worker renews it every [`HEARTBEAT`].
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(30);
/// Two renewals may be lost before the lease is.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10);
/// Deliveries past a stage's `attempts`: one that a worker needs to declare a task dead, and those
/// that were no attempts, such as before a rolling update. The server gives up after them.
const SPARE_DELIVERIES: u32 = 20;
/// Every waiting worker holds one pull request.
const MAX_WAITING: i64 = 2048;
/// Tasks of one stage in the hands of workers; far above any fleet, so that it starves no pod.
const MAX_ACK_PENDING: i64 = 10_000;
/// What may be owed to callbacks at a time.
const CALLBACK_BYTES: i64 = 256 << 20;
/// Notices that are being delivered, or wait for another try. More than the stream has room for, at
/// more than a kilobyte each: those that nobody answers hold up no other.
const MAX_CALLBACKS_PENDING: i64 = 256 << 10;

/// The oldest server that has every fix we rely on.
pub const OLDEST_SERVER: (u64, u64, u64) = (2, 14, 3);

/// How what Stemflow lives in is made.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// How many servers keep each stream.
    pub replicas: usize,
    /// What the buckets may hold.
    pub quotas: Quotas,
}

/// The most bytes that each object bucket may hold; without, as much as the servers have. None by
/// default: a server sets a bucket's quota aside and refuses what it could not keep, so that what
/// suits one disk would not start on another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quotas {
    /// Songs.
    pub queue: Option<u64>,
    /// What stages hand to each other.
    pub work: Option<u64>,
    /// Stems.
    pub output: Option<u64>,
}

impl Quotas {
    fn of(&self, bucket: Bucket) -> Option<u64> {
        match bucket {
            Bucket::Queue => self.queue,
            Bucket::Work => self.work,
            Bucket::Output => self.output,
        }
    }
}

/// Makes everything, without quotas.
pub async fn ensure(config: &Config, graph: &Graph, replicas: usize) -> Result<Bus, BusError> {
    ensure_as(config, graph, Layout { replicas, quotas: Quotas::default() }).await
}

/// Makes what is missing, brings to its present form what is there, and opens it.
pub async fn ensure_as(config: &Config, graph: &Graph, layout: Layout) -> Result<Bus, BusError> {
    let Layout { replicas, quotas } = layout;
    let client = connect(config).await?;
    let js = bus::context(&client);
    check_server(&client.server_info().version)?;
    // What a cluster does not confirm in time, such as while it elects the leader of a stream that is
    // new, is made once more.
    patiently(|| "make the streams".to_owned(), || make_streams(&js, replicas)).await?;
    patiently(|| "make the buckets".to_owned(), || make_buckets(&js, replicas, quotas)).await?;
    patiently(|| "make the consumers".to_owned(), || make_callback_consumer(&js)).await?;
    for stage in graph.stages() {
        for lane in Lane::ALL {
            let make = || make_consumer(&js, stage, lane);
            patiently(|| "make the consumers".to_owned(), make).await?;
        }
    }
    let bus = Bus::on(client).await?;
    bus.store_graph(graph).await?;
    Ok(bus)
}

fn check_server(version: &str) -> Result<(), BusError> {
    let numbers = version.split('-').next().unwrap_or(version);
    let mut numbers = numbers.split('.').map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    let found = (next(), next(), next());
    if found >= OLDEST_SERVER {
        return Ok(());
    }
    let (major, minor, patch) = OLDEST_SERVER;
    let advice =
        format!("nats-server {version} is too old, use {major}.{minor}.{patch} or a newer one");
    Err(BusError::new("use this server", advice))
}

async fn make_streams(js: &Context, replicas: usize) -> Result<(), BusError> {
    let control = StreamConfig {
        name: names::STREAM.to_owned(),
        description: Some("Stemflow: tasks and facts".to_owned()),
        subjects: names::STREAM_SUBJECTS.map(str::to_owned).to_vec(),
        // Limits, not work-queue: an acknowledged task stays, so that it cannot be sent again.
        retention: RetentionPolicy::Limits,
        max_age: CONTROL_AGE,
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_bytes: 2 << 30,
        num_replicas: replicas,
        allow_direct: true,
        ..Default::default()
    };
    let dead = StreamConfig {
        name: names::DEAD_STREAM.to_owned(),
        description: Some("Stemflow: dead tasks, and what the server gave up on".to_owned()),
        subjects: names::DEAD_SUBJECTS.map(str::to_owned).to_vec(),
        max_age: 7 * DAY,
        max_bytes: 256 << 20,
        // The oldest make room: a full house of the dead must not stop the living.
        discard: DiscardPolicy::Old,
        allow_rollup: true,
        num_replicas: replicas,
        allow_direct: true,
        ..Default::default()
    };
    let callbacks = StreamConfig {
        name: names::CALLBACK_STREAM.to_owned(),
        description: Some("Stemflow: who is still to be told of a job's end".to_owned()),
        subjects: vec![names::CALLBACKS.to_owned()],
        // Limits, as above; a notice is deleted when it has been heard.
        retention: RetentionPolicy::Limits,
        max_age: 7 * DAY,
        max_messages_per_subject: 1,
        // A stream of its own: callbacks that nobody answers must not fill that of the tasks.
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        max_bytes: CALLBACK_BYTES,
        num_replicas: replicas,
        allow_direct: true,
        ..Default::default()
    };
    for stream in [control, dead, callbacks] {
        let name = stream.name.clone();
        js.create_or_update_stream(stream).await.during(format!("make the stream {name}"))?;
    }
    Ok(())
}

async fn make_buckets(js: &Context, replicas: usize, quotas: Quotas) -> Result<(), BusError> {
    for (bucket, max_age, max_bytes, about) in [
        (names::JOBS, 7 * DAY, 256 << 20, "Stemflow: what is known of each job"),
        (names::WORKFLOWS, Duration::ZERO, 16 << 20, "Stemflow: workflow texts by digest"),
    ] {
        let config = kv::Config {
            bucket: bucket.to_owned(),
            description: about.to_owned(),
            history: 1,
            max_age,
            max_bytes,
            num_replicas: replicas,
            ..Default::default()
        };
        js.create_or_update_key_value(config)
            .await
            .during(format!("make the bucket `{bucket}`"))?;
    }
    for (bucket, max_age, about) in [
        (Bucket::Queue, CONTROL_AGE, "Stemflow: songs on their way in"),
        (Bucket::Work, 26 * HOUR, "Stemflow: what stages hand to each other"),
        (Bucket::Output, 7 * DAY, "Stemflow: stems"),
    ] {
        let config = object_store::Config {
            bucket: bucket.name().to_owned(),
            description: Some(about.to_owned()),
            max_age,
            max_bytes: quotas
                .of(bucket)
                .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            num_replicas: replicas,
            ..Default::default()
        };
        make_object_bucket(js, bucket, config).await?;
    }
    Ok(())
}

async fn make_object_bucket(
    js: &Context,
    bucket: Bucket,
    config: object_store::Config,
) -> Result<(), BusError> {
    let what = || format!("make the bucket `{}`", bucket.name());
    let Ok(stream) = js.get_stream(bucket.stream()).await else {
        js.create_object_store(config).await.during(what())?;
        return Ok(());
    };
    let mut present = stream.cached_info().config.clone();
    if present.max_bytes != config.max_bytes {
        present.max_bytes = config.max_bytes;
        js.update_stream(present).await.during(what())?;
    }
    Ok(())
}

/// A durable consumer for each lane of a stage. No `backoff`: it would override the lease.
async fn make_consumer(js: &Context, stage: &StageSpec, lane: Lane) -> Result<(), BusError> {
    let name = names::consumer(&stage.name, lane);
    let config = pull::Config {
        durable_name: Some(name.clone()),
        description: Some(format!("Stemflow: tasks of the stage {}, lane {lane}", stage.name)),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: i64::from(stage.attempts + SPARE_DELIVERIES),
        filter_subject: names::tasks_of_stage(&stage.name, lane),
        max_waiting: MAX_WAITING,
        max_ack_pending: MAX_ACK_PENDING,
        ..Default::default()
    };
    let made = js.create_consumer_on_stream(config, names::STREAM).await;
    made.during(format!("make the consumer `{name}`"))?;
    Ok(())
}

/// What all gateways take notices from. Delivered as often as it takes: they give up by its age.
async fn make_callback_consumer(js: &Context) -> Result<(), BusError> {
    let config = pull::Config {
        durable_name: Some(names::CALLBACK.to_owned()),
        description: Some("Stemflow: who is to be told of a job's end".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        filter_subject: names::CALLBACKS.to_owned(),
        max_waiting: MAX_WAITING,
        max_ack_pending: MAX_CALLBACKS_PENDING,
        ..Default::default()
    };
    let made = js.create_consumer_on_stream(config, names::CALLBACK_STREAM).await;
    made.during(format!("make the consumer `{}`", names::CALLBACK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_is_refused_by_its_version() {
        for version in ["2.14.3", "2.14.10", "2.15.0-dev", "3.0.0"] {
            assert!(check_server(version).is_ok(), "{version}");
        }
        for version in ["2.9.10", "2.14.2", "1.4.1", "nonsense"] {
            let error = check_server(version).unwrap_err().to_string();
            assert!(error.contains("use 2.14.3 or a newer one"), "{error}");
        }
    }
}
