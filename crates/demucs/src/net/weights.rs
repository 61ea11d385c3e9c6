//! The tensors of a model file, handed out to the parts of a network.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Deref;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

use crate::error::{LoadError, Mismatch};

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
    unclaimed: BTreeMap<String, Tensor>,
    missing: Vec<String>,
    misshapen: Vec<String>,
}

impl Weights {
    /// Copies all tensors to `device`, as f32.
    pub(crate) fn read(file: &SafeTensors, device: Device) -> Result<Self, LoadError> {
        let mut unclaimed = BTreeMap::new();
        for (name, view) in file.iter() {
            let tensor = tensor(name, &view)?.f_to_device(device)?.f_to_kind(Kind::Float)?;
            unclaimed.insert(name.to_owned(), tensor);
        }
        Ok(Self { unclaimed, missing: Vec::new(), misshapen: Vec::new() })
    }

    /// The place that all names start from.
    pub(crate) fn root(&mut self) -> Scope<'_> {
        Scope { weights: self, path: String::new() }
    }

    /// Says whether all parts found their tensors, and all tensors their part.
    pub(crate) fn finish(self) -> Result<(), Mismatch> {
        let surplus: Vec<String> = self.unclaimed.into_keys().collect();
        let mismatch = Mismatch { missing: self.missing, surplus, misshapen: self.misshapen };
        if mismatch.is_none() { Ok(()) } else { Err(mismatch) }
    }
}

/// The tensors whose names begin with one path.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    weights: &'a mut Weights,
    path: String,
}

impl Scope<'_> {
    /// The tensors below `name`.
    pub(crate) fn at(&mut self, name: impl Display) -> Scope<'_> {
        Scope { path: format!("{}{name}.", self.path), weights: self.weights }
    }

    /// Takes the tensor `name`, which has to be of this shape.
    ///
    /// If it is not, that is noted for [`Weights::finish`], and what is returned stands in for it
    /// while the rest of the network is looked through.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[i64]) -> Weight {
        let name = format!("{}{name}", self.path);
        match self.weights.unclaimed.remove(&name) {
            Some(tensor) if tensor.size() == shape => return Weight(tensor),
            Some(tensor) => {
                let told = format!("{name} {:?}, not {shape:?}", tensor.size());
                self.weights.misshapen.push(told);
            }
            None => self.weights.missing.push(name),
        }
        Weight(Tensor::zeros([0], (Kind::Float, Device::Cpu)))
    }
}

fn tensor(name: &str, view: &TensorView) -> Result<Tensor, LoadError> {
    let kind = match view.dtype() {
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        other => {
            let reason = format!("{name} is of type {other:?}, not F16, BF16 or F32");
            return Err(LoadError::Format(reason));
        }
    };
    let shape: Vec<i64> = view.shape().iter().map(|size| *size as i64).collect();
    Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
}
