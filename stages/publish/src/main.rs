//! The `publish` process.

use std::convert::Infallible;
use std::process::ExitCode;

fn main() -> ExitCode {
    workflow::serve("publish", || Ok::<_, Infallible>(publish::Publish))
}
