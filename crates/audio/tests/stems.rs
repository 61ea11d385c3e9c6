//! What is written in any format decodes to the same frames.

mod support;

use std::io::{Cursor, Seek, SeekFrom, Write};

use audio::{Contract, ContractError, EncodeError, Format, StemWriter, Tags, Waveform};
use support::{decode, encode, signal_to_noise, song};

const FORMATS: [Format; 5] =
    [Format::Mp3, Format::Mp3At(96), Format::Mp3At(320), Format::Flac, Format::Wav];

/// Around the frame of an MP3 file and the block of a FLAC file.
const LENGTHS: [usize; 11] = [1, 2, 31, 1151, 1152, 1153, 4095, 4096, 4097, 44_100, 100_003];

fn tags() -> Tags {
    Tags {
        title: Some("Fjärran 遠い (vocals)".into()),
        artist: Some("Ångström & Søn".into()),
        album: Some("a".into()),
        track: Some("7".into()),
        date: Some("2026".into()),
        genre: Some("Folk".into()),
    }
}

#[test]
fn every_format_gives_back_every_frame_in_its_place() {
    for format in FORMATS {
        for frames in LENGTHS {
            let song = song(frames);
            let (copy, facts) = decode(&encode(format, &song, &tags())).unwrap();
            assert_eq!(copy.frames(), frames, "{format:?}");
            assert_eq!((facts.skipped, facts.truncated), (0, false), "{format:?} of {frames}");
            let least = match format {
                Format::Wav => 200.0,
                Format::Flac => 90.0,
                // What is shorter than the encoder's window has no quality to speak of.
                _ if frames < 40_000 => continue,
                _ => 20.0,
            };
            let ratio = signal_to_noise(&song, &copy);
            assert!(ratio > least, "{ratio:.1} dB in {format:?} of {frames}");
        }
    }
}

#[test]
fn an_mp3_is_aligned_to_the_frame() {
    let song = song(44_100);
    let (copy, _) = decode(&encode(Format::Mp3, &song, &tags())).unwrap();
    let shifted = |by: usize| {
        let frames = song.frames() - 8;
        signal_to_noise(&song.slice(4..4 + frames), &copy.slice(by..by + frames))
    };
    let best = (0..9).max_by(|a, b| shifted(*a).total_cmp(&shifted(*b)));
    assert_eq!(best, Some(4));
}

#[test]
fn flac_is_exact_to_24_bits() {
    let mut song = song(10_000);
    song.scale(0.9);
    let (copy, _) = decode(&encode(Format::Flac, &song, &tags())).unwrap();
    for (plane, copy) in song.planes().iter().zip(copy.planes()) {
        for (a, b) in plane.iter().zip(copy) {
            assert!((a - b).abs() <= 0.5 / 8_388_608.0, "{a} became {b}");
        }
    }
}

#[test]
fn silence_and_full_scale_survive() {
    let loud: Vec<f32> = (0..5000).map(|n| if n / 50 % 2 == 0 { 1.0 } else { -1.0 }).collect();
    for song in [Waveform::silence(5000), Waveform::new(loud.clone(), loud)] {
        for format in FORMATS {
            let bytes = encode(format, &song, &Tags::default());
            let report = Contract { frames: 5000 }.check(Cursor::new(bytes)).unwrap();
            assert!((report.peak - song.peak()).abs() < 0.6, "{format:?}: {}", report.peak);
        }
    }
}

#[test]
fn tags_travel_in_every_format() {
    // The decoder does not read those of WAV files; that they are there is tested where they are
    // written.
    for format in FORMATS.into_iter().filter(|format| *format != Format::Wav) {
        for tags in [tags(), Tags::default()] {
            let bytes = encode(format, &song(3000), &tags);
            let opened = audio::Song::open(Cursor::new(bytes)).unwrap();
            assert_eq!(*opened.tags(), tags, "{format:?}");
        }
    }
}

#[test]
fn the_same_stem_gives_the_same_bytes() {
    for format in FORMATS {
        let song = song(50_000);
        assert_eq!(encode(format, &song, &tags()), encode(format, &song, &tags()));
    }
}

#[test]
fn a_file_may_begin_anywhere_in_its_output() {
    for format in FORMATS {
        let song = song(20_000);
        let mut out = Cursor::new(Vec::new());
        out.write_all(b"before").unwrap();
        let mut writer = StemWriter::new(format, 20_000, &tags(), out).unwrap();
        writer.write(&song).unwrap();
        let mut out = writer.finish().unwrap();
        let end = out.stream_position().unwrap();
        assert_eq!(out.seek(SeekFrom::End(0)).unwrap(), end);
        assert_eq!(out.into_inner()[6..], encode(format, &song, &tags()), "{format:?}");
    }
}

#[test]
fn broken_promises_and_broken_samples_are_refused() {
    for format in FORMATS {
        let start = || StemWriter::new(format, 10, &tags(), Cursor::new(Vec::new())).unwrap();
        let mut writer = start();
        writer.write(&song(9)).unwrap();
        assert!(matches!(writer.write(&song(2)), Err(EncodeError::Length { actual: 11, .. })));
        let mut writer = start();
        writer.write(&song(9)).unwrap();
        assert!(matches!(writer.finish(), Err(EncodeError::Length { actual: 9, .. })));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut writer = start();
            writer.write(&song(3)).unwrap();
            let error = writer.write(&Waveform::new(vec![0.0, bad], vec![0.0, 0.0])).unwrap_err();
            assert!(matches!(error, EncodeError::NotFinite { frame: 3 }), "{error}");
        }
    }
}

#[test]
fn the_contract_notices_one_frame() {
    for format in FORMATS {
        for frames in [9_999, 10_001] {
            let file = Cursor::new(encode(format, &song(frames), &tags()));
            let error = Contract { frames: 10_000 }.check(file).unwrap_err();
            let ContractError::Frames { expected: 10_000, actual } = error else {
                panic!("{format:?}: {error}");
            };
            assert_eq!(actual, frames as u64);
        }
    }
}

#[test]
fn the_contract_notices_a_file_that_was_cut() {
    for format in FORMATS {
        let bytes = encode(format, &song(30_000), &tags());
        let file = Cursor::new(bytes[..bytes.len() * 2 / 3].to_vec());
        let error = Contract { frames: 30_000 }.check(file).unwrap_err();
        assert!(matches!(error, ContractError::Incomplete { .. }), "{format:?}: {error}");
    }
}

#[test]
fn the_contract_notices_what_no_stem_may_be() {
    let mut wav = encode(Format::Wav, &song(100), &Tags::default());
    let at = wav.len() - 4;
    wav[at..].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = Contract { frames: 100 }.check(Cursor::new(wav.clone())).unwrap_err();
    assert!(matches!(error, ContractError::NotFinite { samples: 1 }), "{error}");

    wav[24..28].copy_from_slice(&48_000_u32.to_le_bytes());
    let error = Contract { frames: 100 }.check(Cursor::new(wav)).unwrap_err();
    assert!(matches!(error, ContractError::Rate { actual: 48_000 }), "{error}");

    let text = Cursor::new(b"sorry, no stem today".to_vec());
    let error = Contract { frames: 100 }.check(text).unwrap_err();
    assert!(matches!(error, ContractError::Undecodable(_)), "{error}");
}
