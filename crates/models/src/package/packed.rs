//! Weights that DiffQ has quantized (`diffq/base.py`, `diffq/diffq.py`).

use std::collections::BTreeMap;
use std::vec;

use super::node::Node;
use super::tensor::count;
use super::{Damaged, Dtype, Tensor, bits};

/// The class, in DiffQ, of the one quantizer that published models use.
const CLASS: &str = "diffq.diffq.DiffQuantizer";

/// The widths that DiffQ stores levels of, in bits. It could use 15 as well, and loses those.
const WIDTHS: usize = 14;

/// Quantized weights. They have no names: they come in the order in which the modules of the
/// network, and in each of these its parameters, were registered, a module before those in it.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Parameters of more values than this are quantized.
    small: usize,
    group: usize,
    min_bits: u16,
    quantized: vec::IntoIter<Quantized>,
    plain: vec::IntoIter<Tensor>,
}

/// One quantized parameter.
#[derive(Clone, Debug)]
struct Quantized {
    /// The levels of all groups whose levels have 1 bit, 2 bits, …
    levels: Vec<Option<Tensor>>,
    /// What the lowest and the highest level stand for.
    range: [f64; 2],
    /// How many bits the levels of each group have, above the least.
    bits: Tensor,
}

impl Packed {
    pub(super) fn new(mut state: BTreeMap<String, Node>) -> Result<Self, Damaged> {
        let mut part = |name: &str| {
            let missing = || Damaged::new(format!("its quantized state has no {name:?}"));
            state.remove(name).ok_or_else(missing)
        };
        let options = options(part("meta")?.into_dict("meta")?)?;
        let number = |name: &str, default: f64| {
            options.get(name).map_or(Ok(default), |value| value.number(name))
        };
        let is_half = options.get("float16").is_some_and(Node::is_true);
        let plain = part(if is_half { "float16" } else { "others" })?.into_list("parameters")?;
        let plain: Vec<Tensor> =
            plain.into_iter().map(|node| floats(node, is_half)).collect::<Result<_, _>>()?;
        let quantized = part("quantized")?.into_list("quantized")?;
        let quantized: Vec<Quantized> =
            quantized.into_iter().map(Quantized::new).collect::<Result<_, _>>()?;
        Ok(Self {
            small: (number("min_size", 0.01)? * f64::from(1 << 20) / 4.0).floor() as usize,
            group: whole("group_size", number("group_size", 1.0)?)?,
            min_bits: whole("min_bits", number("min_bits", 2.0)?)? as u16,
            quantized: quantized.into_iter(),
            plain: plain.into_iter(),
        })
    }

    /// Takes the next parameter, which has to be of this shape: as F32 if it was quantized, else as
    /// it is stored.
    pub fn take(&mut self, shape: &[usize]) -> Result<Tensor, Damaged> {
        let missing = || Damaged::new(format!("it ends before a parameter of {shape:?}"));
        let values = count(shape).ok_or_else(missing)?;
        if values > self.small {
            let quantized = self.quantized.next().ok_or_else(missing)?;
            let values = quantized.values(values, self.group, self.min_bits)?;
            return Tensor::of_f32(shape.to_owned(), &values);
        }
        let tensor = self.plain.next().ok_or_else(missing)?;
        if tensor.shape != shape {
            let found = tensor.shape;
            return Err(Damaged::new(format!(
                "a parameter of {found:?} is where {shape:?} is due"
            )));
        }
        Ok(tensor)
    }

    /// How many parameters have not been taken yet.
    pub fn left(&self) -> usize {
        self.quantized.len() + self.plain.len()
    }
}

/// What the quantizer was made with.
fn options(mut meta: BTreeMap<String, Node>) -> Result<BTreeMap<String, Node>, Damaged> {
    let class = meta.remove("klass").unwrap_or(Node::None).into_class("its quantizer")?;
    if class != CLASS {
        return Err(Damaged::new(format!("the quantizer {class} is not implemented, {CLASS} is")));
    }
    let is_set = |name: &str| meta.get(name).is_some_and(Node::is_true);
    if !is_set("packed") || is_set("torch_pack") {
        return Err(Damaged::new("its weights are packed in a way that is not implemented"));
    }
    let options = meta.remove("init_kwargs").unwrap_or(Node::Dict(BTreeMap::new()));
    let options = options.into_dict("the quantizer's options")?;
    // A parameter that was left out by its name could not be told from the others.
    if options.get("exclude").is_some_and(|names| *names != Node::List(Vec::new())) {
        return Err(Damaged::new("the quantizer's option `exclude` is not implemented"));
    }
    Ok(options)
}

/// A whole number above 0, small enough to count bits or values with.
fn whole(name: &str, number: f64) -> Result<usize, Damaged> {
    if number.fract() != 0.0 || !(1.0..=65_535.0).contains(&number) {
        return Err(Damaged::new(format!("the quantizer's {name} = {number} is not implemented")));
    }
    Ok(number as usize)
}

fn floats(node: Node, is_half: bool) -> Result<Tensor, Damaged> {
    let tensor = node.into_tensor("a parameter")?;
    let expected = if is_half { Dtype::F16 } else { Dtype::F32 };
    if tensor.dtype != expected {
        return Err(Damaged::new(format!("a parameter is {:?}, not {expected:?}", tensor.dtype)));
    }
    Ok(tensor)
}

impl Quantized {
    /// Reads `(levels, (lowest, highest), bits)`.
    fn new(node: Node) -> Result<Self, Damaged> {
        let strange = || Damaged::new("a quantized parameter is not of three parts");
        let parts = node.into_list("a quantized parameter")?;
        let [levels, range, bits] = <[Node; 3]>::try_from(parts).map_err(|_| strange())?;
        let range = range.into_list("the range of a parameter")?;
        let [lowest, highest] = <[Node; 2]>::try_from(range).map_err(|_| strange())?;
        let mut stored = Vec::new();
        for node in levels.into_list("the levels of a parameter")? {
            stored.push(match node {
                Node::None => None,
                node => Some(node.into_tensor("levels")?),
            });
        }
        stored.resize(WIDTHS, None);
        Ok(Self {
            levels: stored,
            range: [lowest.number("a range")?, highest.number("a range")?],
            bits: bits.into_tensor("the bits of a parameter")?,
        })
    }

    /// Its values, rounded at each step as DiffQ does (`diffq/uniform.py: uniform_unquantize`).
    fn values(&self, values: usize, group: usize, min_bits: u16) -> Result<Vec<f32>, Damaged> {
        if !values.is_multiple_of(group) {
            return Err(Damaged::new(format!("{values} values are no groups of {group}")));
        }
        let [lowest, highest] = self.range;
        let (span, lowest) = ((highest - lowest) as f32, lowest as f32);
        let widths = self.widths(values / group, min_bits)?;
        let mut levels = self.levels(&widths, group)?;
        let mut restored = Vec::with_capacity(values);
        for width in widths {
            let unit = 1.0 / ((1_u32 << width) - 1) as f32;
            for level in levels[width - 1].by_ref().take(group) {
                restored.push(f32::from(level) * unit * span + lowest);
            }
        }
        Ok(restored)
    }

    /// How many bits the levels of each group have.
    fn widths(&self, groups: usize, min_bits: u16) -> Result<Vec<usize>, Damaged> {
        let mut widths = Vec::with_capacity(groups);
        for above in bits::unpack(&self.bits, groups)? {
            let width = usize::from(above) + usize::from(min_bits);
            if width > WIDTHS {
                let why = format!("levels of {width} bits are not stored, only up to {WIDTHS}");
                return Err(Damaged::new(why));
            }
            widths.push(width);
        }
        Ok(widths)
    }

    /// The levels of all groups of each width, one group after the other.
    fn levels(&self, widths: &[usize], group: usize) -> Result<Vec<vec::IntoIter<u16>>, Damaged> {
        let mut levels = Vec::with_capacity(WIDTHS);
        for (below, stored) in self.levels.iter().take(WIDTHS).enumerate() {
            let groups = widths.iter().filter(|width| **width == below + 1).count();
            let unpacked = match stored {
                Some(packed) => bits::unpack(packed, groups * group)?,
                None if groups == 0 => Vec::new(),
                None => return Err(Damaged::new(format!("levels of {} bits miss", below + 1))),
            };
            levels.push(unpacked.into_iter());
        }
        Ok(levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dict<const N: usize>(entries: [(&str, Node); N]) -> Node {
        Node::Dict(entries.into_iter().map(|(name, node)| (name.to_owned(), node)).collect())
    }

    fn words(shape: &[usize], words: &[u64]) -> Node {
        let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Node::Tensor(Tensor::new(Dtype::I64, shape.to_vec(), data.into()).unwrap())
    }

    /// One parameter of two values, in one group whose levels have 2 bits and `above`.
    fn packed(class: &str, option: (&str, Node), above: u64) -> Result<Packed, Damaged> {
        let options = [("min_size", Node::Int(0)), ("group_size", Node::Int(2)), option];
        let meta = [
            ("klass", Node::Class(class.to_owned())),
            ("packed", Node::Bool(true)),
            ("init_kwargs", dict(options)),
        ];
        let levels = Node::List(vec![Node::None, words(&[1, 2, 1], &[0b10, 0b11])]);
        let range = Node::List(vec![Node::Float(-1.0), Node::Int(2)]);
        let bits = words(&[1, 4, 1], &[above & 1, above >> 1 & 1, above >> 2 & 1, above >> 3]);
        let state = dict([
            ("meta", dict(meta)),
            ("quantized", Node::List(vec![Node::List(vec![levels, range, bits])])),
            ("others", Node::List(Vec::new())),
        ]);
        Packed::new(state.into_dict("state").unwrap())
    }

    fn plain() -> (&'static str, Node) {
        ("detect_bound", Node::Bool(true))
    }

    #[test]
    fn levels_are_steps_between_the_ends_of_the_range() {
        let restored = packed(CLASS, plain(), 0).unwrap().take(&[2]).unwrap();
        assert_eq!(restored, Tensor::of_f32(vec![2], &[1.0, 2.0]).unwrap());
    }

    #[test]
    fn what_is_not_stored_or_not_implemented_is_named() {
        let error = packed(CLASS, plain(), 13).unwrap().take(&[2]).unwrap_err().to_string();
        assert!(error.contains("15 bits are not stored"), "{error}");
        let error = packed(CLASS, plain(), 1).unwrap().take(&[2]).unwrap_err().to_string();
        assert!(error.contains("levels of 3 bits miss"), "{error}");
        let uniform = packed("diffq.uniform.UniformQuantizer", plain(), 0).unwrap_err();
        assert!(uniform.to_string().contains("UniformQuantizer is not implemented"), "{uniform}");
        let names = Node::List(vec![Node::Text("bias".to_owned())]);
        let error = packed(CLASS, ("exclude", names), 0).unwrap_err().to_string();
        assert!(error.contains("`exclude`"), "{error}");
    }
}
