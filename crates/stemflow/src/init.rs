//! `stemflow init`: the streams, buckets and consumers that Stemflow lives in.

use anyhow::Context;
use async_nats::jetstream::{self, stream};
use futures::TryStreamExt;
use workflow::layout::{self, Layout, Quotas};
use workflow::{Backlog, Bus, Config, Graph, parse_bytes};

use crate::environment::ENVIRONMENT;
use crate::stages::Stages;
use crate::text;

/// What every description of ours begins with.
const OURS: &str = "Stemflow: ";

/// Makes the streams, buckets and consumers in NATS, and shows them. What is there stays.
///
/// The gateway does the same when it starts; this is for those who want it done before.
#[derive(clap::Args)]
#[command(after_help = ENVIRONMENT.as_str())]
pub(crate) struct Args {
    /// The NATS servers, comma-separated
    #[arg(
        long,
        value_name = "URL",
        env = "NATS_URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    nats: String,
    #[command(flatten)]
    stages: Stages,
    /// How many servers keep a copy: 1 for one server, 3 for a cluster
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: usize,
    /// The most that the bucket of songs may hold; without, what the servers have
    #[arg(long, value_name = "BYTES", env = "STEMFLOW_QUOTA_QUEUE", value_parser = parse_bytes)]
    quota_queue: Option<u64>,
    /// The same of what stages hand to each other
    #[arg(long, value_name = "BYTES", env = "STEMFLOW_QUOTA_WORK", value_parser = parse_bytes)]
    quota_work: Option<u64>,
    /// The same of stems
    #[arg(long, value_name = "BYTES", env = "STEMFLOW_QUOTA_OUTPUT", value_parser = parse_bytes)]
    quota_output: Option<u64>,
}

impl Args {
    fn layout(&self) -> Layout {
        let Self { quota_queue: queue, quota_work: work, quota_output: output, .. } = *self;
        Layout { replicas: self.replicas, quotas: Quotas { queue, work, output } }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let graph = args.stages.read()?;
    let config = Config { nats_url: args.nats.clone(), ..Config::from_env("stemflow init")? };
    let bus = layout::ensure_as(&config, &graph, args.layout()).await?;
    println!("{} is set up for Stemflow.\n", args.nats);
    for line in inventory(&bus, &graph).await.context("failed to list what is there")? {
        println!("  {line}");
    }
    Ok(())
}

/// A line for each stream of ours, buckets among them, and for each stage's consumer.
async fn inventory(bus: &Bus, graph: &Graph) -> anyhow::Result<Vec<String>> {
    let js = jetstream::new(bus.client().clone());
    let mut streams: Vec<stream::Info> = js.streams().try_collect().await?;
    streams.sort_by(|a, b| a.config.name.cmp(&b.config.name));
    let mut lines = Vec::new();
    for stream in &streams {
        let description = stream.config.description.as_deref().unwrap_or_default();
        let Some(about) = description.strip_prefix(OURS) else { continue };
        let (messages, bytes) = (stream.state.messages, text::bytes(stream.state.bytes));
        lines.push(format!(
            "{:<14} {messages:>8} messages  {bytes:>9}  {about}",
            stream.config.name
        ));
    }
    for Backlog { stage, waiting, in_hand, .. } in bus.backlogs(graph).await? {
        lines.push(format!("{stage:<14} {waiting:>8} tasks waiting, {in_hand} in hand"));
    }
    Ok(lines)
}
