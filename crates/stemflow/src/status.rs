//! `stemflow status`: one job, or the queue.

use serde_json::json;
use workflow::JobId;

use crate::api::{Gateway, StageStatus, Status, Where};
use crate::text;

/// Jobs of a long queue that are shown: each is asked for by itself.
const SHOWN: usize = 20;

const EXAMPLES: &str = "\
Examples:
  stemflow status                                    what is waiting and running
  stemflow status 5f2b7c0e9d3a4186b1c2d3e4f5a60718   one job
  stemflow status 5f2b7c0e9d3a4186b1c2d3e4f5a60718 --json";

/// Tells how a job stands, or which jobs there are.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The job, by the hash that `submit` told
    hash: Option<JobId>,
    #[command(flatten)]
    gateway: Where,
    /// As the gateway tells it
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let gateway = args.gateway.gateway()?;
    match (&args.hash, args.json) {
        (Some(hash), true) => println!("{}", gateway.status_json(hash).await?),
        (Some(hash), false) => println!("{}", describe(&gateway.status(hash).await?)),
        (None, true) => println!("{}", json!(gateway.queue().await?)),
        (None, false) => println!("{}", queue(&gateway).await?),
    }
    Ok(())
}

async fn queue(gateway: &Gateway) -> anyhow::Result<String> {
    let jobs = gateway.queue().await?.queue;
    if jobs.is_empty() {
        return Ok("no jobs: nothing is waiting, nothing is running".to_owned());
    }
    let mut lines = Vec::new();
    for job in jobs.iter().take(SHOWN) {
        lines.push(summary(&gateway.status(job).await?));
    }
    if jobs.len() > SHOWN {
        lines.push(format!("and {} more", jobs.len() - SHOWN));
    }
    Ok(lines.join("\n"))
}

/// A job in one line.
fn summary(status: &Status) -> String {
    let Status { hash, state, progress, elapsed_seconds, .. } = status;
    let (percent, elapsed) = (100.0 * progress, text::seconds(*elapsed_seconds));
    let name = status.name.as_deref().unwrap_or_default();
    let state = state.to_string();
    format!("{hash}  {state:<10}  {percent:>3.0} %  {elapsed:>12}  {name}")
}

/// A job in full.
fn describe(status: &Status) -> String {
    let mut lines = vec![summary(status)];
    if let Some(error) = &status.error {
        lines.push(format!("\n  {} ({} in {})", error.message, error.code, error.stage));
    }
    lines.push(String::new());
    lines.extend(status.stages.iter().map(stage));
    if let Some(manifest) = &status.manifest {
        let files: Vec<_> = manifest.stems.iter().map(|stem| stem.file.as_str()).collect();
        lines.push(format!("\n  {}: {}", manifest.model, files.join(", ")));
    }
    lines.join("\n")
}

fn stage(stage: &StageStatus) -> String {
    let StageStatus { name, tasks, done, seconds } = stage;
    match tasks {
        0 => format!("  {name:<10}  not begun"),
        _ => format!("  {name:<10}  {done} of {tasks}  {:>12}", text::seconds(*seconds)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failed_job_says_why() {
        let status: Status = serde_json::from_value(json!({
            "hash": "0".repeat(32), "name": "notes.txt", "state": "failed", "progress": 0.0,
            "elapsed_seconds": 0.3, "realtime_factor": null, "manifest": null,
            "stages": [
                { "name": "decode", "tasks": 1, "done": 0.0, "seconds": 0.3, "finished": false },
                { "name": "separate", "tasks": 0, "done": 0.0, "seconds": 0.0, "finished": false },
            ],
            "error": { "code": "not-audio", "message": "send an audio file", "stage": "decode" },
        }))
        .unwrap();
        assert_eq!(
            describe(&status),
            "00000000000000000000000000000000  failed        0 %         0.3 s  notes.txt\n\
             \n  send an audio file (not-audio in decode)\n\
             \n  decode      0 of 1         0.3 s\n  separate    not begun"
        );
    }
}
