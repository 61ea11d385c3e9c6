//! The song stands as base64 in a JSON object: `{"mp3": "SUQz…", "model": …}`. The first API's own
//! clients send it so. It is decoded as it comes; only the rest of the object is kept.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use separation::Request;
use serde_json::Value;

use super::{Incoming, Inlet, Intake, SONG_FIELDS, options};
use crate::error::ApiError;

/// What is not the song cannot be longer than this.
const REST_BYTES: usize = 1 << 20;

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) async fn read(
    inlet: &Inlet,
    body: &Incoming,
    options: Request,
) -> Result<(Intake, Request), ApiError> {
    let mut scanner = Scanner::default();
    let mut intake = None;
    while let Some(bytes) = body.next().await? {
        scanner.feed(&bytes)?;
        if intake.is_none() && scanner.song_begun {
            inlet.check(&merge(options.clone(), &scanner.rest_so_far())?)?;
            intake = Some(inlet.open());
        }
        if let Some(intake) = &mut intake {
            intake.write(&scanner.decode_whole()?).await?;
        }
    }
    let options = merge(options, &scanner.rest)?;
    let mut intake = intake.ok_or(ApiError::NoSong)?;
    intake.write(&scanner.decode_last()?).await?;
    Ok((intake, options))
}

/// The options of the query, and over them those of the object.
fn merge(query: Request, object: &[u8]) -> Result<Request, ApiError> {
    let mut object: Value = serde_json::from_slice(object)
        .map_err(|error| ApiError::Malformed(format!("not a JSON object: {error}")))?;
    if let Some(list) = object.get("stems").and_then(Value::as_str) {
        object["stems"] = options::split_list(list).collect();
    }
    let object: Request = serde_json::from_value(object)
        .map_err(|error| ApiError::Refused(format!("an option is not understood: {error}")))?;
    Ok(Request {
        model: object.model.or(query.model),
        stems: if object.stems.is_empty() { query.stems } else { object.stems },
        format: object.format.or(query.format),
        bitrate: object.bitrate.or(query.bitrate),
        overlap: object.overlap.or(query.overlap),
        shifts: object.shifts.or(query.shifts),
        lane: object.lane.or(query.lane),
        name: object.name.or(query.name),
        callback: object.callback.or(query.callback),
    })
}

/// Parts the song from the rest of the object, byte by byte and without looking ahead. Whether the
/// rest is JSON is for a parser to say.
#[derive(Default)]
struct Scanner {
    place: Place,
    /// A `\` stood before.
    escaped: bool,
    /// How many braces and brackets are open.
    depth: usize,
    /// The last text that was no value, while `depth` is 1.
    key: Vec<u8>,
    /// A `:` came after `key`.
    in_value: bool,
    song_begun: bool,
    /// The object, with nothing between the quotes of the song.
    rest: Vec<u8>,
    base64: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
enum Place {
    #[default]
    Between,
    Text,
    Song,
}

impl Scanner {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), ApiError> {
        while let Some((&byte, after)) = bytes.split_first() {
            match self.place {
                Place::Song if !self.escaped && !matches!(byte, b'"' | b'\\') => {
                    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\');
                    let end = bytes.iter().position(is_end).unwrap_or(bytes.len());
                    self.base64.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end..];
                    continue;
                }
                Place::Song => self.feed_song(byte)?,
                Place::Text => self.feed_text(byte),
                Place::Between => self.feed_between(byte)?,
            }
            bytes = after;
        }
        if self.rest.len() > REST_BYTES {
            let text = "the JSON object is too long: only the song, in the field `mp3`, may be";
            return Err(ApiError::Malformed(text.to_owned()));
        }
        Ok(())
    }

    fn feed_between(&mut self, byte: u8) -> Result<(), ApiError> {
        self.rest.push(byte);
        match byte {
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' if self.depth == 1 => self.in_value = true,
            b',' if self.depth == 1 => self.in_value = false,
            b'"' if self.is_song() && self.song_begun => {
                let text = "there are two songs in the object: send one request for each";
                return Err(ApiError::Refused(text.to_owned()));
            }
            b'"' if self.is_song() => {
                self.place = Place::Song;
                self.song_begun = true;
            }
            b'"' => {
                self.place = Place::Text;
                if !self.in_value {
                    self.key.clear();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_song(&self) -> bool {
        let is_key = |name: &&str| name.as_bytes() == self.key;
        self.depth == 1 && self.in_value && SONG_FIELDS.iter().any(is_key)
    }

    fn feed_text(&mut self, byte: u8) {
        self.rest.push(byte);
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = true,
            b'"' => self.place = Place::Between,
            _ if !self.in_value => self.key.push(byte),
            _ => {}
        }
    }

    fn feed_song(&mut self, byte: u8) -> Result<(), ApiError> {
        match (byte, self.escaped) {
            (b'\\', false) => self.escaped = true,
            (b'"', false) => {
                self.rest.push(byte);
                self.place = Place::Between;
            }
            // Some encoders write `\/`, and some base64 comes in lines.
            (b'/', true) => {
                self.base64.push(byte);
                self.escaped = false;
            }
            (b'n' | b'r', true) => self.escaped = false,
            _ => return Err(not_base64()),
        }
        Ok(())
    }

    /// What there is of the object before the song, closed so that it can be read.
    fn rest_so_far(&self) -> Vec<u8> {
        match self.place {
            Place::Song => [self.rest.as_slice(), b"\"}"].concat(),
            _ => b"{}".to_vec(),
        }
    }

    /// What can be decoded by now: four letters are three bytes.
    fn decode_whole(&mut self) -> Result<Vec<u8>, ApiError> {
        let later = self.base64.split_off(self.base64.len() / 4 * 4);
        let now = std::mem::replace(&mut self.base64, later);
        BASE64.decode(now).map_err(|_| not_base64())
    }

    fn decode_last(&mut self) -> Result<Vec<u8>, ApiError> {
        BASE64.decode(std::mem::take(&mut self.base64)).map_err(|_| not_base64())
    }
}

fn not_base64() -> ApiError {
    let text = "the song is not base64: encode the file's bytes, or send them as a multipart form";
    ApiError::Malformed(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The song and the rest, for a body that comes in pieces of `size` bytes.
    fn scan(body: &str, size: usize) -> Result<(Vec<u8>, String), String> {
        let mut scanner = Scanner::default();
        let mut song = Vec::new();
        for piece in body.as_bytes().chunks(size) {
            scanner.feed(piece).map_err(|error| error.to_string())?;
            song.extend(scanner.decode_whole().map_err(|error| error.to_string())?);
        }
        song.extend(scanner.decode_last().map_err(|error| error.to_string())?);
        Ok((song, String::from_utf8(scanner.rest).unwrap()))
    }

    #[test]
    fn the_song_is_parted_from_the_rest_however_the_body_comes() {
        let tricky = r#"{"a": {"mp3": "x"}, "b": "\"mp3\":\"", "c": ["mp3"], "mp3" : "AAEC\/w\n==", "d": 1}"#;
        let rest = r#"{"a": {"mp3": "x"}, "b": "\"mp3\":\"", "c": ["mp3"], "mp3" : "", "d": 1}"#;
        for size in 1..tricky.len() {
            let (song, left) = scan(tricky, size).unwrap();
            assert_eq!((song, left.as_str()), (vec![0, 1, 2, 255], rest), "in pieces of {size}");
        }
    }

    #[test]
    fn padding_may_be_left_out() {
        assert_eq!(scan(r#"{"mp3":"AAECAw"}"#, 3).unwrap().0, [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        assert!(scan(r#"{"mp3":"not base64!"}"#, 4).is_err());
        assert!(scan(r#"{"mp3":"AAEC\u0041"}"#, 4).is_err());
        assert!(scan(r#"{"mp3":"AAEC","file":"AAEC"}"#, 4).is_err());
    }

    #[test]
    fn options_before_the_song_can_be_read_when_it_begins() {
        let mut scanner = Scanner::default();
        scanner.feed(br#"{"model": "nope", "stems": "vocals,drums", "mp3": "AAEC"#).unwrap();
        let options = merge(Request::default(), &scanner.rest_so_far()).unwrap();
        assert_eq!(options.model.as_deref(), Some("nope"));
        assert_eq!(options.stems, ["vocals", "drums"]);
    }

    #[test]
    fn an_object_stands_over_the_query() {
        let query = Request {
            model: Some("a".to_owned()),
            format: Some("wav".to_owned()),
            ..Request::default()
        };
        let merged = merge(query, br#"{"model": "b"}"#).unwrap();
        assert_eq!((merged.model.as_deref(), merged.format.as_deref()), (Some("b"), Some("wav")));
        assert!(merge(Request::default(), b"[1]").is_err());
        assert!(merge(Request::default(), b"{\"mp3\"").is_err());
    }
}
