//! What holds for any model, tried on a small one.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;

use audio::{Grid, Join, Shard, Shards, Stats, Waveform};
use demucs::{Demucs, Device, Mix, Options, SeparateError};

const SOURCES: [&str; 3] = ["drums", "bass", "other"];

fn demucs() -> Demucs {
    // Tests run beside each other.
    demucs::set_threads(NonZero::<u16>::MIN);
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/complex/model.safetensors");
    Demucs::load(&path, Device::Cpu).unwrap()
}

fn song(frames: usize) -> Waveform {
    let left = (0..frames).map(|n| (n as f32 * 0.05).sin() * 0.4 + (n as f32 * 0.9).cos() * 0.1);
    let right = (0..frames).map(|n| (n as f32 * 0.031).cos() * 0.3);
    Waveform::new(left.collect(), right.collect())
}

fn mix(song: &Waveform, demucs: &Demucs, overlap: f64, per_shard: usize) -> Mix {
    let mut stats = Stats::default();
    stats.push(song);
    let grid = Grid::new(demucs.segment_frames(), overlap).unwrap();
    let shards = Shards::new(grid, per_shard).reaching([demucs.segment_frames() / 2, 0]);
    Mix { frames: song.frames(), mean: stats.mean(), std: stats.std(), shards }
}

fn shard(song: &Waveform, mix: &Mix, index: usize) -> Shard {
    let input = mix.shards.input(index, mix.frames);
    Shard { index, start: input.start, audio: song.slice(input) }
}

fn go_on(_: usize, _: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn stems_are_the_same_bytes_however_the_song_is_cut_into_shards() {
    let demucs = demucs();
    let song = song(5 * demucs.segment_frames() + 123);
    for overlap in [0.25, 0.5] {
        let options = Options { overlap, ..Options::default() };
        let whole = demucs.separate(&song, &options).unwrap();
        for per_shard in [1, 2, 5] {
            let mix = mix(&song, &demucs, overlap, per_shard);
            let mut joins = SOURCES.map(|_| Join::new(mix.shards, mix.frames));
            let mut stems = SOURCES.map(|_| Waveform::default());
            for index in 0..mix.shards.count(mix.frames) {
                let shard = shard(&song, &mix, index);
                let sums = demucs.separate_shard(&mix, &shard, &SOURCES, go_on).unwrap();
                for ((join, stem), sum) in joins.iter_mut().zip(&mut stems).zip(&sums) {
                    stem.extend(&join.push(sum).unwrap());
                }
            }
            for (source, stem) in SOURCES.iter().zip(&stems) {
                assert!(whole.get(source) == Some(stem), "{source}, {per_shard} per shard");
            }
        }
    }
}

#[test]
fn only_the_wanted_sources_come_and_in_the_wanted_order() {
    let demucs = demucs();
    let song = song(demucs.segment_frames());
    let mix = mix(&song, &demucs, 0.25, 9);
    let shard = shard(&song, &mix, 0);
    let all = demucs.separate_shard(&mix, &shard, &SOURCES, go_on).unwrap();
    let two = demucs.separate_shard(&mix, &shard, &["other", "drums"], go_on).unwrap();
    assert!(two == [all[2].clone(), all[0].clone()]);

    let unknown = demucs.separate_shard(&mix, &shard, &["piano"], go_on).unwrap_err();
    assert_eq!(unknown.to_string(), "the model has no source \"piano\", it has drums, bass, other");
}

#[test]
fn a_model_moves_to_another_thread() {
    let demucs = demucs();
    let separated = thread::spawn(move || {
        let stems = demucs.separate(&song(1000), &Options::default()).unwrap();
        stems.iter().count()
    });
    assert_eq!(separated.join().unwrap(), SOURCES.len());
}

#[test]
fn progress_is_told_after_each_segment_and_may_break_off() {
    let demucs = demucs();
    let song = song(3 * demucs.segment_frames());
    let mix = mix(&song, &demucs, 0.0, 3);
    let shard = shard(&song, &mix, 0);
    let mut told = Vec::new();
    let result = demucs.separate_shard(&mix, &shard, &SOURCES, |done, total| {
        told.push((done, total));
        if done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(SeparateError::Cancelled)));
    assert_eq!(told, [(1, 3), (2, 3)]);
}

#[test]
fn a_shard_of_another_song_or_for_another_model_is_refused() {
    let demucs = demucs();
    let song = song(3 * demucs.segment_frames());
    let mix = mix(&song, &demucs, 0.25, 2);
    let refused =
        |mix: &Mix, shard: &Shard| demucs.separate_shard(mix, shard, &SOURCES, go_on).unwrap_err();
    let short = Shard { audio: song.slice(0..100), ..shard(&song, &mix, 0) };
    assert!(matches!(refused(&mix, &short), SeparateError::Shard { index: 0, .. }));
    let beyond = Shard { index: 7, ..shard(&song, &mix, 0) };
    assert!(matches!(refused(&mix, &beyond), SeparateError::Shard { index: 7, .. }));

    let longer = Grid::new(demucs.segment_frames() + 1, 0.25).unwrap();
    let other = Mix { shards: Shards::new(longer, 2), ..mix };
    let error = refused(&other, &shard(&song, &other, 0));
    assert!(matches!(error, SeparateError::Segment { .. }), "{error}");
    assert!(demucs.separate(&song, &Options { overlap: 1.0, ..Options::default() }).is_err());
}
