//! Whole numbers of a few bits each, as DiffQ stores them (`bitpack.pyx` in its sources): bit `b`
//! of 64 numbers, a row apart from each other, makes one word. A tensor is lines of bits of rows of
//! words.

use super::tensor::count;
use super::{Damaged, Tensor};

/// DiffQ has no wider numbers.
const MAX_BITS: usize = 15;

/// The first `wanted` numbers of those that are stored.
pub(super) fn unpack(packed: &Tensor, wanted: usize) -> Result<Vec<u16>, Damaged> {
    let [lines, bits, row] = packed.shape[..] else {
        return Err(Damaged::new(format!("packed values of shape {:?}", packed.shape)));
    };
    // Nothing but zeros has no bits: there, the shape alone says how many they are.
    let most = count(&[lines, 64, row]).unwrap_or(usize::MAX);
    if bits > MAX_BITS || most < wanted {
        return Err(Damaged::new(format!("{lines} lines of {bits} bits are not {wanted} values")));
    }
    let words: Vec<u64> = packed.words()?.collect();
    let mut numbers = vec![0; wanted];
    for (line, words) in words.chunks_exact((bits * row).max(1)).enumerate() {
        let start = (line * 64 * row).min(wanted);
        for (at, number) in numbers[start..].iter_mut().take(64 * row).enumerate() {
            *number = one(words, bits, row, at);
        }
    }
    Ok(numbers)
}

/// Number `at` of one line.
fn one(words: &[u64], bits: usize, row: usize, at: usize) -> u16 {
    let (place, column) = (at / row, at % row);
    (0..bits).fold(0, |number, bit| {
        let set = words[bit * row + column] >> place & 1;
        number | (set as u16) << bit
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Dtype;

    fn packed(shape: [usize; 3], words: &[u64]) -> Tensor {
        let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Tensor::new(Dtype::I64, shape.to_vec(), data.into()).unwrap()
    }

    #[test]
    fn bits_of_a_number_come_from_as_many_words() {
        // Two lines of two bits of one word each: 64 numbers per line.
        let tensor = packed([2, 2, 1], &[0b0101, 0b0011, u64::MAX, 0]);
        let numbers = unpack(&tensor, 66).unwrap();
        assert_eq!(numbers[..5], [3, 2, 1, 0, 0]);
        assert_eq!(numbers[64..], [1, 1]);
    }

    #[test]
    fn zeros_need_no_bits() {
        assert_eq!(unpack(&packed([1, 0, 32], &[]), 3).unwrap(), [0, 0, 0]);
    }

    #[test]
    fn too_few_are_an_error() {
        assert!(unpack(&packed([1, 1, 1], &[0]), 65).is_err());
        assert!(unpack(&packed([1, 16, 1], &[0; 16]), 1).is_err());
        assert!(unpack(&packed([0, 0, 0], &[]), 1).is_err());
    }
}
