//! What people send: good files, broken files, and files made to hurt.

mod support;

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use audio::{DecodeError, Format, Song, Tags, Waveform};
use support::{Random, decode, encode, signal_to_noise, song};

/// A WAV file of 16-bit samples, interleaved.
fn wav_16(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut wav = b"RIFF".to_vec();
    wav.extend_from_slice(&(36 + data.len() as u32).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0");
    wav.extend_from_slice(&channels.to_le_bytes());
    wav.extend_from_slice(&rate.to_le_bytes());
    wav.extend_from_slice(&(rate * u32::from(channels) * 2).to_le_bytes());
    wav.extend_from_slice(&(channels * 2).to_le_bytes());
    wav.extend_from_slice(b"\x10\0data");
    wav.extend_from_slice(&(data.len() as u32).to_le_bytes());
    wav.extend_from_slice(&data);
    wav
}

fn refusal(bytes: &[u8]) -> DecodeError {
    decode(bytes).map(|(song, facts)| panic!("{} frames, {facts:?}", song.frames())).unwrap_err()
}

#[test]
fn mono_becomes_stereo_and_any_rate_44_100() {
    for (rate, frames, expected) in [(44_100, 1000, 1000), (48_000, 480, 441), (8_000, 80, 441)] {
        let samples: Vec<i16> = (0..frames).map(|n| (n % 50) * 100).collect();
        let (song, facts) = decode(&wav_16(rate, 1, &samples)).unwrap();
        assert_eq!(song.frames(), expected);
        assert_eq!(song.left(), song.right());
        assert_eq!((facts.source_rate, facts.source_channels), (rate, 1));
        assert_eq!(facts.frames, expected as u64);
    }
}

#[test]
fn the_demo_song_is_heard_from_its_first_frame_to_its_last() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo/song.mp3");
    let mut song = Song::open(std::fs::File::open(demo).unwrap()).unwrap();
    assert_eq!(song.tags().title.as_deref(), Some("Four Ways Home"));
    let frames: usize = song.by_ref().map(|block| block.unwrap().frames()).sum();
    assert_eq!(frames, 1_042_560);
    assert!(!song.facts().truncated);
}

#[test]
fn the_same_bytes_give_the_same_frames() {
    let mp3 = encode(Format::Mp3, &song(60_000), &Tags::default());
    assert_eq!(decode(&mp3).unwrap(), decode(&mp3).unwrap());
    let wav = wav_16(48_000, 2, &[7; 9000]);
    assert_eq!(decode(&wav).unwrap(), decode(&wav).unwrap());
}

#[test]
fn a_file_without_sound_is_called_empty() {
    let error = refusal(b"");
    assert!(matches!(error, DecodeError::Empty), "{error}");
    let error = refusal(&wav_16(44_100, 2, &[]));
    assert!(matches!(error, DecodeError::Empty), "{error}");
}

#[test]
fn what_is_no_audio_is_refused_by_its_name() {
    let cases: [(&[u8], &str); 4] = [
        (b"Dear sir, please find my song attached.\n", "a text"),
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (b"%PDF-1.7 and so on", "a PDF document"),
        (
            b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead\x01\x02",
            "an Opus file",
        ),
    ];
    for (bytes, name) in cases {
        let error = refusal(bytes);
        assert!(matches!(error, DecodeError::Unsupported(_)), "{error}");
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.to_string().contains("send an MP3"), "{error}");
    }
}

#[test]
fn a_truncated_mp3_gives_what_there_is() {
    let song = song(100_000);
    let mp3 = encode(Format::Mp3, &song, &Tags::default());
    let (half, facts) = decode(&mp3[..mp3.len() / 2]).unwrap();
    assert!((30_000..70_000).contains(&half.frames()), "{}", half.frames());
    assert!(facts.truncated);
    // The last frame that was cut may be bad; what stands before it is the song.
    let good = half.frames() - 3000;
    assert!(signal_to_noise(&song.slice(0..good), &half.slice(0..good)) > 20.0);
}

#[test]
fn mp3_files_appended_to_each_other_are_all_heard() {
    let one = encode(Format::Mp3At(128), &song(50_000), &Tags::default());
    let (both, _) = decode(&[&one[..], &one[..]].concat()).unwrap();
    assert!((100_000..104_000).contains(&both.frames()), "{}", both.frames());
}

#[test]
fn an_mp3_whose_length_must_be_guessed_is_heard_to_its_end() {
    let mp3 = encode(Format::Mp3, &quiet_then_loud(), &Tags::default());
    // Without the frame that declares the length, a guess from the first frames' small size
    // would be far too short or too long.
    let declared = frame_length(&mp3);
    let (whole, facts) = decode(&mp3[declared..]).unwrap();
    assert!((200_000..204_000).contains(&whole.frames()), "{}", whole.frames());
    assert_eq!((facts.delay, facts.padding, facts.truncated), (0, 0, false));
}

fn quiet_then_loud() -> Waveform {
    let mut quiet_then_loud = Waveform::silence(100_000);
    quiet_then_loud.extend(&song(100_000));
    quiet_then_loud
}

/// The bytes of the frame at the start of an MP3 file of 44.1 kHz.
fn frame_length(mp3: &[u8]) -> usize {
    let rates = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    let padding = usize::from(mp3[2] >> 1 & 1);
    144_000 * rates[usize::from(mp3[2] >> 4)] / 44_100 + padding
}

#[test]
fn a_wav_that_claims_gigabytes_gives_what_there_is() {
    let mut wav = wav_16(44_100, 2, &[1000; 2000]);
    wav[4..8].copy_from_slice(&0xFFFF_FFF0_u32.to_le_bytes());
    wav[40..44].copy_from_slice(&0xFFFF_FF00_u32.to_le_bytes());
    let (song, facts) = decode(&wav).unwrap();
    assert!(song.frames() <= 1000 && song.frames() > 500, "{}", song.frames());
    assert!(facts.truncated);
}

#[test]
fn samples_that_are_no_sound_become_silence_and_are_counted() {
    let mut wav = encode(Format::Wav, &song(100), &Tags::default());
    let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30];
    let start = wav.len() - 4 * bad.len();
    for (at, bad) in bad.iter().enumerate() {
        wav[start + 4 * at..][..4].copy_from_slice(&bad.to_le_bytes());
    }
    let (song, facts) = decode(&wav).unwrap();
    assert_eq!(facts.silenced, 4);
    assert_eq!(song.slice(98..100), Waveform::silence(2));
    assert!(song.peak() < 1.0);
}

#[test]
fn rates_and_channels_beyond_reason_are_refused() {
    for (rate, channels) in [(1, 2), (4_000_000_000 / 4, 2), (44_100, 900), (0, 2), (44_100, 0)] {
        let error = refusal(&wav_16(rate.min(400_000_000), channels.min(500), &[5; 9000]));
        let plain = matches!(error, DecodeError::Unsupported(_) | DecodeError::Damaged(_));
        assert!(plain, "{rate} Hz, {channels} channels: {error}");
    }
}

/// A disk that fails half way.
struct Failing(Cursor<Vec<u8>>);

impl Read for Failing {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.0.position() > self.0.get_ref().len() as u64 / 2 {
            return Err(io::Error::other("the disk is gone"));
        }
        self.0.read(bytes)
    }
}

impl Seek for Failing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn a_failing_disk_is_not_taken_for_the_end_of_the_song() {
    for format in [Format::Mp3, Format::Flac, Format::Wav] {
        let file = Failing(Cursor::new(encode(format, &song(300_000), &Tags::default())));
        let end = match Song::open(file) {
            Ok(song) => song.last().unwrap().map(|block| block.frames()),
            Err(error) => Err(error),
        };
        let Err(DecodeError::Io(error)) = end else { panic!("{format}: {end:?}") };
        assert_eq!(error.to_string(), "the disk is gone");
    }
}

/// Bytes changed, lost, doubled or cut, in any good file: an error or a song, but no panic, and
/// no sample that is no number.
#[test]
fn broken_files_never_bring_the_decoder_down() {
    let song = song(20_000);
    let tags = Tags { title: Some("broken".into()), ..Tags::default() };
    let mut good: Vec<Vec<u8>> = [Format::Mp3, Format::Mp3At(96), Format::Flac, Format::Wav]
        .map(|format| encode(format, &song, &tags))
        .to_vec();
    good.push(wav_16(22_050, 1, &[300; 5000]));
    let mut random = Random(0xB0B);
    for file in &good {
        for _ in 0..150 {
            let broken = damage(file, &mut random);
            match decode(&broken) {
                Ok((song, facts)) => {
                    assert!(song.peak().is_finite());
                    assert_eq!(song.frames() as u64, facts.frames);
                }
                // Nothing here is the fault of the memory that the bytes are read from.
                Err(error) => assert!(!matches!(error, DecodeError::Io(_)), "{error}"),
            }
        }
    }
}

fn damage(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut broken = file.to_vec();
    for _ in 0..=random.below(20) {
        if broken.is_empty() {
            break;
        }
        // Headers decide most: half of the damage is done to them.
        let reach = if random.below(2) == 0 { broken.len().min(200) } else { broken.len() };
        let at = random.below(reach);
        match random.below(8) {
            0 => drop(broken.drain(at..broken.len().min(at + 9))),
            1 => broken.truncate(at + 1),
            2 => broken.extend_from_within(at..),
            _ => broken[at] = random.next() as u8,
        }
    }
    broken
}

#[test]
fn noise_is_no_song_and_does_no_harm() {
    let mut random = Random(0xD1CE);
    for round in 0..20 {
        let mut noise: Vec<u8> = (0..30_000).map(|_| random.next() as u8).collect();
        let heads: [&[u8]; 5] = [b"ID3\x04", b"fLaC", b"OggS", b"\xFF\xFB\x90\x64", b"RIFF"];
        let head = heads[round % heads.len()];
        noise[..head.len()].copy_from_slice(head);
        if let Ok((song, _)) = decode(&noise) {
            assert!(song.peak().is_finite());
        }
    }
}
