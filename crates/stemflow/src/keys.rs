//! `stemflow keys`: a key for each user of the bus.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nkeys::{KeyPair, KeyPairType};
use workflow::permissions::users;

use crate::accounts::{self, SYSTEM, variable};
use crate::stages::Stages;

const EXAMPLES: &str = "\
Examples:
  stemflow keys --out keys          DIR/decode.nk and so on, and DIR/keys.conf
  NATS_NKEY=keys/decode.nk decode   a service is told which file is its own

Seeds that are there are kept: after a stage was added, only its own is made. A seed that got out is
deleted, and made anew by the same command; then the servers are told (nats-server --signal reload).";

/// Makes a key for each user of the bus: the seeds, and what nats-server has to know of them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where: a file USER.nk with the seed of each user, and keys.conf with their public keys
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    stages: Stages,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let graph = accounts::read(&args.stages)?;
    let mut names = vec![SYSTEM.to_owned()];
    names.extend(users(&graph).into_iter().map(|user| user.name));
    let shown = args.out.display();
    fs::create_dir_all(&args.out).with_context(|| format!("failed to make {shown}"))?;
    let mut known = String::from(PUBLIC);
    for name in &names {
        let key = seed(&args.out.join(format!("{name}.nk")))?;
        known += &format!("{}: {}\n", variable(name), key.public_key());
    }
    let path = args.out.join("keys.conf");
    fs::write(&path, known).with_context(|| format!("failed to write {}", path.display()))?;
    println!("{shown} has the keys of {}.", names.join(", "));
    Ok(())
}

const PUBLIC: &str =
    "# The public keys of the users in accounts.conf; no secrets. Made by `stemflow keys`.\n";

/// The seed of that file, or a new one that is in it now.
fn seed(path: &Path) -> anyhow::Result<KeyPair> {
    let shown = path.display();
    // Nobody else may read it, from its first byte on.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(file) => write_seed(file).with_context(|| format!("failed to write {shown}")),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read_seed(path),
        Err(error) => Err(error).with_context(|| format!("failed to make {shown}")),
    }
}

fn write_seed(mut file: File) -> anyhow::Result<KeyPair> {
    let key = KeyPair::new_user();
    writeln!(file, "{}", key.seed()?)?;
    Ok(key)
}

fn read_seed(path: &Path) -> anyhow::Result<KeyPair> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {shown}"))?;
    match KeyPair::from_seed(text.trim()) {
        Ok(key) if key.key_pair_type() == KeyPairType::User => Ok(key),
        _ => bail!("{shown} holds no user's seed: delete it to have it made anew"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn keys(out: &Path, workflow: &str) -> anyhow::Result<String> {
        let path = out.join("workflow.toml");
        fs::write(&path, workflow)?;
        run(&Args { out: out.to_owned(), stages: Stages { workflow: path } })?;
        Ok(fs::read_to_string(out.join("keys.conf"))?)
    }

    #[test]
    fn a_new_stage_gets_a_key_and_all_others_keep_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let one = keys(folder.path(), "[[stage]]\nname = \"one\"").unwrap();
        let seed = fs::read_to_string(folder.path().join("one.nk")).unwrap();
        assert!(seed.starts_with("SU"), "{seed}");
        let two =
            keys(folder.path(), "[[stage]]\nname = \"one\"\n[[stage]]\nname = \"two\"").unwrap();
        for line in one.lines() {
            assert!(two.contains(line), "{line} in {two}");
        }
        assert!(!one.contains("NKEY_TWO: U") && two.contains("NKEY_TWO: U"), "{two}");
        assert!(two.contains("NKEY_SYS: U") && two.contains("NKEY_GATEWAY: U"), "{two}");
    }

    #[test]
    fn seeds_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        keys(folder.path(), "[[stage]]\nname = \"one\"").unwrap();
        let mode = fs::metadata(folder.path().join("one.nk")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_seed_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one.nk"), "my only copy").unwrap();
        let error = keys(folder.path(), "[[stage]]\nname = \"one\"").unwrap_err().to_string();
        assert!(error.ends_with("one.nk holds no user's seed: delete it to have it made anew"));
        let kept = fs::read_to_string(folder.path().join("one.nk")).unwrap();
        assert_eq!(kept, "my only copy");
    }
}
