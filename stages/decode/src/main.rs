//! The `decode` process.

use std::process::ExitCode;

use decode::{Decode, LONG};
use workflow::{ConfigError, duration_from_env};

fn main() -> ExitCode {
    workflow::serve("decode", || {
        Ok::<_, ConfigError>(Decode { long: duration_from_env("STEMFLOW_LONG", LONG)? })
    })
}
