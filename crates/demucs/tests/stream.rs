//! What a stream gives, and what may be chosen about it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use audio::{Shifts, Stats, Waveform};
use demucs::{Demucs, Device, Options, SeparateError, Stems};
use models::Model;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn demucs(name: &str) -> Demucs {
    let model = Model::find(&fixture(name), Some("model")).unwrap();
    Demucs::load_model(&model, Device::Cpu, Device::Cpu.precision()).unwrap()
}

fn song(frames: usize) -> Waveform {
    let left = (0..frames).map(|n| (n as f32 * 0.05).sin() * 0.4 + (n as f32 * 0.9).cos() * 0.1);
    let right = (0..frames).map(|n| (n as f32 * 0.031).cos() * 0.3);
    Waveform::new(left.collect(), right.collect())
}

fn stats(song: &Waveform) -> Stats {
    let mut stats = Stats::default();
    stats.push(song);
    stats
}

fn threads(threads: usize) -> Options {
    Options { threads: NonZero::new(threads), ..Options::default() }
}

fn streamed(demucs: &Demucs, song: &Waveform, block: usize, options: &Options) -> Vec<Waveform> {
    let mut stream = demucs.stream(&stats(song), demucs.sources(), options).unwrap();
    let mut stems = vec![Waveform::default(); demucs.sources().len()];
    let mut keep = |given: Stems| {
        for (stem, (_, given)) in stems.iter_mut().zip(given.iter()) {
            stem.extend(given);
        }
    };
    for start in (0..song.frames()).step_by(block) {
        keep(stream.push(&song.slice(start..song.frames().min(start + block))).unwrap());
    }
    keep(stream.finish().unwrap());
    stems
}

#[test]
fn stems_are_the_same_bytes_however_the_song_comes_and_however_many_compute() {
    let demucs = demucs("complex");
    let song = song(4 * demucs.segment_frames() + 77);
    let whole = demucs.separate(&song, &threads(1)).unwrap();
    for (block, workers) in [(1000, 1), (50_000, 2), (7777, 3)] {
        let stems = streamed(&demucs, &song, block, &threads(workers));
        for ((name, expected), stem) in whole.iter().zip(&stems) {
            assert!(expected == stem, "{name} in blocks of {block} by {workers}");
        }
    }
}

#[test]
fn batches_give_what_single_segments_give_but_for_rounding() {
    let demucs = demucs("hybrid");
    let song = song(5 * demucs.segment_frames() + 77);
    let single = demucs.separate(&song, &threads(1)).unwrap();
    let batch = NonZero::new(3);
    let batched = demucs.separate(&song, &Options { batch, ..threads(1) }).unwrap();
    for ((name, single), (_, batched)) in single.iter().zip(batched.iter()) {
        let planes = single.planes().iter().flatten().zip(batched.planes().iter().flatten());
        let worst = planes.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{name}: {worst}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_others() {
    let demucs = demucs("complex");
    let song = song(demucs.segment_frames() * 3);
    let shifted = |seed| {
        let options = Options { shifts: Shifts::new(2, seed), ..threads(2) };
        demucs.separate(&song, &options).unwrap()
    };
    assert!(shifted(1) == shifted(1));
    assert!(shifted(1) != shifted(2));
}

#[test]
fn one_source_of_a_bag_costs_only_the_networks_that_are_heard() {
    // Of the bag's three networks, all are heard about drums, and two about bass.
    let demucs = demucs("bag");
    let song = song(demucs.segment_frames() * 2);
    let segments = |wanted: &[&str]| {
        let options = Options { overlap: 0.0, ..threads(1) };
        let mut stream = demucs.stream(&stats(&song), wanted, &options).unwrap();
        let mut told = Vec::new();
        let progress = |done, all| {
            told.push((done, all));
            ControlFlow::Continue(())
        };
        stream.push_with(&song, progress).unwrap();
        told.len()
    };
    let both = segments(&["drums", "bass"]);
    assert_eq!(segments(&["drums"]), both);
    assert_eq!(segments(&["bass"]) * 3, both * 2);
}

#[test]
fn other_segments_can_be_chosen_up_to_what_the_network_takes() {
    let demucs = demucs("complex");
    let song = song(demucs.segment_frames() * 2);
    let with = |segment| Options { segment: Some(segment), ..threads(1) };
    let shorter = demucs.separate(&song, &with(demucs.segment_frames() / 2)).unwrap();
    assert!(shorter.iter().all(|(_, stem)| stem.frames() == song.frames()));
    let longer = demucs.separate(&song, &with(demucs.segment_frames() + 1)).unwrap_err();
    assert!(matches!(longer, SeparateError::Segment { .. }), "{longer}");

    let hybrid = self::demucs("hybrid");
    let longer = hybrid.separate(&song, &with(hybrid.segment_frames() * 2)).unwrap();
    assert!(longer.iter().all(|(_, stem)| stem.frames() == song.frames()));
}

#[test]
fn a_stream_can_be_broken_off_and_has_to_be_as_long_as_was_said() {
    let demucs = demucs("complex");
    let song = song(demucs.segment_frames() * 4);
    let stream = || demucs.stream(&stats(&song), demucs.sources(), &threads(2)).unwrap();
    let stopped = stream().push_with(&song, |_, _| ControlFlow::Break(())).unwrap_err();
    assert!(matches!(stopped, SeparateError::Cancelled));

    let mut short = stream();
    short.push(&song.slice(0..100)).unwrap();
    let error = short.finish().unwrap_err();
    assert!(matches!(error, SeparateError::Length { actual: 100, .. }), "{error}");
}

#[test]
fn silence_a_single_frame_and_nothing_give_stems_of_their_length_and_no_nan() {
    for name in ["complex", "magnitude", "hybrid", "time", "bag"] {
        let demucs = demucs(name);
        let loud_click = Waveform::new(vec![1.0], vec![-0.5]);
        let silence = Waveform::silence(9000);
        for song in [silence, Waveform::silence(1), loud_click, Waveform::default()] {
            for shifts in [Shifts::NONE, Shifts::new(1, 3)] {
                let options = Options { shifts, ..threads(1) };
                let stems = demucs.separate(&song, &options).unwrap();
                for (_, stem) in stems.iter() {
                    assert_eq!(stem.frames(), song.frames());
                    let samples = stem.planes().iter().flatten();
                    assert!(samples.clone().all(|sample| sample.is_finite()), "{name}");
                }
            }
        }
    }
}
