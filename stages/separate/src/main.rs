//! The `separate` process.

use std::process::ExitCode;

fn main() -> ExitCode {
    workflow::serve("separate", separate::Separate::from_env)
}
