//! `stemflow cancel`: a job that is not wanted any more.

use workflow::JobId;

use crate::api::Where;

/// Cancels a job, or deletes what is left of one that has ended.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The job, by the hash that `submit` told
    hash: JobId,
    #[command(flatten)]
    gateway: Where,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let answer = args.gateway.gateway()?.cancel(&args.hash).await?;
    let told = answer["reason"].as_str().or(answer["state"].as_str()).unwrap_or("cancelled");
    println!("{}: {told}", args.hash);
    Ok(())
}
