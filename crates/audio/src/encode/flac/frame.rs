//! A block of both channels (RFC 9639, section 9).

use super::bits::{Bits, crc_8, crc_16};
use super::subframe::Subframe;
use super::{BITS, BLOCK};

/// Codes of the frame header.
const SYNC: u64 = 0xFFF8; // blocks of one length
const BLOCK_OF_4096: u64 = 12;
const BLOCK_IN_16_BITS: u64 = 7;
const RATE_44_100: u64 = 9;
const SAMPLES_OF_24_BITS: u64 = 6;

/// Codes of the ways to write two channels.
const LEFT_RIGHT: u64 = 1;
const LEFT_SIDE: u64 = 8;
const SIDE_RIGHT: u64 = 9;
const MID_SIDE: u64 = 10;

/// The bytes of block `number`: `left` and `right` of the same length, up to [`BLOCK`].
pub(super) fn frame(number: u64, left: &[i32], right: &[i32]) -> Vec<u8> {
    let both = || left.iter().zip(right);
    let mid: Vec<i32> = both().map(|(l, r)| (l + r) >> 1).collect();
    let side: Vec<i32> = both().map(|(l, r)| l - r).collect();
    let [left, right, mid] = [left, right, &mid].map(|samples| Subframe::new(samples, BITS));
    // A difference takes one bit more.
    let side = Subframe::new(&side, BITS + 1);

    let ways = [
        (LEFT_RIGHT, [&left, &right]),
        (LEFT_SIDE, [&left, &side]),
        (SIDE_RIGHT, [&side, &right]),
        (MID_SIDE, [&mid, &side]),
    ];
    let cost = |channels: &[&Subframe<'_>; 2]| channels[0].cost() + channels[1].cost();
    let mut best = &ways[0];
    for way in &ways[1..] {
        if cost(&way.1) < cost(&best.1) {
            best = way;
        }
    }
    let (way, channels) = best;

    let mut bits = Bits::default();
    write_header(&mut bits, number, channels[0].frames(), *way);
    for channel in channels {
        channel.write(&mut bits);
    }
    bits.align();
    let crc = crc_16(bits.bytes());
    bits.put(u64::from(crc), 16);
    bits.into_bytes()
}

fn write_header(bits: &mut Bits, number: u64, frames: usize, way: u64) {
    let whole = frames == BLOCK;
    bits.put(SYNC, 16);
    bits.put(if whole { BLOCK_OF_4096 } else { BLOCK_IN_16_BITS }, 4);
    bits.put(RATE_44_100, 4);
    bits.put(way, 4);
    bits.put(SAMPLES_OF_24_BITS << 1, 4);
    write_number(bits, number);
    if !whole {
        bits.put(frames as u64 - 1, 16);
    }
    let crc = crc_8(bits.bytes());
    bits.put(u64::from(crc), 8);
}

/// A number as UTF-8 writes a character, but up to 36 bits.
fn write_number(bits: &mut Bits, number: u64) {
    if number < 0x80 {
        return bits.put(number, 8);
    }
    // One byte that follows makes room for 11 bits, each further one for 5 more.
    let used = u64::BITS - number.leading_zeros();
    let following = (used - 6).div_ceil(5);
    let lead = 0xFF_u64 << (7 - following) & 0xFF;
    bits.put(lead | number >> (6 * following), 8);
    for byte in (0..following).rev() {
        bits.put(0x80 | (number >> (6 * byte) & 0x3F), 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u64) -> Vec<u8> {
        let mut bits = Bits::default();
        write_number(&mut bits, number);
        bits.into_bytes()
    }

    #[test]
    fn numbers_are_written_as_utf_8_writes_characters() {
        for code in ['\0', '\u{7F}', '\u{80}', '\u{7FF}', '\u{800}', '\u{FFFF}', '\u{10000}'] {
            assert_eq!(number(u64::from(code)), code.to_string().as_bytes());
        }
        assert_eq!(number(0x20_0000), [0xF8, 0x88, 0x80, 0x80, 0x80]);
        assert_eq!(number(0x7FFF_FFFF), [0xFD, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF]);
        assert_eq!(number(0xF_FFFF_FFFF), [0xFE, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF]);
    }

    #[test]
    fn a_block_of_silence_is_a_few_bytes() {
        let silence = [0; BLOCK];
        let bytes = frame(0, &silence, &silence);
        assert_eq!(bytes.len(), 6 + 4 + 4 + 2);
        assert_eq!(crc_16(&bytes), 0);
    }
}
