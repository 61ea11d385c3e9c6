use bytes::Bytes;

use super::Damaged;

/// The type of a tensor's values, which lie in the order of bytes of the little end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it all")]
pub enum Dtype {
    F16,
    BF16,
    F32,
    U8,
    I64,
}

impl Dtype {
    /// How many bytes a value has.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::I64 => 8,
        }
    }

    /// Whether weights can be of this type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32)
    }
}

/// Values in rows of rows, the last axis being the innermost.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The type of its values.
    pub dtype: Dtype,
    /// Its length along each axis.
    pub shape: Vec<usize>,
    /// Its values, one behind the other. Cloning them copies nothing.
    pub data: Bytes,
}

impl Tensor {
    /// Holds the shape against the data.
    pub(super) fn new(dtype: Dtype, shape: Vec<usize>, data: Bytes) -> Result<Self, Damaged> {
        if bytes_of(dtype, &shape) != Some(data.len()) {
            let bytes = data.len();
            return Err(Damaged::new(format!(
                "{bytes} bytes are no {dtype:?} tensor of {shape:?}"
            )));
        }
        Ok(Self { dtype, shape, data })
    }

    pub(super) fn of_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self, Damaged> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::new(Dtype::F32, shape, bytes.into())
    }

    /// The values of an I64 tensor, as the bits that they are.
    pub(super) fn words(&self) -> Result<impl Iterator<Item = u64>, Damaged> {
        if self.dtype != Dtype::I64 {
            return Err(Damaged::new(format!("packed values are I64, not {:?}", self.dtype)));
        }
        let (words, _) = self.data.as_chunks::<8>();
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)))
    }
}

/// How many values a tensor of that shape has, if it can be counted.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length))
}

fn bytes_of(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    count(shape)?.checked_mul(dtype.bytes())
}
