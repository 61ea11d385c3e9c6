/// Bytes written bit by bit, the highest first.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits that do not fill a byte yet, fewer than eight.
    open: u64,
    count: u32,
}

impl Bits {
    /// Appends the lowest `count` bits of `value`, at most 56.
    pub(super) fn put(&mut self, value: u64, count: u32) {
        debug_assert!(count <= 56);
        self.open = self.open << count | (value & ((1 << count) - 1));
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.open >> self.count) as u8);
        }
        self.open &= (1 << self.count) - 1;
    }

    /// Appends `value` in two's complement.
    pub(super) fn put_signed(&mut self, value: i32, count: u32) {
        self.put(i64::from(value) as u64, count);
    }

    /// Appends `zeros` zeros and a one.
    pub(super) fn put_unary(&mut self, zeros: u32) {
        for _ in 0..zeros / 32 {
            self.put(0, 32);
        }
        self.put(1, zeros % 32 + 1);
    }

    /// Fills the last byte with zeros.
    pub(super) fn align(&mut self) {
        self.put(0, (8 - self.count) % 8);
    }

    /// The bytes that are complete.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.align();
        self.bytes
    }
}

/// The checksum of a frame's header: polynomial x^8 + x^2 + x + 1.
pub(super) fn crc_8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x07 })
    })
}

/// The checksum of a frame: polynomial x^16 + x^15 + x^2 + 1.
pub(super) fn crc_16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ CRC_16[usize::from((crc >> 8) as u8 ^ byte)])
}

/// What each byte does to the 16-bit checksum.
const CRC_16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x8005 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_stand_in_the_order_they_came() {
        let mut bits = Bits::default();
        bits.put(0b101, 3);
        bits.put_signed(-1, 2);
        bits.put_unary(4);
        bits.put(0xABCD_EF01_2345, 48);
        bits.put(1, 1);
        assert_eq!(bits.into_bytes(), [0xB8, 0x6A, 0xF3, 0x7B, 0xC0, 0x48, 0xD1, 0x60]);
        let mut bits = Bits::default();
        bits.put_unary(70);
        assert_eq!(bits.into_bytes(), [0, 0, 0, 0, 0, 0, 0, 0, 0b10]);
    }

    #[test]
    fn checksums_are_those_of_the_catalogue() {
        // The check values of CRC-8/SMBUS and CRC-16/UMTS.
        assert_eq!(crc_8(b"123456789"), 0xF4);
        assert_eq!(crc_16(b"123456789"), 0xFEE8);
    }
}
