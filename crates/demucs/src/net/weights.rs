//! The tensors of a model file, handed out to the parts of a network.

use std::fmt::Display;
use std::ops::Deref;

use models::State;
use models::package::{Dtype, Tensor as Stored};
use tch::{Device, Kind, Tensor};

use crate::Mismatch;

/// A tensor that no one changes. Its copies share what it holds.
#[derive(Debug)]
pub(crate) struct Weight(Tensor);

impl Weight {
    pub(crate) fn map(self, change: impl FnOnce(Tensor) -> Tensor) -> Self {
        // A stand-in for what is missing has no elements, and no shape.
        if self.0.numel() == 0 { self } else { Self(change(self.0)) }
    }
}

impl From<Tensor> for Weight {
    fn from(tensor: Tensor) -> Self {
        Self(tensor)
    }
}

impl Deref for Weight {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.0
    }
}

impl Clone for Weight {
    fn clone(&self) -> Self {
        Self(self.0.shallow_clone())
    }
}

/// The tensors that no part of the network has asked for yet.
#[derive(Debug)]
pub(crate) struct Weights {
    unclaimed: State,
    device: Device,
    kind: Kind,
    mismatch: Mismatch,
}

impl Weights {
    /// Tensors that will be on `device`, as `kind`.
    pub(crate) fn new(state: State, device: Device, kind: Kind) -> Self {
        Self { unclaimed: state, device, kind, mismatch: Mismatch::default() }
    }

    /// The place that all names start from.
    pub(crate) fn root(&mut self) -> Scope<'_> {
        Scope { weights: self, path: String::new() }
    }

    /// Says whether all parts found their tensors, and all tensors their part.
    pub(crate) fn finish(mut self) -> Result<(), Mismatch> {
        match self.unclaimed {
            State::Named(named) => self.mismatch.surplus.extend(named.into_keys()),
            State::Packed(packed) if packed.left() > 0 => {
                self.mismatch.surplus.push(format!("{} without a name", packed.left()));
            }
            State::Packed(_) => {}
        }
        if self.mismatch.is_none() { Ok(()) } else { Err(self.mismatch) }
    }

    /// The tensor of this name, or without names, the next.
    fn claim(&mut self, name: &str, shape: &[i64]) -> Option<Tensor> {
        let sizes: Vec<usize> = shape.iter().map(|size| *size as usize).collect();
        let stored = match &mut self.unclaimed {
            State::Named(named) => named.remove(name),
            State::Packed(packed) => match packed.take(&sizes) {
                Ok(tensor) => Some(tensor),
                Err(why) => {
                    self.mismatch.misshapen.push(format!("{name}: {why}"));
                    return None;
                }
            },
        };
        let Some(stored) = stored else {
            self.mismatch.missing.push(name.to_owned());
            return None;
        };
        if stored.shape != sizes {
            let told = format!("{name} {:?}, not {shape:?}", stored.shape);
            self.mismatch.misshapen.push(told);
            return None;
        }
        Some(tensor(&stored, shape).to_device(self.device).to_kind(self.kind))
    }
}

/// The tensors whose names begin with one path.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    weights: &'a mut Weights,
    path: String,
}

impl Scope<'_> {
    /// Where the tensors are.
    pub(crate) fn device(&self) -> Device {
        self.weights.device
    }

    /// What they are of.
    pub(crate) fn kind(&self) -> Kind {
        self.weights.kind
    }

    /// The tensors below `name`.
    pub(crate) fn at(&mut self, name: impl Display) -> Scope<'_> {
        Scope { path: format!("{}{name}.", self.path), weights: self.weights }
    }

    /// Takes the tensor `name`, which has to be of this shape.
    ///
    /// If it is not, that is noted for [`Weights::finish`], and what is returned stands in for it
    /// while the rest of the network is looked through.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[i64]) -> Weight {
        let claimed = self.weights.claim(&format!("{}{name}", self.path), shape);
        Weight(claimed.unwrap_or_else(|| Tensor::zeros([0], (Kind::Float, Device::Cpu))))
    }
}

fn tensor(stored: &Stored, shape: &[i64]) -> Tensor {
    let kind = match stored.dtype {
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        Dtype::U8 | Dtype::I64 => unreachable!("weights are floats: `Package` has seen to it"),
    };
    Tensor::from_data_size(&stored.data, shape, kind)
}
