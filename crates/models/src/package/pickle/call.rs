//! The calls that a model's pickle makes.

use super::Machine;
use super::heap::{Heap, Id, Object, Storage, View};
use crate::package::{Damaged, Dtype};

impl Machine {
    /// Calls a function or a class with a tuple.
    pub(super) fn call(&mut self) -> Result<(), Damaged> {
        let (args, function) = (self.pop()?, self.pop()?);
        let Object::Class(name) = self.heap.get(function) else {
            return Err(Damaged::new("its pickle calls what is no function"));
        };
        let Object::List(args) = self.heap.get(args) else {
            return Err(Damaged::new("its pickle calls with what are no arguments"));
        };
        let wrong = || Damaged::new(format!("its pickle calls {name} in a way that is not known"));
        let made = match name.as_str() {
            "torch._utils._rebuild_tensor_v2" => view(&self.heap, args).map(Object::View),
            // A parameter is its tensor, and a size is a tuple.
            "torch._utils._rebuild_parameter" | "torch.Size" => {
                let same = *args.first().ok_or_else(wrong)?;
                self.stack.push(same);
                return Ok(());
            }
            "collections.OrderedDict" => dict(&self.heap, args).map(Object::Dict),
            "fractions.Fraction" => fraction(&self.heap, args),
            _ => {
                return Err(Damaged::new(format!("its pickle calls {name}, which no model needs")));
            }
        };
        let made = made.ok_or_else(wrong)?;
        self.push(made);
        Ok(())
    }

    /// Makes an object without calling its class. No part of a model is made so.
    pub(super) fn instance(&mut self) -> Result<(), Damaged> {
        let (_, class) = (self.pop()?, self.pop()?);
        let name = match self.heap.get(class) {
            Object::Class(name) => name,
            _ => "thing that is of no class",
        };
        Err(Damaged::new(format!("its pickle makes a {name}, which no model needs")))
    }

    /// Gives an object its attributes. A state has some, of which no weights depend.
    pub(super) fn build(&mut self) -> Result<(), Damaged> {
        self.pop()?;
        match self.heap.get(self.top()?) {
            Object::Dict(_) => Ok(()),
            _ => Err(Damaged::new("its pickle gives attributes to what has none")),
        }
    }

    /// A storage, from `("storage", class, key, device, values)`.
    pub(super) fn persistent(&mut self) -> Result<(), Damaged> {
        let id = self.pop()?;
        let storage = storage(&self.heap, id)?;
        self.push(Object::Storage(storage));
        Ok(())
    }
}

fn storage(heap: &Heap, id: Id) -> Result<Storage, Damaged> {
    let strange = || Damaged::new("its pickle refers to what is no storage");
    let Object::List(parts) = heap.get(id) else { return Err(strange()) };
    let [kind, class, key, _, values] = parts[..] else { return Err(strange()) };
    let (Object::Text(kind), Object::Class(class)) = (heap.get(kind), heap.get(class)) else {
        return Err(strange());
    };
    let (Object::Text(key), Some(values)) = (heap.get(key), size(heap, values)) else {
        return Err(strange());
    };
    if kind != "storage" {
        return Err(strange());
    }
    let dtype = match class.as_str() {
        "torch.HalfStorage" => Dtype::F16,
        "torch.BFloat16Storage" => Dtype::BF16,
        "torch.FloatStorage" => Dtype::F32,
        "torch.ByteStorage" => Dtype::U8,
        "torch.LongStorage" => Dtype::I64,
        other => return Err(Damaged::new(format!("it holds values as {other}"))),
    };
    Ok(Storage { dtype, key: key.clone(), values })
}

/// A tensor from `(storage, offset, shape, strides, …)`; what follows is for training.
fn view(heap: &Heap, args: &[Id]) -> Option<View> {
    let [storage, offset, shape, strides, ..] = args else { return None };
    let Object::Storage(storage) = heap.get(*storage) else { return None };
    let [shape, strides] = [shape, strides].map(|list| match heap.get(*list) {
        Object::List(items) => items.iter().map(|item| size(heap, *item)).collect(),
        _ => None,
    });
    let (shape, strides): (Vec<usize>, Vec<usize>) = (shape?, strides?);
    let is_whole = shape.len() == strides.len();
    let storage = storage.clone();
    is_whole.then_some(View { storage, offset: size(heap, *offset)?, shape, strides })
}

fn size(heap: &Heap, id: Id) -> Option<usize> {
    match heap.get(id) {
        Object::Int(number) => usize::try_from(*number).ok(),
        _ => None,
    }
}

/// An ordered dictionary, empty or from a list of pairs.
fn dict(heap: &Heap, args: &[Id]) -> Option<Vec<(Id, Id)>> {
    let [pairs] = args else { return args.is_empty().then(Vec::new) };
    let Object::List(pairs) = heap.get(*pairs) else { return None };
    let pair = |id: &Id| match heap.get(*id) {
        Object::List(items) => <[Id; 2]>::try_from(items.as_slice()).ok(),
        _ => None,
    };
    pairs.iter().map(|id| pair(id).map(|[key, value]| (key, value))).collect()
}

/// From `(39, 5)`, or `("39/5",)` as older versions of Python write it.
fn fraction(heap: &Heap, args: &[Id]) -> Option<Object> {
    let int = |id: Id| match heap.get(id) {
        Object::Int(number) => Some(*number),
        _ => None,
    };
    let (numerator, denominator) = match *args {
        [numerator, denominator] => (int(numerator)?, int(denominator)?),
        [text] => {
            let Object::Text(text) = heap.get(text) else { return None };
            let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
            (numerator.parse().ok()?, denominator.parse().ok()?)
        }
        _ => return None,
    };
    (denominator != 0).then_some(Object::Fraction(numerator, denominator))
}
