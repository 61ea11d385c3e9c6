/// What other files begin with, and what people call them.
const OTHERS: [(&[u8], &str); 22] = [
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive"),
    (b"\x1F\x8B", "a gzip archive"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xFF\xD8\xFF", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x7FELF", "a program"),
    (b"MZ", "a program"),
    (b"MThd", "a MIDI file, which holds notes and no sound"),
    (b"\x30\x26\xB2\x75", "a Windows Media file"),
    (b"wvpk", "a WavPack file"),
    (b"MAC ", "a Monkey's Audio file"),
    (b"MPCK", "a Musepack file"),
    (b"MP+", "a Musepack file"),
    (b"TTA1", "a TrueAudio file"),
    (b"DSD ", "a DSD file"),
    (b"FRM8", "a DSD file"),
    (b"#!AMR", "an AMR recording"),
    (b"RF64", "a WAV file of more than 4 GiB"),
    (b"FLV", "a Flash video"),
];

/// Bytes worth looking at.
pub(super) const SNIFFED: u64 = 512;

/// What files that can be decoded begin with.
const AUDIO: [(&[u8], &str); 8] = [
    (b"ID3", "an MP3 file"),
    (b"fLaC", "a FLAC file"),
    (b"OggS", "an OGG file"),
    (b"RIFF", "a WAV file"),
    (b"FORM", "an AIFF file"),
    (b"caff", "a CAF file"),
    (b"\x1A\x45\xDF\xA3", "a Matroska or WebM file"),
    (b"\xFF\xFB", "an MP3 file"),
];

/// What the file would be if it decoded, by its first bytes.
pub(super) fn audio(head: &[u8]) -> Option<&'static str> {
    if contains(head, b"OpusHead") {
        return None;
    }
    if head.get(4..8) == Some(b"ftyp") {
        return Some("an MP4 file");
    }
    named(head, &AUDIO)
}

/// What a file that is no [`audio`] looks like by its first bytes.
pub(super) fn other(head: &[u8]) -> &'static str {
    if let Some(name) = named(head, &OTHERS) {
        return name;
    }
    if contains(head, b"OpusHead") {
        return "an Opus file";
    }
    let text = String::from_utf8_lossy(head).to_lowercase();
    if text.trim_start().starts_with("<!doctype") || text.trim_start().starts_with("<html") {
        return "a web page";
    }
    // A cut through a character at the end is no reason to call a text binary.
    let whole = head.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let is_text = head.len() - whole.len() < 4
        && !whole.is_empty()
        && !whole.chars().any(|c| c.is_control() && !c.is_whitespace());
    if is_text { "a text" } else { "no audio file known here" }
}

fn named(head: &[u8], names: &[(&[u8], &'static str)]) -> Option<&'static str> {
    let known = names.iter().find(|(beginning, _)| head.starts_with(beginning));
    known.map(|(_, name)| *name)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_by_their_names() {
        assert_eq!(other(b"%PDF-1.7"), "a PDF document");
        assert_eq!(other(b"  <!DOCTYPE html><html>"), "a web page");
        assert_eq!(other("Grüße, this is no song\n".as_bytes()), "a text");
        assert_eq!(other(&"ü".as_bytes()[..1]), "no audio file known here");
        assert_eq!(other(&"aü".as_bytes()[..2]), "a text");
        assert_eq!(other(b"OggS\0\x02....OpusHead"), "an Opus file");
        assert_eq!(other(&[0; 512]), "no audio file known here");
        assert_eq!(other(&[]), "no audio file known here");
        assert_eq!(audio(b"\0\0\0\x20ftypM4A "), Some("an MP4 file"));
        assert_eq!(audio(b"OggS\0\x02....OpusHead"), None);
    }
}
