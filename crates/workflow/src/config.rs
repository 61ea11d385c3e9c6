//! What a process is told by its environment.

use std::env;
use std::fmt::Display;
use std::time::Duration;

use crate::access::Access;

/// Shorter than the 30 s that Kubernetes gives by default.
const DEFAULT_GRACE: Duration = Duration::from_secs(20);

/// One task of the lane `batch` for three of the other.
const DEFAULT_BATCH_SHARE: usize = 4;

/// How a process reaches NATS and what it is called there.
#[derive(Clone, Debug)]
pub struct Config {
    /// Comma-separated servers (`NATS_URL`, default `nats://127.0.0.1:4222`).
    pub nats_url: String,
    /// Who it is to NATS, and whom it trusts there.
    pub access: Access,
    /// The name that the server shows for this connection: the stage, mostly.
    pub name: String,
    /// How many tasks run at once (`STEMFLOW_CONCURRENCY`); the stage's own number if absent.
    pub concurrency: Option<usize>,
    /// One in so many tasks is of the lane `batch` while tasks of both wait
    /// (`STEMFLOW_BATCH_SHARE`, default 4).
    pub batch_share: usize,
    /// How long a task may go on after SIGTERM before it is given back (`STEMFLOW_GRACE`).
    pub grace: Duration,
}

/// A variable of the environment has a value that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{variable} is `{value}`, {what}")]
pub struct ConfigError {
    variable: &'static str,
    value: String,
    what: String,
}

impl ConfigError {
    /// `what` goes on where "VARIABLE is `value`," ends.
    pub(crate) fn new(
        variable: &'static str,
        value: impl Display,
        what: impl Into<String>,
    ) -> Self {
        Self { variable, value: value.to_string(), what: what.into() }
    }
}

impl Config {
    /// Reads the environment once, for a process called `name`.
    pub fn from_env(name: &str) -> Result<Self, ConfigError> {
        let nats_url = env::var("NATS_URL").unwrap_or_else(|_| "nats://127.0.0.1:4222".to_owned());
        let concurrency = match env::var("STEMFLOW_CONCURRENCY") {
            Ok(value) => Some(positive("STEMFLOW_CONCURRENCY", value)?),
            Err(_) => None,
        };
        let grace = duration_from_env("STEMFLOW_GRACE", DEFAULT_GRACE)?;
        let batch_share = match env::var("STEMFLOW_BATCH_SHARE") {
            Ok(value) => positive("STEMFLOW_BATCH_SHARE", value)?,
            Err(_) => DEFAULT_BATCH_SHARE,
        };
        let access = Access::from_env()?;
        Ok(Self { grace, batch_share, nats_url, access, name: name.to_owned(), concurrency })
    }
}

fn positive(variable: &'static str, value: String) -> Result<usize, ConfigError> {
    match value.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(ConfigError::new(variable, value, "expected is a whole number of 1 or more")),
    }
}

/// A time that a variable of the environment gives, such as `20s` or `2m`.
pub fn duration_from_env(
    variable: &'static str,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Ok(value) = env::var(variable) else { return Ok(default) };
    humantime::parse_duration(&value)
        .map_err(|_| ConfigError::new(variable, value, "expected is a time such as 20s or 2m"))
}

/// A number of bytes, such as `500MB` or `2GiB`.
///
/// # Errors
/// If it is none; the text says what would be one.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1000_u64.pow(2),
        "g" | "gb" => 1000_u64.pow(3),
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err("use a whole number with KB, MB, GB, KiB, MiB or GiB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "begin with a whole number".to_owned())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(|| "out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(parse_bytes("16"), Ok(16));
        assert_eq!(parse_bytes("16MB"), Ok(16_000_000));
        assert_eq!(parse_bytes("2 GiB"), Ok(2 << 30));
        for wrong in ["", "MB", "1.5GB", "-1", "0", "9 parsecs", "99999999999GiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
