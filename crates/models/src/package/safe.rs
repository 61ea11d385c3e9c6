//! The form of Demucs 4.1: safetensors, in whose metadata stand the class and the arguments of its
//! constructor (`demucs/hf.py: load_safetensors_model`).

use std::collections::BTreeMap;

use bytes::Bytes;
use safetensors::SafeTensors;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::node::Node;
use super::{Damaged, Dtype, Package, Tensor};

pub(super) fn read(file: &Bytes) -> Result<Package, Damaged> {
    let (_, header) = SafeTensors::read_metadata(file).map_err(no_safetensors)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let tensors = tensors(file)?;
    let entry = |name: &str| {
        let missing = || Damaged::new(format!("its metadata have no {name:?}"));
        metadata.get(name).ok_or_else(missing)
    };
    let node = match metadata.get("structure") {
        Some(structure) => Nesting { tensors }.node(json("structure", structure)?)?,
        None => Node::Dict(tensors),
    };
    Ok(Package {
        class: entry("klass")?.clone(),
        args: json("args", entry("args")?)?,
        kwargs: json("kwargs", entry("kwargs")?)?,
        state: super::state(node)?,
    })
}

/// All tensors, as parts of the file.
fn tensors(file: &Bytes) -> Result<BTreeMap<String, Node>, Damaged> {
    let parsed = SafeTensors::deserialize(file).map_err(no_safetensors)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in parsed.iter() {
        let dtype = match view.dtype() {
            safetensors::Dtype::F16 => Dtype::F16,
            safetensors::Dtype::BF16 => Dtype::BF16,
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::U8 => Dtype::U8,
            safetensors::Dtype::I64 => Dtype::I64,
            other => return Err(Damaged::new(format!("{name} is of type {other:?}"))),
        };
        let data = file.slice_ref(view.data());
        let tensor = Tensor::new(dtype, view.shape().to_owned(), data)?;
        tensors.insert(name.to_owned(), Node::Tensor(tensor));
    }
    Ok(tensors)
}

/// Puts tensors where the metadata say (`demucs/hf.py: _unflatten_state`). How deep they can be
/// nested is limited by `serde_json`.
struct Nesting {
    tensors: BTreeMap<String, Node>,
}

impl Nesting {
    fn node(&self, structure: Value) -> Result<Node, Damaged> {
        Ok(match structure {
            Value::Null => Node::None,
            Value::Bool(flag) => Node::Bool(flag),
            Value::String(text) => Node::Text(text),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Node::Int(whole),
                (None, Some(float)) => Node::Float(float),
                (None, None) => return Err(strange(&number.into())),
            },
            Value::Object(object) => {
                let mut entries = object.into_iter();
                match (entries.next(), entries.next()) {
                    (Some((kind, content)), None) => self.marked(&kind, content)?,
                    _ => return Err(Damaged::new("its structure has a node that is none")),
                }
            }
            list @ Value::Array(_) => return Err(strange(&list)),
        })
    }

    fn marked(&self, kind: &str, content: Value) -> Result<Node, Damaged> {
        match (kind, content) {
            ("_tensor", Value::String(name)) => {
                let missing = || Damaged::new(format!("there is no tensor {name:?}"));
                self.tensors.get(&name).cloned().ok_or_else(missing)
            }
            ("_class", Value::String(name)) => Ok(Node::Class(name)),
            ("_list" | "_tuple", Value::Array(items)) => {
                let items = items.into_iter().map(|item| self.node(item));
                Ok(Node::List(items.collect::<Result<_, _>>()?))
            }
            ("_dict", Value::Array(pairs)) => self.dict(pairs),
            (kind, content) => Err(Damaged::new(format!("{kind} of {content} is no structure"))),
        }
    }

    fn dict(&self, pairs: Vec<Value>) -> Result<Node, Damaged> {
        let mut entries = BTreeMap::new();
        for pair in pairs {
            let (key, value) =
                serde_json::from_value(pair).map_err(|_| strange(&"_dict".into()))?;
            entries.insert(key, self.node(value)?);
        }
        Ok(Node::Dict(entries))
    }
}

fn strange(node: &Value) -> Damaged {
    Damaged::new(format!("{node} has no place in its structure"))
}

fn json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Damaged> {
    serde_json::from_str(text).map_err(|error| Damaged::new(format!("its {name}: {error}")))
}

fn no_safetensors(error: impl std::error::Error) -> Damaged {
    Damaged::new(format!("it is neither safetensors ({error}) nor a zip file of torch.save"))
}
