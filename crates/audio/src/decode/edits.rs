//! The edit lists of MP4 files, which the demuxer does not read: they say which part of the
//! coded frames is the song and which is the encoder's delay and padding.
//!
//! Boxes and fields by ISO/IEC 14496-12.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// Boxes looked at on one level; more is no file that anyone made for listening.
const MAX_BOXES: usize = 4096;

/// The part of a track that is to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// The track's id in the file.
    pub(super) track: u32,
    /// Where it begins, in ticks of the track.
    pub(super) start: u64,
    /// How long it lasts, in ticks of the movie; 0 if the file leaves it open.
    pub(super) duration: u64,
    /// The movie's ticks per second.
    pub(super) movie_rate: u32,
}

/// The edit of each track that has just one; none if this is no MP4 file.
pub(super) fn edits(file: &mut (impl Read + Seek)) -> Vec<Edit> {
    // A file too broken for this is the demuxer's to refuse.
    read_edits(file).unwrap_or_default()
}

fn read_edits(file: &mut (impl Read + Seek)) -> io::Result<Vec<Edit>> {
    let end = file.seek(SeekFrom::End(0))?;
    let movie = child(file, 0..end, *b"moov")?;
    let header = child(file, movie.clone(), *b"mvhd")?;
    let movie_rate = time_field(file, header, 12, 20)?;
    let mut edits = Vec::new();
    for (_, track) in boxes(file, movie)?.into_iter().filter(|(name, _)| name == b"trak") {
        if let Ok(Some(edit)) = read_edit(file, track, movie_rate) {
            edits.push(edit);
        }
    }
    Ok(edits)
}

fn read_edit(
    file: &mut (impl Read + Seek),
    track: Range<u64>,
    movie_rate: u32,
) -> io::Result<Option<Edit>> {
    let header = child(file, track.clone(), *b"tkhd")?;
    let id = time_field(file, header, 12, 20)?;
    let edits = child(file, track, *b"edts")?;
    let list = child(file, edits, *b"elst")?;
    let [version, count] = words(file, list.start)?;
    let mut real = Vec::new();
    for entry in 0..u64::from(count.min(MAX_BOXES as u32)) {
        let (duration, start) = if version >> 24 == 1 {
            let [high, low, start_high, start_low] = words(file, list.start + 8 + 20 * entry)?;
            (long(high, low), long(start_high, start_low) as i64)
        } else {
            let [duration, start] = words(file, list.start + 8 + 12 * entry)?;
            (u64::from(duration), i64::from(start as i32))
        };
        // A negative start is an empty edit: a pause before the sound, which players skip.
        if let Ok(start) = u64::try_from(start) {
            real.push(Edit { track: id, start, duration, movie_rate });
        }
    }
    // Several edits are a montage, not an encoder's delay.
    Ok(if let [edit] = real[..] { Some(edit) } else { None })
}

/// A field that stands behind the two times of a header: at `short` if they have 32 bits, at
/// `long` if they have 64.
fn time_field(
    file: &mut (impl Read + Seek),
    header: Range<u64>,
    short: u64,
    long: u64,
) -> io::Result<u32> {
    let [version] = words(file, header.start)?;
    let at = if version >> 24 == 1 { long } else { short };
    let [field] = words(file, header.start + at)?;
    Ok(field)
}

fn child(
    file: &mut (impl Read + Seek),
    within: Range<u64>,
    wanted: [u8; 4],
) -> io::Result<Range<u64>> {
    let found = boxes(file, within)?.into_iter().find(|(name, _)| *name == wanted);
    found.map(|(_, content)| content).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Name and content of each box in `within`.
fn boxes(
    file: &mut (impl Read + Seek),
    within: Range<u64>,
) -> io::Result<Vec<([u8; 4], Range<u64>)>> {
    let mut boxes = Vec::new();
    let mut at = within.start;
    while at + 8 <= within.end && boxes.len() < MAX_BOXES {
        let [size, name] = words(file, at)?;
        let (head, size) = match size {
            0 => (8, within.end - at),
            1 => {
                let [high, low] = words(file, at + 8)?;
                (16, long(high, low))
            }
            size => (8, u64::from(size)),
        };
        let end = at.saturating_add(size);
        if size < head || end > within.end {
            break;
        }
        boxes.push((name.to_be_bytes(), at + head..end));
        at = end;
    }
    Ok(boxes)
}

fn words<const N: usize>(file: &mut (impl Read + Seek), at: u64) -> io::Result<[u32; N]> {
    file.seek(SeekFrom::Start(at))?;
    let mut words = [0; N];
    for word in &mut words {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes)?;
        *word = u32::from_be_bytes(bytes);
    }
    Ok(words)
}

fn long(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let size = (content.len() + 8) as u32;
        [&size.to_be_bytes(), &name[..], content].concat()
    }

    /// A header box of version 0 with `field` behind its times.
    fn header(name: &[u8; 4], field: u32) -> Vec<u8> {
        boxed(name, &[&[0; 12], &field.to_be_bytes()[..], &[0; 8]].concat())
    }

    fn movie(elst: &[u32]) -> Vec<u8> {
        let elst: Vec<u8> = elst.iter().flat_map(|word| word.to_be_bytes()).collect();
        let edts = boxed(b"edts", &boxed(b"elst", &elst));
        let trak = boxed(b"trak", &[header(b"tkhd", 7), edts].concat());
        let moov = boxed(b"moov", &[header(b"mvhd", 1000), trak].concat());
        [boxed(b"ftyp", b"M4A "), moov, boxed(b"mdat", &[0; 9])].concat()
    }

    fn of(bytes: &[u8]) -> Vec<Edit> {
        edits(&mut io::Cursor::new(bytes))
    }

    #[test]
    fn the_one_real_edit_is_found_in_both_widths() {
        let edit = Edit { track: 7, start: 1024, duration: 5000, movie_rate: 1000 };
        assert_eq!(of(&movie(&[0, 1, 5000, 1024, 0x10000])), [edit]);
        assert_eq!(of(&movie(&[1 << 24, 1, 0, 5000, 0, 1024, 0x10000])), [edit]);
        // A pause before it.
        let paused = [0, 2, 20, u32::MAX, 0x10000, 5000, 1024, 0x10000];
        assert_eq!(of(&movie(&paused)), [edit]);
    }

    #[test]
    fn montages_and_broken_files_have_no_edit() {
        assert_eq!(of(&movie(&[0, 2, 5, 0, 0x10000, 5, 9, 0x10000])), []);
        let whole = movie(&[0, 1, 5000, 1024, 0x10000]);
        for end in 0..whole.len() - 17 {
            assert_eq!(of(&whole[..end]), [], "cut at {end}");
        }
        assert_eq!(of(b"RIFF\0\0\0\0WAVE"), []);
    }
}
