use std::collections::BTreeMap;

use crate::package::node::Node;
use crate::package::{Damaged, Dtype, Tensor};

/// No model nests its values deeper.
const MOST_DEPTH: usize = 32;

/// Quantized models have some thousand values.
const MOST_NODES: usize = 1 << 20;

/// The place of an object on the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::package) struct Id(usize);

/// What a pickle can make.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::package) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Fraction(i64, i64),
    /// The full name of a class or a function.
    Class(String),
    /// A list or a tuple.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Storage(Storage),
    View(View),
}

/// Values in a file of their own.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::package) struct Storage {
    pub(in crate::package) dtype: Dtype,
    /// What the file is called by.
    pub(in crate::package) key: String,
    /// How many values it has.
    pub(in crate::package) values: usize,
}

/// A tensor as a part of a storage, counted in values.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::package) struct View {
    pub(in crate::package) storage: Storage,
    pub(in crate::package) offset: usize,
    pub(in crate::package) shape: Vec<usize>,
    pub(in crate::package) strides: Vec<usize>,
}

/// All that a pickle has made.
#[derive(Debug, Default)]
pub(in crate::package) struct Heap {
    objects: Vec<Object>,
}

/// Reads the values of a view.
type Load<'a> = dyn FnMut(&View) -> Result<Tensor, Damaged> + 'a;

impl Heap {
    pub(super) fn add(&mut self, object: Object) -> Id {
        self.objects.push(object);
        Id(self.objects.len() - 1)
    }

    pub(in crate::package) fn get(&self, id: Id) -> &Object {
        &self.objects[id.0]
    }

    pub(super) fn fill(&mut self, id: Id, in_pairs: bool, items: &[Id]) -> Result<(), Damaged> {
        match (&mut self.objects[id.0], in_pairs) {
            (Object::List(list), false) => list.extend_from_slice(items),
            (Object::Dict(entries), true) if items.len().is_multiple_of(2) => {
                entries.extend(items.as_chunks().0.iter().map(|[key, value]| (*key, *value)));
            }
            _ => return Err(Damaged::new("its pickle fills what is no list or dictionary")),
        }
        Ok(())
    }

    /// The entry of a dictionary; the last one of that name.
    pub(in crate::package) fn entry(&self, dict: Id, name: &str) -> Option<Id> {
        let Object::Dict(entries) = self.get(dict) else { return None };
        let is_it = |key: Id| matches!(self.get(key), Object::Text(text) if text == name);
        entries.iter().rev().find_map(|(key, value)| is_it(*key).then_some(*value))
    }

    /// An object with all that it refers to; `load` reads its tensors.
    pub(in crate::package) fn node(&self, id: Id, load: &mut Load) -> Result<Node, Damaged> {
        Unroll { heap: self, load, left: MOST_NODES }.node(id, MOST_DEPTH)
    }
}

struct Unroll<'a, 'b> {
    heap: &'a Heap,
    load: &'a mut Load<'b>,
    /// How many more nodes there may be.
    left: usize,
}

impl Unroll<'_, '_> {
    fn node(&mut self, id: Id, depth: usize) -> Result<Node, Damaged> {
        let too = |what| Damaged::new(format!("its pickle makes too {what} of it"));
        let below = depth.checked_sub(1).ok_or_else(|| too("deep a nest"))?;
        self.left = self.left.checked_sub(1).ok_or_else(|| too("much"))?;
        Ok(match self.heap.get(id) {
            Object::None => Node::None,
            Object::Bool(flag) => Node::Bool(*flag),
            Object::Int(number) => Node::Int(*number),
            Object::Float(number) => Node::Float(*number),
            Object::Text(text) => Node::Text(text.clone()),
            Object::Fraction(numerator, denominator) => Node::Fraction(*numerator, *denominator),
            Object::Class(name) => Node::Class(name.clone()),
            Object::View(view) => Node::Tensor((self.load)(view)?),
            Object::Storage(_) => return Err(Damaged::new("its pickle has a bare storage")),
            Object::List(items) => {
                let mut nodes = Vec::new();
                for item in items {
                    nodes.push(self.node(*item, below)?);
                }
                Node::List(nodes)
            }
            Object::Dict(entries) => self.dict(entries, below)?,
        })
    }

    fn dict(&mut self, entries: &[(Id, Id)], depth: usize) -> Result<Node, Damaged> {
        let mut nodes = BTreeMap::new();
        for (key, value) in entries {
            let Object::Text(key) = self.heap.get(*key) else {
                return Err(Damaged::new("its pickle has a key that is no text"));
            };
            nodes.insert(key.clone(), self.node(*value, depth)?);
        }
        Ok(Node::Dict(nodes))
    }
}
