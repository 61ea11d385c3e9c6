//! What files of both forms can hold: values in lists and dictionaries.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};

use super::{Damaged, Tensor};

/// A value, or values within values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Fraction(i64, i64),
    /// The full name of a class or a function.
    Class(String),
    Tensor(Tensor),
    /// A list or a tuple.
    List(Vec<Node>),
    Dict(BTreeMap<String, Node>),
}

impl Node {
    pub(super) fn is_true(&self) -> bool {
        *self == Self::Bool(true)
    }

    pub(super) fn into_dict(self, what: &str) -> Result<BTreeMap<String, Self>, Damaged> {
        match self {
            Self::Dict(entries) => Ok(entries),
            other => other.is_not(what, "a dictionary"),
        }
    }

    pub(super) fn into_list(self, what: &str) -> Result<Vec<Self>, Damaged> {
        match self {
            Self::List(items) => Ok(items),
            other => other.is_not(what, "a list"),
        }
    }

    pub(super) fn into_tensor(self, what: &str) -> Result<Tensor, Damaged> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            other => other.is_not(what, "a tensor"),
        }
    }

    pub(super) fn into_class(self, what: &str) -> Result<String, Damaged> {
        match self {
            Self::Class(name) => Ok(name),
            other => other.is_not(what, "a class"),
        }
    }

    pub(super) fn number(&self, what: &str) -> Result<f64, Damaged> {
        match self {
            Self::Int(number) => Ok(*number as f64),
            Self::Float(number) => Ok(*number),
            other => other.clone().is_not(what, "a number"),
        }
    }

    /// As arguments of a constructor are kept.
    pub(super) fn into_json(self, what: &str) -> Result<Value, Damaged> {
        Ok(match self {
            Self::None => Value::Null,
            Self::Bool(flag) => flag.into(),
            Self::Int(number) => number.into(),
            Self::Float(number) => match Number::from_f64(number) {
                Some(number) => number.into(),
                None => return Err(Damaged::new(format!("{what} holds {number}"))),
            },
            Self::Text(text) => text.into(),
            Self::Fraction(numerator, denominator) => {
                json!({ "_type": "fraction", "numerator": numerator, "denominator": denominator })
            }
            Self::List(items) => {
                let items = items.into_iter().map(|item| item.into_json(what));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Self::Dict(entries) => {
                let mut object = Map::new();
                for (key, node) in entries {
                    object.insert(key, node.into_json(what)?);
                }
                object.into()
            }
            other @ (Self::Class(_) | Self::Tensor(_)) => {
                return other.is_not(what, "made of plain values");
            }
        })
    }

    fn is_not<T>(&self, what: &str, expected: &str) -> Result<T, Damaged> {
        let kind = match self {
            Self::None => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Float(_) | Self::Fraction(..) => "a number",
            Self::Text(_) => "a text",
            Self::Class(name) => {
                return Err(Damaged::new(format!("{what} is the class {name}, not {expected}")));
            }
            Self::Tensor(_) => "a tensor",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
        };
        Err(Damaged::new(format!("{what} is {kind}, not {expected}")))
    }
}
