//! `stemflow accounts`: who may do what on the bus, as nats-server reads it.

use std::fmt::Write;

use anyhow::bail;
use workflow::Graph;
use workflow::permissions::{Permission, SERVICES, User, users};

use crate::stages::Stages;

const EXAMPLES: &str = "\
Examples:
  stemflow accounts > nats/accounts.conf    after a stage was added to workflow.toml
  stemflow keys --out nats/keys             a key for each of these users

`nats/cluster.conf` includes what this prints.";

const HEAD: &str = "\
# Who may do what on the bus. Made from workflow.toml: stemflow accounts > nats/accounts.conf
#
# Each service has a user of its own, known by an NKEY: its public key stands in keys.conf, its seed
# lies with the service alone (`stemflow keys` makes both). What is not allowed here is refused.
#
# Three things are wider than one would like, since the server's permissions see subjects and not
# what stands in a request: a stage may purge the streams in which it frees what an ended run has
# left, may read the facts of all stages, and may change the record of any job.

include keys.conf

system_account: SYS

accounts {
  # For those who run the servers: nats server report, and the like.
  SYS {
    users: [ { nkey: $NKEY_SYS } ]
  }

  STEMFLOW {
    jetstream {
      # Streams have their own limits, and max_file_store stands above all; these are for mistakes.
      max_mem: 256MB
      max_file: -1
      max_streams: 32
      max_consumers: 10000
    }
    users: [
";
const TAIL: &str = "    ]\n  }\n}\n";

/// Prints the users of the bus and what each may do, for nats-server.
///
/// A stage's permissions follow from its place in the workflow: it takes its own tasks, writes its
/// own facts, and releases the stages right after it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    stages: Stages,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    print!("{}", configuration(&read(&args.stages)?));
    Ok(())
}

/// Reads a workflow all of whose stages can have a user.
pub(crate) fn read(stages: &Stages) -> anyhow::Result<Graph> {
    let graph = stages.read()?;
    let taken = graph.stages().iter().find(|stage| is_taken(&stage.name));
    if let Some(stage) = taken {
        bail!("no stage can be called `{}`: the bus has another user of that name", stage.name);
    }
    Ok(graph)
}

fn is_taken(name: &str) -> bool {
    name == SYSTEM || SERVICES.contains(&name)
}

/// The user of the system account.
pub(crate) const SYSTEM: &str = "sys";

/// What a user's public key is called in the servers' configuration.
pub(crate) fn variable(user: &str) -> String {
    format!("NKEY_{}", user.to_uppercase().replace('-', "_"))
}

fn configuration(graph: &Graph) -> String {
    let users: Vec<String> = users(graph).iter().map(block).collect();
    format!("{HEAD}{}{TAIL}", users.join("\n"))
}

fn block(user: &User) -> String {
    let User { name, about, publish, subscribe, answers } = user;
    let mut text = format!("      # {name}: {about}.\n      {{\n");
    let _ = writeln!(text, "        nkey: ${}", variable(name));
    text += "        permissions {\n";
    text += &list("publish", publish);
    text += &list("subscribe", subscribe);
    if *answers {
        text += "          # Answer what it is asked, wherever the answer goes.\n";
        text += "          allow_responses: { max: 1, expires: \"1m\" }\n";
    }
    text + "        }\n      }\n"
}

/// The reason stands once above all subjects that it is the reason for.
fn list(what: &str, permissions: &[Permission]) -> String {
    let mut text = format!("          {what} {{ allow: [\n");
    for same in permissions.chunk_by(|a, b| a.why == b.why) {
        let _ = writeln!(text, "            # {}", same[0].why);
        for Permission { subject, .. } in same {
            let _ = writeln!(text, "            \"{subject}\"");
        }
    }
    text + "          ] }\n"
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn tree() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
    }

    #[test]
    fn the_accounts_in_the_tree_are_those_of_the_workflow_in_the_tree() {
        let graph = read(&Stages { workflow: tree().join("workflow.toml") }).unwrap();
        let kept = std::fs::read_to_string(tree().join("nats/accounts.conf")).unwrap();
        assert!(
            kept == configuration(&graph),
            "nats/accounts.conf is old: stemflow accounts > nats/accounts.conf"
        );
    }

    #[test]
    fn a_stage_cannot_have_the_name_of_another_user() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workflow.toml");
        std::fs::write(&path, "[[stage]]\nname = \"admin\"").unwrap();
        let error = read(&Stages { workflow: path }).unwrap_err().to_string();
        assert!(error.starts_with("no stage can be called `admin`"), "{error}");
    }

    #[test]
    fn variables_are_words_that_a_configuration_can_hold() {
        assert_eq!(variable("decode"), "NKEY_DECODE");
        assert_eq!(variable("two-words"), "NKEY_TWO_WORDS");
    }
}
