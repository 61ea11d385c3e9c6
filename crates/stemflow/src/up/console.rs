//! The log: the lines of all processes on standard error, each with the name of its process.

use std::io::{self, IsTerminal, Write};

/// The supervisor's own name in the log.
pub(super) const OWN_NAME: &str = "stemflow";

/// The ANSI colours of the names: none is red, which is for errors.
const COLOURS: [u8; 6] = [36, 32, 33, 35, 34, 96];

/// How names are written.
pub(super) struct Console {
    /// In the order of starting, our own first: the place of a name is its colour.
    names: Vec<String>,
    width: usize,
    is_coloured: bool,
}

/// Where the lines of one process go.
#[derive(Clone)]
pub(super) struct Log {
    prefix: String,
}

impl Console {
    /// For processes of these names.
    pub(super) fn new<'a>(processes: impl Iterator<Item = &'a str>) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let names: Vec<_> = [OWN_NAME].into_iter().chain(processes).map(str::to_owned).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        Self { names, width, is_coloured: wanted && io::stderr().is_terminal() }
    }

    /// The log of the process `name`.
    pub(super) fn log(&self, name: &str) -> Log {
        let place = self.names.iter().position(|known| known == name).unwrap_or(0);
        let colour = self.is_coloured.then(|| COLOURS[place % COLOURS.len()]);
        Log { prefix: prefix(name, self.width, colour) }
    }
}

fn prefix(name: &str, width: usize, colour: Option<u8>) -> String {
    match colour {
        Some(colour) => format!("\x1b[{colour}m{name:<width$} |\x1b[0m "),
        None => format!("{name:<width$} | "),
    }
}

impl Log {
    /// Writes a line. If nobody reads any more, the work goes on without a log.
    pub(super) fn line(&self, line: impl AsRef<str>) {
        let line = format!("{}{}\n", self.prefix, line.as_ref());
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_aligned() {
        let mut console = Console::new(["gateway", "separate.2"].into_iter());
        console.is_coloured = false;
        assert_eq!(console.log("gateway").prefix, "gateway    | ");
        assert_eq!(console.log("separate.2").prefix, "separate.2 | ");
        assert_eq!(console.log(OWN_NAME).prefix, "stemflow   | ");
    }

    #[test]
    fn colours_end_before_the_line() {
        assert_eq!(prefix("nats", 6, Some(36)), "\x1b[36mnats   |\x1b[0m ");
    }
}
