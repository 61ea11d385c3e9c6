//! What is sent: short songs cut out of the demo song, and files that are none.

use std::io::Cursor;

use audio::{Format, SAMPLE_RATE, Song, StemWriter, Tags, Waveform};
use serde_json::{Value, json};

/// A file to send, with what is to be done with it and how that ends.
pub(crate) struct Work {
    /// What it is called.
    pub(crate) name: &'static str,
    /// The options, as `stemflow.submit` takes them.
    pub(crate) options: Value,
    /// How its job ends.
    pub(crate) ends: Ends,
    file: Vec<u8>,
    salt: fn(&[u8], u64) -> Vec<u8>,
}

/// How a job ends, if nobody ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// With stems.
    Done,
    /// With this code for a reason.
    Failed(&'static str),
}

impl Work {
    /// The file under another digest: a job of its own, that comes to the same bytes.
    pub(crate) fn file(&self, salt: u64) -> Vec<u8> {
        (self.salt)(&self.file, salt)
    }

    /// The options as the query of a URL.
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        let options = self.options.as_object().into_iter().flatten();
        options.map(|(name, value)| (name.clone(), text(value))).collect()
    }
}

/// All works.
///
/// # Panics
/// If the demo song is not there, or cannot be decoded.
pub(crate) fn works() -> Vec<Work> {
    let song = demo();
    let mp3 = |name, from, seconds, options| Work {
        name,
        options,
        ends: Ends::Done,
        file: encoded(&part(&song, from, seconds), Format::Mp3),
        salt: salted_mp3,
    };
    let wav = |name, wave: &Waveform, options| Work {
        name,
        options,
        ends: Ends::Done,
        file: encoded(wave, Format::Wav),
        salt: salted_wav,
    };
    let mut quiet = part(&song, 15.0, 2.0);
    quiet.scale(0.05);
    let silence = Waveform::silence(SAMPLE_RATE as usize);
    let blink = part(&song, 7.0, 0.05);
    let lying = wav("lying", &part(&song, 9.0, 1.5), json!({ "stems": ["bass"] }));
    vec![
        mp3("one-stem", 0.0, 2.0, json!({ "stems": ["vocals"] })),
        mp3("all-stems", 5.0, 3.0, json!({})),
        mp3("two-shards", 4.0, 11.0, json!({ "stems": ["drums"], "bitrate": 128 })),
        mp3("shifted", 2.0, 1.5, json!({ "stems": ["other"], "shifts": 1 })),
        wav("as-wav", &part(&song, 3.0, 2.0), json!({ "stems": ["drums"], "format": "wav" })),
        wav("as-flac", &quiet, json!({ "stems": ["bass", "other"], "format": "flac" })),
        wav("blink", &blink, json!({ "stems": ["vocals"], "bitrate": 96 })),
        wav("silence", &silence, json!({ "stems": ["vocals", "bass"] })),
        Work { file: promising(lying.file), ..lying },
        Work {
            name: "no-music",
            options: json!({ "stems": ["vocals"] }),
            ends: Ends::Failed("not-audio"),
            file: b"this is a text and no music, whatever its name says\n".repeat(40),
            salt: salted_text,
        },
        Work {
            ends: Ends::Failed("empty"),
            ..wav("no-sound", &Waveform::default(), json!({ "stems": ["vocals"] }))
        },
    ]
}

/// A second of music, under any number of digests.
pub(crate) fn small_song() -> impl Fn(u64) -> Vec<u8> {
    let file = encoded(&part(&demo(), 5.0, 1.0), Format::Mp3);
    move |salt| salted_mp3(&file, salt)
}

fn demo() -> Waveform {
    let mut whole = Waveform::default();
    for block in Song::open(Cursor::new(crate::song())).expect("the demo song is one") {
        whole.extend(&block.expect("the demo song is whole"));
    }
    whole
}

fn part(song: &Waveform, from: f32, seconds: f32) -> Waveform {
    let frame = |seconds: f32| (seconds * SAMPLE_RATE as f32) as usize;
    song.slice(frame(from)..frame(from + seconds))
}

fn encoded(wave: &Waveform, format: Format) -> Vec<u8> {
    let file = Cursor::new(Vec::new());
    let writer = StemWriter::new(format, wave.frames() as u64, &Tags::default(), file);
    let mut writer = writer.expect("memory can be written to");
    writer.write(wave).expect("memory can be written to");
    writer.finish().expect("memory can be written to").into_inner()
}

/// A WAV file that says it holds twice as much as it does.
fn promising(mut wav: Vec<u8>) -> Vec<u8> {
    let data = wav.windows(4).position(|word| word == b"data").expect("a WAV file has data");
    let size = wav[data + 4..data + 8].try_into().map(u32::from_le_bytes).expect("four bytes");
    wav[data + 4..data + 8].copy_from_slice(&(2 * size).to_le_bytes());
    let all = wav.len() as u32 - 8 + size;
    wav[4..8].copy_from_slice(&all.to_le_bytes());
    wav
}

/// A chunk that no reader knows, before the others.
fn salted_wav(wav: &[u8], salt: u64) -> Vec<u8> {
    let size = wav[4..8].try_into().map(u32::from_le_bytes).expect("a WAV file begins so");
    let mut salted = b"RIFF".to_vec();
    salted.extend((size + 16).to_le_bytes());
    salted.extend(b"WAVEsalt\x08\0\0\0");
    salted.extend(salt.to_le_bytes());
    salted.extend(&wav[12..]);
    salted
}

/// An ID3 tag with a private frame.
fn salted_mp3(mp3: &[u8], salt: u64) -> Vec<u8> {
    let mut salted = b"ID3\x03\0\0\0\0\0\x17PRIV\0\0\0\x0d\0\0salt\0".to_vec();
    salted.extend(salt.to_le_bytes());
    salted.extend(mp3);
    salted
}

fn salted_text(text: &[u8], salt: u64) -> Vec<u8> {
    [text, salt.to_string().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(file: Vec<u8>) -> Result<Waveform, audio::DecodeError> {
        let mut whole = Waveform::default();
        for block in Song::open(Cursor::new(file))? {
            whole.extend(&block?);
        }
        Ok(whole)
    }

    #[test]
    fn salt_changes_the_file_and_not_the_sound() {
        for work in works() {
            let (one, other) = (work.file(1), work.file(2));
            assert_ne!(one, other, "{}", work.name);
            match (decoded(one), decoded(other), work.ends) {
                (Ok(one), Ok(other), Ends::Done) => {
                    assert!(one.planes() == other.planes() && !one.is_empty(), "{}", work.name);
                }
                (Err(_), Err(_), Ends::Failed(_)) => {}
                (Ok(one), Ok(_), Ends::Failed("empty")) => assert!(one.is_empty()),
                (one, ..) => panic!("{}: {one:?}", work.name),
            }
        }
    }

    #[test]
    fn options_are_the_same_in_a_query() {
        let work = Work {
            options: json!({ "stems": ["bass", "other"], "bitrate": 96 }),
            ..works().swap_remove(0)
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(work.query(), [pair("bitrate", "96"), pair("stems", "bass,other")]);
    }
}
