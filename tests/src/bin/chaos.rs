//! `make chaos`: see `tests/src/chaos/`. Settings come from the environment: `MINUTES`, `SEED`,
//! `RATE` (songs per second).

use std::env;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use tests::chaos::{Settings, run};

const DEFAULT_MINUTES: f64 = 5.0;
const DEFAULT_RATE: f64 = 0.5;

fn main() -> ExitCode {
    let settings = match settings() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("chaos: {error}");
            return ExitCode::from(2);
        }
    };
    let folder = tempfile::Builder::new().prefix("stemflow-chaos-").tempdir();
    let folder = folder.expect("a directory can be made");
    println!("chaos: {settings:?}, logs in {}", folder.path().display());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let summary = runtime.block_on(run(settings, folder.path()));
    println!("{summary}");
    if summary.violations().next().is_none() {
        return ExitCode::SUCCESS;
    }
    for violation in summary.violations() {
        println!("VIOLATION {violation}");
    }
    println!("logs and findings are in {}", folder.keep().display());
    ExitCode::FAILURE
}

fn settings() -> Result<Settings, String> {
    let minutes = number("MINUTES", DEFAULT_MINUTES)?;
    if !(minutes > 0.0 && minutes < 1e6) {
        return Err(format!("MINUTES is {minutes}: more than 0 is"));
    }
    Ok(Settings {
        seed: number("SEED", fastrand::u64(..))?,
        storm: Duration::from_secs_f64(60.0 * minutes),
        rate: number("RATE", DEFAULT_RATE)?,
    })
}

/// A number from the environment; what is set to nothing is not set.
fn number<T: FromStr>(variable: &str, default: T) -> Result<T, String> {
    match env::var(variable) {
        Ok(text) if !text.is_empty() => {
            text.parse().map_err(|_| format!("{variable} is `{text}`: a number is"))
        }
        _ => Ok(default),
    }
}
