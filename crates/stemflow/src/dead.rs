//! `stemflow dead`: tasks that were given up, looked at, run again, dropped.

use anyhow::{Context, bail};
use serde_json::json;
use workflow::{Bus, Config, DeadLetter, JobId, LetterFilter, Redriven};

use crate::environment::ENVIRONMENT;
use crate::error::Usage;

const EXAMPLES: &str = "\
Examples:
  stemflow dead list                         what was given up, the oldest first
  stemflow dead list --stage separate        of one stage
  stemflow dead show --job 5f2b7c0e9d3a4186b1c2d3e4f5a60718
  stemflow dead redrive --all                run all of their jobs again
  stemflow dead drop --job 5f2b7c0e9d3a4186b1c2d3e4f5a60718";

/// Tasks that were given up: shows them, runs their jobs again, drops them.
///
/// A job that failed because of its input can be sent again, but not redriven: the input is gone.
#[derive(clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{}", *ENVIRONMENT))]
pub(crate) struct Args {
    #[command(subcommand)]
    deed: Deed,
    /// The NATS servers, comma-separated
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "NATS_URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    nats: String,
    /// As JSON, one record a line
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Deed {
    /// A line for each dead task: when, job, stage, key, attempts, reason
    List(Which),
    /// All that is known of them, and of their jobs
    Show(Which),
    /// Run their jobs again, from the input
    Redrive(Which),
    /// Forget them, and the inputs that were kept for them
    Drop(Which),
}

#[derive(clap::Args)]
struct Which {
    /// Of this job alone
    #[arg(long, value_name = "HASH")]
    job: Option<JobId>,
    /// Of this stage alone
    #[arg(long)]
    stage: Option<String>,
    /// Of this key alone: `0`, or an item of the stage's list
    #[arg(long)]
    key: Option<String>,
    /// All of them
    #[arg(long, conflicts_with_all = ["job", "stage", "key"])]
    all: bool,
}

impl Which {
    /// What changes something does not take "nothing said" for "all".
    fn must_be_said(&self) -> Result<(), Usage> {
        if self.all || self.job.is_some() || self.stage.is_some() || self.key.is_some() {
            return Ok(());
        }
        Err(Usage("say which: --job, --stage, --key, or --all".to_owned()))
    }

    fn filter(&self) -> LetterFilter {
        LetterFilter { job: self.job.clone(), stage: self.stage.clone(), key: self.key.clone() }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (Deed::List(which) | Deed::Show(which) | Deed::Redrive(which) | Deed::Drop(which)) =
        &args.deed;
    if let Deed::Redrive(_) | Deed::Drop(_) = &args.deed {
        which.must_be_said()?;
    }
    let config = Config { nats_url: args.nats.clone(), ..Config::from_env("stemflow dead")? };
    let bus = Bus::open(&config).await.context("nothing to look at")?;
    let filter = which.filter();
    let mut letters = bus.dead_letters().await?;
    letters.retain(|letter| filter.takes(letter));
    match args.deed {
        Deed::List(_) => list(&letters, args.json),
        Deed::Show(_) => show(&bus, &letters).await,
        Deed::Redrive(_) => redrive(&bus, &letters, args.json).await,
        Deed::Drop(_) => drop_all(&bus, &letters, args.json).await,
    }
}

fn list(letters: &[DeadLetter], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        for letter in letters {
            println!("{}", json!(letter));
        }
        return Ok(());
    }
    if letters.is_empty() {
        println!("no dead tasks");
    }
    for letter in letters {
        println!("{}", line(letter));
    }
    Ok(())
}

fn line(letter: &DeadLetter) -> String {
    let DeadLetter { task, code, reason, attempts, died, .. } = letter;
    let (run, stage, key) = (&task.run, &task.stage, &task.key);
    let tried = if *attempts == 0 { "?".to_owned() } else { attempts.to_string() };
    format!("{died:.0}  {run}  {stage}/{key}  {tried} tried  {code}: {reason}")
}

/// Each letter with the record of its job.
async fn show(bus: &Bus, letters: &[DeadLetter]) -> anyhow::Result<()> {
    for letter in letters {
        let job = bus.job(&letter.task.run.job).await?;
        println!("{}", serde_json::to_string_pretty(&json!({ "letter": letter, "job": job }))?);
    }
    Ok(())
}

async fn redrive(bus: &Bus, letters: &[DeadLetter], as_json: bool) -> anyhow::Result<()> {
    let mut refused = 0;
    // A job runs again once, however many of its tasks are dead.
    let mut runs = Vec::new();
    for letter in letters {
        let run = &letter.task.run;
        if runs.contains(run) {
            continue;
        }
        runs.push(run.clone());
        let redriven = bus.redrive(letter).await?;
        let (begun, told) = match redriven {
            Redriven::Begun(job) => (true, format!("runs again as {}", job.run_id())),
            Redriven::Refused(why) => (false, why),
        };
        refused += usize::from(!begun);
        let record = json!({ "run": run, "redriven": begun, "told": told });
        if as_json { println!("{record}") } else { println!("{run}: {told}") }
    }
    if refused > 0 {
        bail!("{refused} of {} could not be run again", runs.len());
    }
    Ok(())
}

async fn drop_all(bus: &Bus, letters: &[DeadLetter], as_json: bool) -> anyhow::Result<()> {
    for letter in letters {
        bus.drop_letter(letter).await?;
        if as_json {
            println!("{}", json!({ "dropped": letter }));
        }
    }
    if !as_json {
        println!("dropped {}", crate::text::count(letters.len(), "dead task"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_one_line() {
        let letter: DeadLetter = serde_json::from_value(json!({
            "task": { "run": format!("{}-2", "0".repeat(32)), "stage": "encode", "key": "bass", "of": 4 },
            "code": "gave-up", "reason": "out of luck", "attempts": 5, "redrivable": true,
            "died": "2026-11-22T10:00:00.123Z",
        }))
        .unwrap();
        assert_eq!(
            line(&letter),
            "2026-11-22T10:00:00Z  00000000000000000000000000000000-2  encode/bass  5 tried  gave-up: out of luck"
        );
    }

    #[test]
    fn all_must_be_said() {
        let which = |all| Which { job: None, stage: None, key: None, all };
        assert!(which(false).must_be_said().is_err());
        assert!(which(true).must_be_said().is_ok());
    }
}
