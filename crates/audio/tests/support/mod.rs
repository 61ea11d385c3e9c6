//! Signals and files that several tests share.

// No test binary uses all of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::Cursor;

use audio::{DecodeError, Facts, Format, Song, StemWriter, Tags, Waveform};

/// Numbers that look random and are the same on every machine (Marsaglia's xorshift).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to `end`, without it.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// From -1 to 1.
    pub fn sample(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }
}

/// Tones that glide and a little noise, different on both sides: music enough for a codec, and
/// no frame of it like another.
pub fn song(frames: usize) -> Waveform {
    let mut random = Random(0x5EED);
    let mut plane = |hertz: f64| -> Vec<f32> {
        let tone = |n: usize| {
            let t = n as f64 / 44_100.0;
            (std::f64::consts::TAU * (hertz * t + 90.0 * t * t)).sin() as f32
        };
        (0..frames).map(|n| 0.5 * tone(n) + 0.01 * random.sample()).collect()
    };
    Waveform::new(plane(330.0), plane(550.0))
}

pub fn encode(format: Format, song: &Waveform, tags: &Tags) -> Vec<u8> {
    let frames = song.frames() as u64;
    let mut writer = StemWriter::new(format, frames, tags, Cursor::new(Vec::new())).unwrap();
    for start in (0..song.frames()).step_by(10_007) {
        writer.write(&song.slice(start..song.frames().min(start + 10_007))).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub fn decode(bytes: &[u8]) -> Result<(Waveform, Facts), DecodeError> {
    let mut song = Song::open(Cursor::new(bytes.to_vec()))?;
    let mut whole = Waveform::default();
    for block in song.by_ref() {
        whole.extend(&block?);
    }
    Ok((whole, song.facts().clone()))
}

/// How far the song stands above what differs from it, in decibels.
pub fn signal_to_noise(song: &Waveform, copy: &Waveform) -> f64 {
    let (mut signal, mut noise) = (0.0, 0.0);
    for (plane, copy) in song.planes().iter().zip(copy.planes()) {
        for (a, b) in plane.iter().zip(copy) {
            signal += f64::from(*a).powi(2);
            noise += f64::from(a - b).powi(2);
        }
    }
    10.0 * (signal / noise.max(1e-30)).log10()
}
