//! What is shown while one waits: a bar in a terminal, a line for each tenth elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::api::Status;

const BYTES: &str = "{prefix}  {msg:10} {bar:30} {percent:>3} %  {binary_bytes_per_sec}";
const JOB: &str = "{prefix}  {msg:10} {bar:30} {percent:>3} %  {elapsed}";
/// A job's progress has no unit: it is counted in these.
const PARTS: u64 = 1000;
/// The bar moves on even if nothing is told, for its clock.
const TICK: Duration = Duration::from_millis(250);

/// How far something is.
#[derive(Clone)]
pub(crate) struct Bar {
    bar: ProgressBar,
    /// The last line that was written; where a bar can be drawn, none are.
    told: Option<Arc<Mutex<String>>>,
}

impl Bar {
    /// For a song on its way to the gateway.
    pub(crate) fn of_upload(song: &str, bytes: u64) -> Self {
        let bar = Self::new(song, bytes, BYTES);
        bar.bar.set_message("uploading");
        bar
    }

    /// For a file on its way here.
    pub(crate) fn of_download(file: &str, bytes: u64) -> Self {
        let bar = Self::new(file, bytes, BYTES);
        bar.bar.set_message("fetching");
        bar
    }

    /// For a job.
    pub(crate) fn of_job(song: &str) -> Self {
        Self::new(song, PARTS, JOB)
    }

    fn new(song: &str, length: u64, template: &str) -> Self {
        // Nothing is drawn where standard error is not a terminal.
        let bar = ProgressBar::new(length).with_prefix(song.to_owned());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(TICK);
            return Self { bar, told: None };
        }
        Self { bar, told: Some(Arc::default()) }
    }

    /// So many bytes more have been read.
    pub(crate) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.tell();
    }

    /// So many bytes are there.
    pub(crate) fn set(&self, bytes: u64) {
        self.bar.set_position(bytes);
        self.tell();
    }

    pub(crate) fn show(&self, status: &Status) {
        self.bar.set_message(status.state.to_string());
        self.bar.set_position((status.progress * PARTS as f64) as u64);
        self.tell();
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn tell(&self) {
        let Some(told) = &self.told else { return };
        let percent = 100 * self.bar.position() / self.bar.length().unwrap_or(1).max(1);
        let line = line(&self.bar.prefix(), &self.bar.message(), percent);
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != line {
            eprintln!("{line}");
            *told = line;
        }
    }
}

/// The same for all percents of one tenth.
fn line(song: &str, doing: &str, percent: u64) -> String {
    format!("{song}: {doing}, {} %", percent / 10 * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_one_for_each_tenth() {
        assert_eq!(line("song.mp3", "separating", 39), "song.mp3: separating, 30 %");
        assert_eq!(line("song.mp3", "separating", 30), line("song.mp3", "separating", 39));
        assert_eq!(line("song.mp3", "done", 100), "song.mp3: done, 100 %");
    }
}
