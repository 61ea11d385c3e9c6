//! 32-bit float WAV: the form in which audio travels between the stages, and one that every
//! player opens.
//!
//! Both ends stream. The writer is told the length beforehand, so that it never has to seek.

use std::io::{self, Read, Write};

use crate::encode::EncodeError;
use crate::{CHANNELS, SAMPLE_RATE, Tags, Waveform};

const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xFFFE;
const BYTES_PER_SAMPLE: usize = 4;
const BYTES_PER_FRAME: usize = CHANNELS * BYTES_PER_SAMPLE;

/// The longest WAV file in frames (3 h 22 min): its length fields have 32 bits. A little of them
/// is left for the header and the tags.
pub const WAV_MAX_FRAMES: u64 = (u32::MAX as u64 - (1 << 16)) / BYTES_PER_FRAME as u64;

/// Names of the tags in a `LIST` chunk, in the order of [`Tags::fields`].
const TAGS: [&str; Tags::FIELDS] = ["INAM", "IART", "IPRD", "ITRK", "ICRD", "IGNR"];

/// A `fmt ` chunk longer than this is no description of a format.
const MAX_FORMAT_BYTES: u32 = 1024;

/// Frames that are converted at a time.
const BLOCK: usize = 1 << 14;

/// Writes a WAV file of a length known beforehand.
#[derive(Debug)]
pub struct WavWriter<W> {
    out: W,
    frames: u64,
    written: u64,
    bytes: Vec<u8>,
}

impl<W: Write> WavWriter<W> {
    /// Starts a file of exactly `frames` frames on `out`.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] above [`WAV_MAX_FRAMES`].
    pub fn new(out: W, frames: u64) -> Result<Self, EncodeError> {
        Self::with_tags(out, frames, &Tags::default())
    }

    /// The same, with `tags` in the file.
    pub fn with_tags(mut out: W, frames: u64, tags: &Tags) -> Result<Self, EncodeError> {
        if frames > WAV_MAX_FRAMES {
            return Err(EncodeError::TooLong { format: "WAV", frames, limit: WAV_MAX_FRAMES });
        }
        out.write_all(&header(frames as u32, tags))?;
        Ok(Self { out, frames, written: 0, bytes: Vec::new() })
    }

    /// Appends `block`, sample for sample.
    pub fn write(&mut self, block: &Waveform) -> Result<(), EncodeError> {
        self.written += block.frames() as u64;
        if self.written > self.frames {
            return Err(self.wrong_length());
        }
        let lefts = block.left().chunks(BLOCK);
        for (left, right) in lefts.zip(block.right().chunks(BLOCK)) {
            self.bytes.clear();
            for (l, r) in left.iter().zip(right) {
                self.bytes.extend_from_slice(&l.to_le_bytes());
                self.bytes.extend_from_slice(&r.to_le_bytes());
            }
            self.out.write_all(&self.bytes)?;
        }
        Ok(())
    }

    /// Ends the file and gives the output back, flushed.
    ///
    /// # Errors
    /// [`EncodeError::Length`] if not all announced frames have come.
    pub fn finish(mut self) -> Result<W, EncodeError> {
        if self.written != self.frames {
            return Err(self.wrong_length());
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn wrong_length(&self) -> EncodeError {
        EncodeError::Length { expected: self.frames, actual: self.written }
    }
}

/// Everything before the first sample. A float file needs the `fact` chunk, or strict players
/// refuse it.
fn header(frames: u32, tags: &Tags) -> Vec<u8> {
    let mut chunks = b"WAVE".to_vec();
    push_chunk(&mut chunks, b"fmt ", &format());
    push_chunk(&mut chunks, b"fact", &frames.to_le_bytes());
    let list = list(tags);
    if !list.is_empty() {
        push_chunk(&mut chunks, b"LIST", &[b"INFO", &list[..]].concat());
    }
    let data_bytes = frames * BYTES_PER_FRAME as u32;
    chunks.extend_from_slice(b"data");
    chunks.extend_from_slice(&data_bytes.to_le_bytes());

    let file_bytes = chunks.len() as u32 + data_bytes;
    [&b"RIFF"[..], &file_bytes.to_le_bytes(), &chunks].concat()
}

fn format() -> Vec<u8> {
    let mut format = Vec::new();
    format.extend_from_slice(&FLOAT.to_le_bytes());
    format.extend_from_slice(&(CHANNELS as u16).to_le_bytes());
    format.extend_from_slice(&SAMPLE_RATE.to_le_bytes());
    format.extend_from_slice(&(SAMPLE_RATE * BYTES_PER_FRAME as u32).to_le_bytes());
    format.extend_from_slice(&(BYTES_PER_FRAME as u16).to_le_bytes());
    format.extend_from_slice(&(8 * BYTES_PER_SAMPLE as u16).to_le_bytes());
    format.extend_from_slice(&0_u16.to_le_bytes()); // no extension follows
    format
}

/// The tags as chunks of text that end in a zero.
fn list(tags: &Tags) -> Vec<u8> {
    let mut list = Vec::new();
    for (name, value) in TAGS.iter().zip(tags.fields()) {
        if let Some(value) = value {
            push_chunk(&mut list, name.as_bytes(), &[value.as_bytes(), &[0]].concat());
        }
    }
    list
}

fn push_chunk(chunks: &mut Vec<u8>, name: &[u8], content: &[u8]) {
    chunks.extend_from_slice(name);
    chunks.extend_from_slice(&(content.len() as u32).to_le_bytes());
    chunks.extend_from_slice(content);
    if !content.len().is_multiple_of(2) {
        chunks.push(0);
    }
}

/// Why a WAV file between two stages could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// It is something else than 44.1 kHz stereo in 32-bit float; the text says what.
    #[error("not a 44.1 kHz stereo float WAV file: {0}")]
    Form(String),
    /// The bytes end before the frames that the header promises.
    #[error("the WAV file ends after {actual} of {expected} frames")]
    Truncated {
        /// Frames by the header.
        expected: u64,
        /// Whole frames there are.
        actual: u64,
    },
    /// The input did not give its bytes; another attempt may succeed.
    #[error("failed to read the WAV file: {0}")]
    Io(#[from] io::Error),
}

/// Reads what [`WavWriter`] wrote, and any other WAV file of the same sample format.
#[derive(Debug)]
pub struct WavReader<R> {
    input: R,
    frames: u64,
    read: u64,
    bytes: Vec<u8>,
}

impl<R: Read> WavReader<R> {
    /// Reads up to the first sample.
    pub fn new(mut input: R) -> Result<Self, WavError> {
        let frames = find_data(&mut input)?;
        Ok(Self { input, frames, read: 0, bytes: Vec::new() })
    }

    /// The length of the whole file.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// The next `max_frames` frames, fewer at the end; `None` after the last.
    ///
    /// # Errors
    /// [`WavError::Truncated`] if the bytes end before the frames do.
    pub fn read(&mut self, max_frames: usize) -> Result<Option<Waveform>, WavError> {
        let left = usize::try_from(self.frames - self.read).unwrap_or(usize::MAX);
        if left == 0 || max_frames == 0 {
            return Ok(None);
        }
        // Grown block by block: memory follows the bytes that come, not what a header claims.
        let wanted = left.min(max_frames);
        let mut samples = [Vec::new(), Vec::new()];
        while samples[0].len() < wanted {
            self.fill(BLOCK.min(wanted - samples[0].len()))?;
            for frame in self.bytes.chunks_exact(BYTES_PER_FRAME) {
                let (left, right) = frame.split_at(BYTES_PER_SAMPLE);
                samples[0].push(sample(left));
                samples[1].push(sample(right));
            }
        }
        let [left, right] = samples;
        Ok(Some(Waveform::new(left, right)))
    }

    /// All frames that are left, in one piece.
    pub fn read_all(&mut self) -> Result<Waveform, WavError> {
        Ok(self.read(usize::MAX)?.unwrap_or_default())
    }

    /// Reads on to the end of the input, past the frames and whatever follows them, and gives it
    /// back: a reader below that checks a digest has then seen every byte.
    ///
    /// # Errors
    /// [`WavError::Truncated`] if the bytes end before the frames do.
    pub fn finish(mut self) -> Result<R, WavError> {
        while self.read < self.frames {
            self.fill(BLOCK.min(usize::try_from(self.frames - self.read).unwrap_or(BLOCK)))?;
        }
        io::copy(&mut self.input, &mut io::sink())?;
        Ok(self.input)
    }

    /// Takes the bytes of `frames` frames into the buffer.
    fn fill(&mut self, frames: usize) -> Result<(), WavError> {
        let wanted = frames * BYTES_PER_FRAME;
        self.bytes.clear();
        let got = self.input.by_ref().take(wanted as u64).read_to_end(&mut self.bytes)?;
        self.read += (got / BYTES_PER_FRAME) as u64;
        if got < wanted {
            return Err(WavError::Truncated { expected: self.frames, actual: self.read });
        }
        Ok(())
    }
}

fn sample(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Walks the chunks up to the samples, and says how many frames of them there are.
fn find_data(input: &mut impl Read) -> Result<u64, WavError> {
    let [riff, _, wave] = read_words(input)?;
    if (&riff, &wave) != (b"RIFF", b"WAVE") {
        return Err(WavError::Form("it does not begin with RIFF and WAVE".into()));
    }
    let mut format_seen = false;
    loop {
        let [name, size] = read_words(input)?;
        let size = u32::from_le_bytes(size);
        match &name {
            b"fmt " => {
                check_format(input, size)?;
                format_seen = true;
            }
            b"data" if !format_seen => {
                return Err(WavError::Form("its samples come before their format".into()));
            }
            b"data" if !(size as usize).is_multiple_of(BYTES_PER_FRAME) => {
                return Err(WavError::Form(format!("{size} bytes are no whole frames")));
            }
            b"data" => return Ok(u64::from(size) / BYTES_PER_FRAME as u64),
            _ => skip(input, padded(size))?,
        }
    }
}

fn check_format(input: &mut impl Read, size: u32) -> Result<(), WavError> {
    if !(16..=MAX_FORMAT_BYTES).contains(&size) {
        return Err(WavError::Form(format!("its format takes {size} bytes")));
    }
    let mut bytes = vec![0; padded(size) as usize];
    read_exact(input, &mut bytes)?;
    let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let rate = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let (channels, bits) = (word(2), word(14));
    // The extensible form keeps the tag at the head of its sub-format.
    let tag = if word(0) == EXTENSIBLE && size >= 40 { word(24) } else { word(0) };
    let expected = (FLOAT, CHANNELS as u16, SAMPLE_RATE, 8 * BYTES_PER_SAMPLE as u16);
    if (tag, channels, rate, bits) != expected {
        let what = format!("format {tag}, {channels} channels, {rate} Hz, {bits} bits");
        return Err(WavError::Form(what));
    }
    Ok(())
}

/// Chunks begin at even offsets.
fn padded(size: u32) -> u64 {
    u64::from(size) + u64::from(size % 2)
}

fn skip(input: &mut impl Read, bytes: u64) -> Result<(), WavError> {
    let skipped = io::copy(&mut input.by_ref().take(bytes), &mut io::sink())?;
    if skipped < bytes { Err(no_samples()) } else { Ok(()) }
}

fn read_words<const N: usize>(input: &mut impl Read) -> Result<[[u8; 4]; N], WavError> {
    let mut words = [[0; 4]; N];
    for word in &mut words {
        read_exact(input, word)?;
    }
    Ok(words)
}

fn read_exact(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), WavError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => no_samples(),
        _ => error.into(),
    })
}

fn no_samples() -> WavError {
    WavError::Form("it ends before its samples begin".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(frames: usize) -> Waveform {
        let left = (0..frames).map(|n| n as f32 / 7.0).collect();
        let right = (0..frames).map(|n| -(n as f32) * 1e-9).collect();
        Waveform::new(left, right)
    }

    fn file(song: &Waveform) -> Vec<u8> {
        let mut writer = WavWriter::new(Vec::new(), song.frames() as u64).unwrap();
        writer.write(song).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn every_sample_comes_back_whatever_the_blocks() {
        for frames in [0, 1, 2, 1000, BLOCK - 1, BLOCK, 2 * BLOCK + 3] {
            let song = ramp(frames);
            let bytes = file(&song);
            assert_eq!(bytes.len(), 58 + 8 * frames);
            let mut reader = WavReader::new(&bytes[..]).unwrap();
            assert_eq!(reader.frames(), frames as u64);
            assert_eq!(reader.read_all().unwrap(), song);
            assert_eq!(reader.read(1).unwrap(), None);

            let mut reader = WavReader::new(&bytes[..]).unwrap();
            let mut again = Waveform::default();
            while let Some(block) = reader.read(999).unwrap() {
                again.extend(&block);
            }
            assert_eq!(again, song);
            assert!(reader.finish().unwrap().is_empty());
        }
    }

    #[test]
    fn samples_beyond_full_scale_and_not_finite_travel_unchanged() {
        let odd = vec![f32::INFINITY, f32::MIN_POSITIVE / 2.0, -9.5];
        let song = Waveform::new(odd.clone(), odd);
        let bytes = file(&song);
        assert_eq!(WavReader::new(&bytes[..]).unwrap().read_all().unwrap(), song);
    }

    #[test]
    fn the_announced_length_is_kept_to() {
        let mut writer = WavWriter::new(Vec::new(), 10).unwrap();
        writer.write(&ramp(9)).unwrap();
        let error = writer.write(&ramp(2)).unwrap_err();
        assert!(matches!(error, EncodeError::Length { expected: 10, actual: 11 }));

        let mut writer = WavWriter::new(Vec::new(), 10).unwrap();
        writer.write(&ramp(9)).unwrap();
        let error = writer.finish().unwrap_err();
        assert!(matches!(error, EncodeError::Length { expected: 10, actual: 9 }));

        let error = WavWriter::new(Vec::new(), WAV_MAX_FRAMES + 1).unwrap_err();
        assert!(matches!(error, EncodeError::TooLong { .. }));
        assert!(WavWriter::new(Vec::new(), WAV_MAX_FRAMES).is_ok());
    }

    #[test]
    fn a_truncated_file_is_an_error_wherever_it_ends() {
        let bytes = file(&ramp(5));
        for end in 0..bytes.len() {
            let mut reader = match WavReader::new(&bytes[..end]) {
                Ok(reader) => reader,
                Err(WavError::Form(_)) if end < 58 => continue,
                Err(error) => panic!("cut at {end}: {error}"),
            };
            let actual = (end as u64 - 58) / 8;
            let error = reader.read_all().unwrap_err();
            let WavError::Truncated { expected: 5, actual: read } = error else {
                panic!("cut at {end}: {error}");
            };
            assert_eq!(read, actual);
            assert!(WavReader::new(&bytes[..end]).unwrap().finish().is_err());
        }
    }

    #[test]
    fn a_header_that_promises_gigabytes_takes_no_memory() {
        let mut bytes = header(WAV_MAX_FRAMES as u32, &Tags::default());
        bytes.extend_from_slice(&[0; 80]);
        let mut reader = WavReader::new(&bytes[..]).unwrap();
        let error = reader.read_all().unwrap_err();
        assert!(matches!(error, WavError::Truncated { actual: 10, .. }));
    }

    #[test]
    fn tags_do_not_shift_the_samples() {
        let tags = Tags { title: Some("Ä".into()), genre: Some("x".into()), ..Tags::default() };
        let song = ramp(3);
        let mut writer = WavWriter::with_tags(Vec::new(), 3, &tags).unwrap();
        writer.write(&song).unwrap();
        let bytes = writer.finish().unwrap();
        assert!(
            bytes.windows(22).any(|part| part == b"INAM\x03\0\0\0\xC3\x84\0\0IGNR\x02\0\0\0x\0")
        );
        assert_eq!(bytes.len() - 8, u32::from_le_bytes([bytes[4], bytes[5], 0, 0]) as usize);
        assert_eq!(WavReader::new(&bytes[..]).unwrap().read_all().unwrap(), song);
    }

    #[test]
    fn unknown_chunks_are_passed_over() {
        let song = ramp(3);
        let bytes = file(&song);
        let mut longer = bytes[..12].to_vec();
        longer.extend_from_slice(b"LIST\x03\0\0\0abc\0");
        longer.extend_from_slice(&bytes[12..]);
        longer.extend_from_slice(b"LIST\x01\0\0\0a\0");
        let mut reader = WavReader::new(&longer[..]).unwrap();
        assert_eq!(reader.read_all().unwrap(), song);
        assert!(reader.finish().unwrap().is_empty());
    }

    #[test]
    fn other_sample_formats_are_refused_by_name() {
        // Offsets of the tag, the channels, the rate, the bits.
        for (at, name) in [(20, "format"), (22, "channels"), (24, "Hz"), (34, "bits")] {
            let mut bytes = file(&ramp(1));
            bytes[at] += 1;
            let error = WavReader::new(&bytes[..]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
