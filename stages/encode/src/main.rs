//! The `encode` process.

use std::convert::Infallible;
use std::process::ExitCode;

fn main() -> ExitCode {
    workflow::serve("encode", || Ok::<_, Infallible>(encode::Encode))
}
