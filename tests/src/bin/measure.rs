//! What the processes of a stack hold: `measure memory [MINUTES…]` for songs of these lengths and an
//! upload of 1 GB, `measure growth [FEW MANY [IDLE_MINUTES]]` after that many small jobs. One
//! server; prints a table.

use std::process::ExitCode;
use std::time::Duration;

use tests::measure::{SETTLE, growth, memory};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<usize> =
        arguments.iter().skip(1).filter_map(|text| text.parse().ok()).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    match (arguments.first().map(String::as_str), &numbers[..]) {
        (Some("memory"), []) => runtime.block_on(memory(&[1, 30, 120])),
        (Some("memory"), minutes) => runtime.block_on(memory(minutes)),
        (Some("growth"), []) => runtime.block_on(growth(100, 1000, SETTLE)),
        (Some("growth"), [few, many]) => runtime.block_on(growth(*few, *many, SETTLE)),
        (Some("growth"), [few, many, idle]) => {
            runtime.block_on(growth(*few, *many, Duration::from_secs(60 * *idle as u64)));
        }
        _ => {
            eprintln!("use: measure memory [MINUTES…] | measure growth [FEW MANY [IDLE_MINUTES]]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
