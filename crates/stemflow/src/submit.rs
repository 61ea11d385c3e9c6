//! `stemflow submit`: a song in, its stems out.
//!
//! | read | for |
//! |---|---|
//! | `submit/song.rs` | what is sent |
//! | `submit/watch.rs` | the time until the job has ended |
//! | `submit/fetch.rs` | the stems |
//! | `bar.rs`, `submit/report.rs` | what is shown meanwhile, and at the end |

mod fetch;
mod report;
mod song;
mod watch;

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use serde_json::json;
use workflow::{JobId, JobState};

use crate::api::{Gateway, Options, Status, Where};
use crate::bar::Bar;
use crate::error::{Interrupted, describe};
use crate::text;
use song::Song;

const EXAMPLES: &str = "\
Examples:
  stemflow submit song.mp3                          stems in out/
  stemflow submit song.flac --stems vocals --format wav --out vocals
  stemflow submit *.mp3                             stems in out/<song>/
  stemflow submit song.mp3 --no-wait                only hands it in, and tells its hash

What is shown while it runs goes to standard error, the result to standard output. The same song
with the same options is separated once; the second time its stems are there at once.";

/// Separates songs: hands them in, waits, and fetches their stems.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Audio files in any form
    #[arg(required = true, value_name = "SONG")]
    songs: Vec<PathBuf>,
    /// Where the stems go; with several songs, a folder for each in there
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
    #[command(flatten)]
    gateway: Where,
    /// Tell the result as JSON, a line for each song
    #[arg(long)]
    json: bool,
    /// Do not wait for the stems
    #[arg(long)]
    no_wait: bool,
}

/// What can be asked for. The gateway knows what can be had.
#[derive(clap::Args)]
struct Wanted {
    /// The model
    #[arg(long)]
    model: Option<String>,
    /// Only these stems, such as vocals,drums
    #[arg(long, value_name = "STEM,…", value_delimiter = ',')]
    stems: Vec<String>,
    /// mp3, flac or wav
    #[arg(long)]
    format: Option<String>,
    /// Constant bit rate of MP3 files in kbit/s
    #[arg(long, value_name = "KBITS")]
    bitrate: Option<u32>,
    /// How much of a segment it shares with the next, 0 to 0.9: more is smoother, and slower
    #[arg(long, value_name = "PART")]
    overlap: Option<f64>,
    /// interactive comes first, batch after it
    #[arg(long, value_name = "LANE")]
    lane: Option<workflow::Lane>,
}

impl Wanted {
    fn options(&self) -> Options {
        let stems = (!self.stems.is_empty()).then(|| self.stems.join(","));
        let options = [
            ("model", self.model.clone()),
            ("stems", stems),
            ("format", self.format.clone()),
            ("bitrate", self.bitrate.map(|bitrate| bitrate.to_string())),
            ("overlap", self.overlap.map(|overlap| overlap.to_string())),
            ("lane", self.lane.map(|lane| lane.to_string())),
        ];
        options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A song that the gateway has taken.
struct Job {
    song: Song,
    hash: JobId,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let songs = song::open_all(&args.songs, &args.out)?;
    let errand = Errand { gateway: args.gateway.gateway()?, args };
    let mut failures = Failures { of: songs.len(), errors: Vec::new() };
    let mut jobs = Vec::new();
    for song in songs {
        let name = song.name.clone();
        match errand.hand_in(song).await {
            Ok(job) => jobs.push(job),
            Err(error) => failures.note(&name, &error),
        }
    }
    if errand.args.no_wait {
        return failures.sum_up();
    }
    let mut finished = 0;
    let finish = async {
        for job in &jobs {
            if let Err(error) = errand.finish(job).await {
                failures.note(&job.song.name, &error);
            }
            finished += 1;
        }
    };
    tokio::select! {
        () = finish => failures.sum_up(),
        _ = tokio::signal::ctrl_c() => Err(errand.interrupted(&jobs[finished..]).into()),
    }
}

struct Errand {
    args: Args,
    gateway: Gateway,
}

impl Errand {
    async fn hand_in(&self, song: Song) -> anyhow::Result<Job> {
        let submitted = song.send(&self.gateway, self.args.wanted.options()).await?;
        let hash = submitted.hash;
        if self.args.no_wait {
            self.tell_handed_in(&song, &hash, &submitted.reason);
        }
        Ok(Job { song, hash })
    }

    fn tell_handed_in(&self, song: &Song, hash: &JobId, reason: &str) {
        let name = &song.name;
        if self.args.json {
            println!("{}", json!({ "song": name, "hash": hash, "reason": reason }));
        } else {
            println!("{name}: {reason}\n  {}", self.look(hash));
        }
    }

    /// Waits for a job that has been handed in, and fetches what came out.
    async fn finish(&self, job: &Job) -> anyhow::Result<()> {
        let bar = Bar::of_job(&job.song.name);
        let status = watch::until_final(&self.gateway, &job.hash, |status| bar.show(status)).await;
        bar.end();
        let status = status.map_err(|error| anyhow!("{error}; {}", self.goes_on(&job.hash)))?;
        let files = fetch::stems(&self.gateway, manifest_of(&status)?, &job.hash, &job.song.out);
        let files = files.await?;
        if self.args.json {
            let status = self.gateway.status_json(&job.hash).await?;
            println!("{}", json!({ "song": job.song.name, "files": files, "status": status }));
        } else {
            println!("{}", report::of(&job.song.name, &files, &status));
        }
        Ok(())
    }

    fn interrupted(&self, jobs: &[Job]) -> Interrupted {
        let lines: Vec<_> = jobs.iter().map(|job| self.goes_on(&job.hash)).collect();
        Interrupted(lines.join("\n"))
    }

    fn goes_on(&self, hash: &JobId) -> String {
        let option = self.args.gateway.option();
        format!("the job goes on\n  {}\n  stop it: stemflow cancel {hash}{option}", self.look(hash))
    }

    fn look(&self, hash: &JobId) -> String {
        format!("look at it: stemflow status {hash}{}", self.args.gateway.option())
    }
}

fn manifest_of(status: &Status) -> anyhow::Result<&separation::Manifest> {
    match (&status.state, &status.error, &status.manifest) {
        (JobState::Done, _, Some(manifest)) => Ok(manifest),
        (_, Some(error), _) => bail!("{} ({} in {})", error.message, error.code, error.stage),
        (state, ..) => bail!("the job is {state}, and there are no stems"),
    }
}

/// What went wrong, song by song.
struct Failures {
    /// How many songs there are.
    of: usize,
    errors: Vec<anyhow::Error>,
}

impl Failures {
    /// Tells it at once if there are more songs to come.
    fn note(&mut self, song: &str, error: &anyhow::Error) {
        let error = anyhow!("{song}: {}", describe(error));
        if self.of > 1 {
            eprintln!("stemflow: {error}");
        }
        self.errors.push(error);
    }

    fn sum_up(mut self) -> anyhow::Result<()> {
        match self.errors.len() {
            0 => Ok(()),
            1 if self.of == 1 => Err(self.errors.remove(0)),
            failed => bail!("{failed} of {} failed", text::count(self.of, "song")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn only_what_was_asked_for_is_sent() {
        Cli::command().debug_assert();
        let options = |words: &[&str]| {
            let words = ["submit", "song.mp3"].iter().chain(words);
            Cli::try_parse_from(words).unwrap().args.wanted.options()
        };
        assert_eq!(options(&[]), []);
        assert_eq!(
            options(&["--stems", "vocals,drums", "--overlap", "0.5", "--lane", "batch"]),
            [
                ("stems", "vocals,drums".to_owned()),
                ("overlap", "0.5".to_owned()),
                ("lane", "batch".to_owned())
            ]
        );
        assert!(Cli::try_parse_from(["submit"]).is_err());
    }
}
