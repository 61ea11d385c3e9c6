//! A stage of the diamond as a process, for tests that kill it: `STAGE` says which.

use std::convert::Infallible;
use std::process::ExitCode;

use tests::{Closure, STAGES, stage};
use workflow::Task;

fn main() -> ExitCode {
    let wanted = std::env::var("STAGE").unwrap_or_default();
    let Some(name) = STAGES.into_iter().find(|name| *name == wanted) else {
        eprintln!("STAGE is `{wanted}`: one of {} is", STAGES.join(", "));
        return ExitCode::from(2);
    };
    let run = move |task: &Task| {
        if task.key() == "poison" {
            std::process::abort();
        }
        stage(name)(task)
    };
    workflow::serve(name, || Ok::<_, Infallible>(Closure { name, slots: 1, run }))
}
