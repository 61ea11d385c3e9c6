//! The `decode` process.

use std::convert::Infallible;
use std::process::ExitCode;

fn main() -> ExitCode {
    workflow::serve("decode", || Ok::<_, Infallible>(decode::Decode))
}
