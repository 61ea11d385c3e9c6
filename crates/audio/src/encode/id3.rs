//! ID3v2.3 in UTF-16, the one form of tag that every MP3 player reads (id3.org, "ID3 tag version
//! 2.3.0").

use crate::Tags;

/// Frame names, in the order of [`Tags::fields`].
const NAMES: [&str; Tags::FIELDS] = ["TIT2", "TPE1", "TALB", "TRCK", "TYER", "TCON"];

/// Says that a byte order mark and UTF-16 follow.
const UTF_16: u8 = 1;

/// The whole tag; nothing if there is nothing to say.
pub(super) fn tag(tags: &Tags) -> Vec<u8> {
    let mut frames = Vec::new();
    for (name, value) in NAMES.iter().zip(tags.fields()) {
        let Some(value) = value else { continue };
        let text = text(value);
        frames.extend_from_slice(name.as_bytes());
        frames.extend_from_slice(&(text.len() as u32).to_be_bytes());
        frames.extend_from_slice(&[0, 0]); // no flags
        frames.extend_from_slice(&text);
    }
    if frames.is_empty() {
        return frames;
    }
    let mut tag = b"ID3\x03\x00\x00".to_vec();
    tag.extend_from_slice(&seven_bits(frames.len()));
    tag.extend_from_slice(&frames);
    tag
}

fn text(value: &str) -> Vec<u8> {
    let mut text = vec![UTF_16, 0xFF, 0xFE];
    text.extend(value.encode_utf16().flat_map(u16::to_le_bytes));
    text
}

/// A length in four bytes of seven bits: no byte of it can look like the start of an MP3 frame.
fn seven_bits(length: usize) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| (length >> shift) as u8 & 0x7F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_written_as_the_standard_says() {
        let tags = Tags { title: Some("Ö".into()), ..Tags::default() };
        let expected = b"ID3\x03\0\0\0\0\0\x0FTIT2\0\0\0\x05\0\0\x01\xFF\xFE\xD6\0";
        assert_eq!(tag(&tags), expected);
        assert!(tag(&Tags::default()).is_empty());
    }

    #[test]
    fn lengths_have_seven_bits_to_a_byte() {
        assert_eq!(seven_bits(0x0FFF_FFFF), [0x7F; 4]);
        assert_eq!(seven_bits(300), [0, 0, 2, 44]);
    }
}
