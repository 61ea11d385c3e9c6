//! What is told in the end.

use super::fetch::File;
use crate::api::{StageStatus, Status};
use crate::text;

/// Where the stems are, how long it took, and how the time divides over the stages.
pub(super) fn of(song: &str, files: &[File], status: &Status) -> String {
    let mut lines = vec![format!("{song}: {}", text::count(files.len(), "stem"))];
    let width = files.iter().map(|file| shown(file).chars().count()).max().unwrap_or(0);
    for file in files {
        lines.push(format!("  {:<width$}  {:>9}", shown(file), text::bytes(file.bytes)));
    }
    lines.push(String::new());
    lines.push(speed(status));
    lines.push(String::new());
    lines.extend(table(&status.stages));
    lines.join("\n")
}

fn shown(file: &File) -> String {
    file.path.display().to_string()
}

/// `30.0 s of music in 12.0 s: realtime factor 0.40 (2.5 times as fast as it plays)`.
fn speed(status: &Status) -> String {
    let took = text::seconds(status.elapsed_seconds);
    match (&status.manifest, status.realtime_factor) {
        (Some(manifest), Some(factor)) => format!(
            "{} of music in {took}: realtime factor {factor:.2}{}",
            text::seconds(manifest.seconds),
            in_words(factor)
        ),
        _ => format!("done in {took}"),
    }
}

fn in_words(factor: f64) -> String {
    if factor > 0.0 && factor < 1.0 {
        format!(" ({:.1} times as fast as it plays)", 1.0 / factor)
    } else {
        String::new()
    }
}

/// A line for each stage. Stages that run side by side share their time, so parts of it are shown,
/// not of the whole.
fn table(stages: &[StageStatus]) -> Vec<String> {
    let whole: f64 = stages.iter().map(|stage| stage.seconds).sum();
    let width = stages.iter().map(|stage| stage.name.len()).max().unwrap_or(0);
    let line = |stage: &StageStatus| {
        let StageStatus { name, tasks, seconds, .. } = stage;
        let part = if whole > 0.0 { 100.0 * seconds / whole } else { 0.0 };
        let (tasks, seconds) = (text::count(*tasks, "task"), text::seconds(*seconds));
        format!("  {name:<width$}  {tasks:>8}  {seconds:>12}  {part:>3.0} %")
    };
    stages.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_report_says_where_how_long_and_how_fast() {
        let status = serde_json::from_value(json!({
            "hash": "0".repeat(32), "name": "song.mp3", "state": "done", "progress": 1.0,
            "elapsed_seconds": 12.0, "realtime_factor": 0.4, "error": null,
            "stages": [
                { "name": "decode", "tasks": 1, "done": 1.0, "seconds": 1.0, "finished": true },
                { "name": "separate", "tasks": 12, "done": 12.0, "seconds": 9.0, "finished": true },
            ],
            "manifest": {
                "frames": 1_323_000, "seconds": 30.0, "sample_rate": 44100, "model": "mini",
                "model_sha256": "", "gain": 1.0, "stems": [],
                "source": { "sample_rate": 44100, "channels": 2, "delay_removed": 0,
                    "padding_removed": 0, "damaged_packets": 0 },
            },
        }));
        let files = [("out/vocals.mp3", 1_234_567), ("out/bass.mp3", 999)]
            .map(|(path, bytes)| File { path: path.into(), bytes });
        let report = of("song.mp3", &files, &status.unwrap());
        let expected = "\
song.mp3: 2 stems
  out/vocals.mp3     1.2 MB
  out/bass.mp3        999 B

30.0 s of music in 12.0 s: realtime factor 0.40 (2.5 times as fast as it plays)

  decode      1 task         1.0 s   10 %
  separate  12 tasks         9.0 s   90 %";
        assert_eq!(report, expected);
    }
}
