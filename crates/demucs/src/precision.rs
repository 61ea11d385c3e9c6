use std::fmt;
use std::str::FromStr;

/// In what numbers a network computes. Spectrograms, the scaling of what goes in and comes out,
/// attention's weights and the sums of segments are of single precision with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats: what the reference computes with.
    Single,
    /// 16-bit floats.
    Half,
    /// 16-bit floats with the range of 32-bit ones, and fewer digits.
    Brain,
}

/// Not the name of a [`Precision`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no precision {0:?}: it is f32, f16 or bf16")]
pub struct UnknownPrecision(String);

impl Precision {
    pub(crate) fn kind(self) -> tch::Kind {
        match self {
            Self::Single => tch::Kind::Float,
            Self::Half => tch::Kind::Half,
            Self::Brain => tch::Kind::BFloat16,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Single => "f32",
            Self::Half => "f16",
            Self::Brain => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        match name {
            "f32" => Ok(Self::Single),
            "f16" => Ok(Self::Half),
            "bf16" => Ok(Self::Brain),
            _ => Err(UnknownPrecision(name.to_owned())),
        }
    }
}
