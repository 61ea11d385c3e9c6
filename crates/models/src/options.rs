//! The arguments that a model's constructor was called with, as a file keeps them: read one by
//! one, and refused by name if they ask for what is not there.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// An option of a model that is not implemented, or makes no sense.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Its name, as in the Python constructor.
    pub option: String,
    /// Its value in the file, or the default if the file leaves it out.
    pub value: Value,
    /// What would be accepted.
    pub accepted: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} = {} ({})", self.option, self.value, self.accepted)
    }
}

/// The options of one model that have not been read yet, and those that were refused.
#[derive(Debug)]
pub(crate) struct Options {
    unread: BTreeMap<String, Value>,
    refused: Vec<Refused>,
}

impl Options {
    /// Gives each argument its name, as Python does in a call `f(*args, **kwargs)`.
    pub(crate) fn bind(parameters: &[&str], args: Vec<Value>, kwargs: Map<String, Value>) -> Self {
        let mut options = Self { unread: kwargs.into_iter().collect(), refused: Vec::new() };
        for (position, value) in args.into_iter().enumerate() {
            match parameters.get(position) {
                Some(name) => {
                    options.unread.insert((*name).to_owned(), value);
                }
                None => options.refuse(&format!("argument {position}"), value, "there is none"),
            }
        }
        options
    }

    /// Takes an option as it is.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.unread.remove(name)
    }

    /// Takes a whole number, which has to lie in `range`.
    pub(crate) fn integer(&mut self, name: &str, default: i64, range: RangeInclusive<i64>) -> i64 {
        let value = self.take(name).unwrap_or_else(|| default.into());
        match whole(&value) {
            Some(number) if range.contains(&number) => number,
            _ => {
                let accepted = format!("{} to {} are implemented", range.start(), range.end());
                self.refuse(name, value, &accepted);
                default
            }
        }
    }

    /// Takes a number greater than 0.
    pub(crate) fn positive(&mut self, name: &str, default: f64) -> f64 {
        let value = self.take(name).unwrap_or_else(|| default.into());
        match value.as_f64() {
            Some(number) if number > 0.0 && number.is_finite() => number,
            _ => {
                self.refuse(name, value, "a number above 0 is implemented");
                default
            }
        }
    }

    /// Takes a truth value.
    pub(crate) fn flag(&mut self, name: &str, default: bool) -> bool {
        let value = self.take(name).unwrap_or_else(|| default.into());
        value.as_bool().unwrap_or_else(|| {
            self.refuse(name, value, "true or false");
            default
        })
    }

    /// Takes an option of which one value is implemented, which is also the default.
    pub(crate) fn only(&mut self, name: &str, implemented: impl Into<Value>) {
        let implemented = implemented.into();
        if let Some(value) = self.take(name)
            && !same(&value, &implemented)
        {
            self.refuse(name, value, &format!("only {implemented} is implemented"));
        }
    }

    /// Takes options that make no difference, whatever they are.
    pub(crate) fn skip(&mut self, names: &[&str]) {
        for name in names {
            self.take(name);
        }
    }

    /// Notes that an option cannot be had as it is.
    pub(crate) fn refuse(&mut self, name: &str, value: Value, accepted: &str) {
        let accepted = accepted.to_owned();
        self.refused.push(Refused { option: name.to_owned(), value, accepted });
    }

    /// Refuses what was not read, and tells all that was refused.
    pub(crate) fn finish(mut self) -> Result<(), Vec<Refused>> {
        for (name, value) in std::mem::take(&mut self.unread) {
            self.refuse(&name, value, "no such option is known");
        }
        if self.refused.is_empty() { Ok(()) } else { Err(self.refused) }
    }
}

/// A whole number, also one that is written `2.0`.
fn whole(value: &Value) -> Option<i64> {
    let float = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
    value.as_i64().or(float.map(|number| number as i64))
}

/// Equality as Python has it: `0`, `0.0` and `False` are the same, and so, for an option that
/// lists parts of the model, are none and no parts.
fn same(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        _ => value.as_f64(),
    };
    let nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b || (nothing(a) && nothing(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(args: Value, kwargs: Value) -> Options {
        let args = serde_json::from_value(args).unwrap();
        let kwargs = serde_json::from_value(kwargs).unwrap();
        Options::bind(&["first", "second"], args, kwargs)
    }

    #[test]
    fn arguments_by_position_get_their_names() {
        let mut options = options(json!([7]), json!({ "second": 8 }));
        assert_eq!(options.integer("first", 0, 0..=10), 7);
        assert_eq!(options.integer("second", 0, 0..=10), 8);
        assert_eq!(options.integer("third", 5, 0..=10), 5);
        assert_eq!(options.finish(), Ok(()));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_with_name_and_value() {
        let mut options = options(json!([1, 2, 3]), json!({ "a": 11, "b": "x", "odd": [1] }));
        options.only("first", 1.0);
        options.only("second", false);
        options.integer("a", 0, 0..=10);
        options.positive("b", 1.0);
        let refused = options.finish().unwrap_err();
        let told: Vec<String> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "argument 2 = 3 (there is none)",
                "second = 2 (only false is implemented)",
                "a = 11 (0 to 10 are implemented)",
                "b = \"x\" (a number above 0 is implemented)",
                "odd = [1] (no such option is known)",
            ]
        );
    }

    #[test]
    fn values_are_compared_as_python_compares_them() {
        assert!(same(&json!(false), &json!(0)));
        assert!(same(&json!(1), &json!(1.0)));
        assert!(same(&json!([]), &json!(null)));
        assert!(!same(&json!(null), &json!(0)));
        assert!(!same(&json!("sin"), &json!("cape")));
    }
}
