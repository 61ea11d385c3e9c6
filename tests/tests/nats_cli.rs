//! The front door for people with the `nats` command: put a song, ask for its separation, watch
//! it, get the stems.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

use tests::{Stack, tree};

/// The `nats` command; `None`, and a word about it, where this machine cannot have it.
fn nats() -> Option<String> {
    let found = Command::new(tree().join("scripts/nats-cli")).output().expect("the script runs");
    if found.status.code() == Some(3) {
        eprintln!("SKIPPED: {}", String::from_utf8_lossy(&found.stderr));
        return None;
    }
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    Some(String::from_utf8(found.stdout).expect("a path").trim().to_owned())
}

struct Cli<'a> {
    nats: String,
    stack: &'a Stack,
}

impl Cli<'_> {
    /// What `nats` prints.
    fn run(&self, arguments: &[&str]) -> String {
        let ran = Command::new(&self.nats)
            .current_dir(tree())
            .args(["--no-context", "--server", self.stack.nats_url(), "--timeout", "20s"])
            .args(arguments)
            .output()
            .expect("nats runs");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
        assert!(ran.status.success(), "nats {arguments:?}: {said}");
        said
    }

    /// The JSON that a service answers.
    fn ask(&self, subject: &str, request: &str) -> serde_json::Value {
        let said = self.run(&["request", "--raw", subject, request]);
        serde_json::from_str(said.trim()).unwrap_or_else(|_| panic!("{subject}: {said}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_is_separated_with_nothing_but_the_nats_command() {
    let Some(nats) = nats() else { return };
    let stack = Stack::start();
    let cli = Cli { nats, stack: &stack };

    assert!(cli.run(&["micro", "ls"]).contains("stemflow"));
    cli.run(&["object", "put", "queue", "demo/song.mp3", "--name", "song.mp3", "--force"]);
    let reply = cli.ask("stemflow.submit", r#"{"object":"song.mp3","stems":["vocals","bass"]}"#);
    let hash = reply["hash"].as_str().unwrap_or_else(|| panic!("{reply}"));
    let queue = cli.ask("stemflow.queue", "");
    assert_eq!(queue["queue_length"], 1, "{queue}");

    let status = stack.wait_for(hash).await;
    assert_eq!(status["state"], "done", "{status:#}");
    let told = cli.ask("stemflow.status", &format!(r#"{{"hash":"{hash}"}}"#));
    assert_eq!(told["state"], "done");
    assert!(cli.run(&["kv", "get", "jobs", hash, "--raw"]).contains(r#""state":"done""#));

    for stem in ["vocals", "bass"] {
        let file = stack.path(stem);
        let name = format!("{hash}/{stem}.mp3");
        cli.run(&["object", "get", "output", &name, "--output", file.to_str().unwrap(), "--force"]);
        assert_eq!(std::fs::read(file).unwrap(), stack.track(hash, stem).await);
    }
    // The song that a person has put there stays theirs.
    assert!(cli.run(&["object", "ls", "queue"]).contains("song.mp3"));

    let reply = cli.ask("stemflow.submit", r#"{"object":"nothing.mp3"}"#);
    assert!(reply["error"].as_str().unwrap().contains("nothing.mp3"), "{reply}");
}
