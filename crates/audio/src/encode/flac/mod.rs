//! FLAC of 24 bits (RFC 9639).

use std::io::{Seek, SeekFrom, Write};

use md5::{Digest, Md5};

use self::bits::Bits;
use super::EncodeError;
use crate::{CHANNELS, SAMPLE_RATE, Tags, Waveform};

mod bits;
mod frame;
mod subframe;

/// Bits of a sample.
const BITS: u32 = 24;

/// Frames of a block; the last may be shorter.
const BLOCK: usize = 4096;

/// The stream's field for its length has 36 bits.
const MAX_FRAMES: u64 = (1 << 36) - 1;

/// Types of metadata blocks, and the flag of the last of them.
const STREAM_INFO: u8 = 0;
const COMMENTS: u8 = 4;
const LAST: u8 = 0x80;

/// Bytes of the `fLaC` mark and of a metadata block's head.
const MARK: u64 = 4;
const HEAD: u64 = 4;

/// Comment names, in the order of [`Tags::fields`].
const NAMES: [&str; Tags::FIELDS] = ["TITLE", "ARTIST", "ALBUM", "TRACKNUMBER", "DATE", "GENRE"];

pub(super) struct FlacWriter<W> {
    out: W,
    /// Where the file begins in `out`.
    start: u64,
    frames: u64,
    /// Samples that do not fill a block yet.
    pending: [Vec<i32>; CHANNELS],
    blocks: u64,
    /// Bytes of the smallest and the largest block.
    sizes: Option<[usize; 2]>,
    digest: Md5,
}

impl<W: Write + Seek> FlacWriter<W> {
    pub(super) fn new(frames: u64, tags: &Tags, mut out: W) -> Result<Self, EncodeError> {
        if frames > MAX_FRAMES {
            return Err(EncodeError::TooLong { format: "FLAC", frames, limit: MAX_FRAMES });
        }
        let start = out.stream_position()?;
        let info = stream_info(frames, None, [0; 16]);
        let comments = comments(tags);
        out.write_all(b"fLaC")?;
        out.write_all(&head(STREAM_INFO, info.len()))?;
        out.write_all(&info)?;
        out.write_all(&head(COMMENTS | LAST, comments.len()))?;
        out.write_all(&comments)?;
        let pending = [Vec::new(), Vec::new()];
        Ok(Self { out, start, frames, pending, blocks: 0, sizes: None, digest: Md5::new() })
    }

    pub(super) fn write(&mut self, block: &Waveform) -> Result<(), EncodeError> {
        for (left, right) in block.left().iter().zip(block.right()) {
            self.pending[0].push(quantize(*left));
            self.pending[1].push(quantize(*right));
            if self.pending[0].len() == BLOCK {
                self.write_block()?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W, EncodeError> {
        if !self.pending[0].is_empty() {
            self.write_block()?;
        }
        let info = stream_info(self.frames, self.sizes, self.digest.finalize().into());
        self.out.seek(SeekFrom::Start(self.start + MARK + HEAD))?;
        self.out.write_all(&info)?;
        self.out.seek(SeekFrom::End(0))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write_block(&mut self) -> Result<(), EncodeError> {
        let [left, right] = &self.pending;
        for sample in left.iter().zip(right).flat_map(|(left, right)| [left, right]) {
            let [low, middle, high, _] = sample.to_le_bytes();
            self.digest.update([low, middle, high]);
        }
        let bytes = frame::frame(self.blocks, left, right);
        self.out.write_all(&bytes)?;
        let [least, most] = self.sizes.unwrap_or([bytes.len(); 2]);
        self.sizes = Some([least.min(bytes.len()), most.max(bytes.len())]);
        self.blocks += 1;
        self.pending.iter_mut().for_each(Vec::clear);
        Ok(())
    }
}

/// Full scale is 2^23; what exceeds it is clipped.
fn quantize(sample: f32) -> i32 {
    const FULL: f32 = (1 << (BITS - 1)) as f32;
    (sample * FULL).round().clamp(-FULL, FULL - 1.0) as i32
}

/// What a decoder has to know first. Sizes of zero are unknown.
fn stream_info(frames: u64, sizes: Option<[usize; 2]>, digest: [u8; 16]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(BLOCK as u64, 16);
    bits.put(BLOCK as u64, 16);
    for size in sizes.unwrap_or_default() {
        bits.put(size as u64, 24);
    }
    bits.put(u64::from(SAMPLE_RATE), 20);
    bits.put(CHANNELS as u64 - 1, 3);
    bits.put(u64::from(BITS) - 1, 5);
    bits.put(frames, 36);
    for byte in digest {
        bits.put(u64::from(byte), 8);
    }
    bits.into_bytes()
}

/// The head of a metadata block: its kind and its length in three bytes.
fn head(kind: u8, length: usize) -> [u8; HEAD as usize] {
    let [_, high, middle, low] = (length as u32).to_be_bytes();
    [kind, high, middle, low]
}

/// A Vorbis comment: who wrote it, then `NAME=value` lines, each with its length before it.
fn comments(tags: &Tags) -> Vec<u8> {
    let said = NAMES.iter().zip(tags.fields());
    let lines = said.filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    let lines: Vec<String> = lines.collect();
    let mut block = Vec::new();
    push_string(&mut block, "Stemflow");
    block.extend_from_slice(&(lines.len() as u32).to_le_bytes());
    lines.iter().for_each(|line| push_string(&mut block, line));
    block
}

fn push_string(block: &mut Vec<u8>, text: &str) {
    block.extend_from_slice(&(text.len() as u32).to_le_bytes());
    block.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_the_nearest_24_bits_and_clip_at_full_scale() {
        assert_eq!(quantize(0.0), 0);
        assert_eq!(quantize(-1.0), -8_388_608);
        assert_eq!(quantize(1.0), 8_388_607);
        assert_eq!(quantize(9.0), 8_388_607);
        assert_eq!(quantize(0.5), 4_194_304);
        assert_eq!(quantize(-0.6 / 8_388_608.0), -1);
    }

    #[test]
    fn the_stream_info_has_its_34_bytes() {
        let info = stream_info(0xF_0000_0001, Some([0x10, 0x20]), [7; 16]);
        assert_eq!(info.len(), 34);
        assert_eq!(info[10..18], [0x0A, 0xC4, 0x43, 0x7F, 0, 0, 0, 1]);
    }
}
