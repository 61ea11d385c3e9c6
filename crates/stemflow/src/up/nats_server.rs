//! Which nats-server to run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;
use workflow::layout::OLDEST_SERVER;

type Version = (u64, u64, u64);

/// Where `scripts/setup` puts it.
const SET_UP: &str = ".stemflow/bin/nats-server";

/// The nats-server that was given, or the first that is new enough: the one of `scripts/setup`,
/// one beside our own programs, one on PATH.
pub(super) fn find(given: Option<&Path>, programs: &Path) -> anyhow::Result<PathBuf> {
    let candidates = match given {
        Some(path) => vec![path.to_owned()],
        None => candidates(programs),
    };
    choose(candidates, version_of)
}

fn candidates(programs: &Path) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("nats-server"));
    [PathBuf::from(SET_UP), programs.join("nats-server")].into_iter().chain(on_path).collect()
}

fn choose(
    candidates: Vec<PathBuf>,
    version_of: impl Fn(&Path) -> Option<Version>,
) -> anyhow::Result<PathBuf> {
    let mut too_old = None;
    for path in candidates {
        match version_of(&path) {
            Some(version) if version >= OLDEST_SERVER => return Ok(path),
            Some(version) => too_old = too_old.or(Some((path, version))),
            None => {}
        }
    }
    let needed = dotted(OLDEST_SERVER);
    match too_old {
        Some((path, version)) => bail!(
            "{} is version {}, {needed} or newer is needed: run scripts/setup",
            path.display(),
            dotted(version)
        ),
        None => bail!(
            "no nats-server {needed} or newer was found: run scripts/setup, or name one with --nats-server"
        ),
    }
}

fn version_of(path: &Path) -> Option<Version> {
    let output = Command::new(path).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// `nats-server: v2.14.6`, or with `-RC.1` behind it.
fn parse_version(text: &str) -> Option<Version> {
    let version = text.trim().strip_prefix("nats-server: v")?;
    let mut numbers = version.split('-').next()?.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

fn dotted((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose_from(known: &[(&str, Option<Version>)]) -> anyhow::Result<PathBuf> {
        let candidates = known.iter().map(|(path, _)| PathBuf::from(path)).collect();
        choose(candidates, |path| known.iter().find(|(known, _)| Path::new(known) == path)?.1)
    }

    #[test]
    fn the_first_that_is_new_enough_is_taken() {
        let found = choose_from(&[
            ("missing", None),
            ("old", Some((2, 9, 10))),
            ("new", Some((2, 14, 6))),
            ("newer", Some((3, 0, 0))),
        ]);
        assert_eq!(found.unwrap(), Path::new("new"));
    }

    #[test]
    fn without_one_the_next_step_is_told() {
        let error = choose_from(&[("missing", None)]).unwrap_err().to_string();
        assert!(error.contains("run scripts/setup"), "{error}");
        let error = choose_from(&[("old", Some((2, 9, 10)))]).unwrap_err().to_string();
        assert_eq!(error, "old is version 2.9.10, 2.14.3 or newer is needed: run scripts/setup");
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("nats-server: v2.14.6\n"), Some((2, 14, 6)));
        assert_eq!(parse_version("nats-server: v2.15.0-RC.1\n"), Some((2, 15, 0)));
        assert_eq!(parse_version("bash: no such thing"), None);
    }
}
