//! A pickle, read as data.
//!
//! A pickle is a program for a small stack machine. Python's machine imports and calls whatever the
//! program names. This one knows the few calls that rebuild tensors and fractions, and does these
//! itself; names are only names to it, and any other call is an error. What it makes lies in a
//! [`Heap`], where an object refers to others by their place: so a list that holds itself, or is
//! held a thousand times, does no harm until it is unrolled, which [`Heap::node`] limits.
//!
//! The format is described in Python's `Lib/pickletools.py`. Protocol 2 is understood, which
//! `torch.save` writes.

mod call;
mod heap;
mod input;

use super::Damaged;
use input::Input;

pub(super) use heap::{Heap, Id, View};

use heap::Object;

/// A model's pickle has some hundred kilobytes, at most.
const MOST_BYTES: usize = 16 << 20;

/// Reads a pickle: all that it makes, and which of it the result is.
pub(super) fn read(pickle: &[u8]) -> Result<(Heap, Id), Damaged> {
    if pickle.len() > MOST_BYTES {
        return Err(Damaged::new(format!("its pickle has {} bytes", pickle.len())));
    }
    let mut machine = Machine::default();
    let mut input = Input::new(pickle);
    loop {
        let code = input.byte()?;
        if code == b'.' {
            let result = machine.pop()?;
            return Ok((machine.heap, result));
        }
        machine.step(code, &mut input)?;
    }
}

/// The stack is cut in parts by marks: what lies above the last mark is the innermost.
#[derive(Debug, Default)]
struct Machine {
    heap: Heap,
    stack: Vec<Id>,
    outer: Vec<Vec<Id>>,
    memo: std::collections::HashMap<u32, Id>,
}

impl Machine {
    fn step(&mut self, code: u8, input: &mut Input) -> Result<(), Damaged> {
        match code {
            0x80 => return input.protocol(),
            b'(' => self.outer.push(std::mem::take(&mut self.stack)),
            b'0' => drop(self.pop()?),
            b'q' => self.remember(input.byte()?.into())?,
            b'r' => self.remember(input.u32()?)?,
            b'h' => self.recall(input.byte()?.into())?,
            b'j' => self.recall(input.u32()?)?,
            b'a' | b'e' | b's' | b'u' => return self.fill(code),
            b'R' => return self.call(),
            b'b' => return self.build(),
            b'Q' => return self.persistent(),
            0x81 => return self.instance(),
            b't' | 0x85 | 0x86 | 0x87 => {
                let items = self.items(code)?;
                self.push(Object::List(items));
            }
            _ => {
                let object = literal(code, input)?;
                self.push(object);
            }
        }
        Ok(())
    }

    fn push(&mut self, object: Object) {
        let id = self.heap.add(object);
        self.stack.push(id);
    }

    fn pop(&mut self) -> Result<Id, Damaged> {
        self.stack.pop().ok_or_else(|| Damaged::new("its pickle takes from an empty stack"))
    }

    fn top(&self) -> Result<Id, Damaged> {
        self.stack.last().copied().ok_or_else(|| Damaged::new("its pickle asks an empty stack"))
    }

    /// All that lies above the last mark.
    fn down_to_mark(&mut self) -> Result<Vec<Id>, Damaged> {
        let below = self.outer.pop().ok_or_else(|| Damaged::new("its pickle lacks a mark"))?;
        Ok(std::mem::replace(&mut self.stack, below))
    }

    fn items(&mut self, code: u8) -> Result<Vec<Id>, Damaged> {
        if code == b't' {
            return self.down_to_mark();
        }
        let count = usize::from(code - 0x84);
        let start = self.stack.len().checked_sub(count);
        let start = start.ok_or_else(|| Damaged::new("its pickle lacks a tuple's items"))?;
        Ok(self.stack.split_off(start))
    }

    fn remember(&mut self, name: u32) -> Result<(), Damaged> {
        let id = self.top()?;
        self.memo.insert(name, id);
        Ok(())
    }

    fn recall(&mut self, name: u32) -> Result<(), Damaged> {
        let id = self.memo.get(&name).copied();
        self.stack.push(id.ok_or_else(|| Damaged::new("its pickle recalls what is not there"))?);
        Ok(())
    }

    /// Puts one item, or all above the mark, into the list or dictionary below.
    fn fill(&mut self, code: u8) -> Result<(), Damaged> {
        let items = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.down_to_mark()?,
        };
        let target = self.top()?;
        self.heap.fill(target, matches!(code, b's' | b'u'), &items)
    }
}

/// What is pushed as it stands there.
fn literal(code: u8, input: &mut Input) -> Result<Object, Damaged> {
    Ok(match code {
        b'N' => Object::None,
        0x88 => Object::Bool(true),
        0x89 => Object::Bool(false),
        b'K' => Object::Int(input.byte()?.into()),
        b'M' => Object::Int(u16::from_le_bytes(input.array()?).into()),
        b'J' => Object::Int(i32::from_le_bytes(input.array()?).into()),
        0x8a => Object::Int(input.long()?),
        b'G' => Object::Float(f64::from_be_bytes(input.array()?)),
        b'X' => Object::Text(input.text()?),
        b'c' => Object::Class(format!("{}.{}", input.line()?, input.line()?)),
        b']' | b')' => Object::List(Vec::new()),
        b'}' => Object::Dict(Vec::new()),
        _ => return Err(Damaged::new(format!("its pickle has the unknown operation {code:#04x}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::node::Node;

    fn node(pickle: &[u8]) -> Result<Node, Damaged> {
        let (heap, result) = read(pickle)?;
        heap.node(result, &mut |_| Err(Damaged::new("there are no tensors")))
    }

    fn error(pickle: &[u8]) -> String {
        node(pickle).unwrap_err().to_string()
    }

    #[test]
    fn plain_values_are_read() {
        let list = node(b"\x80\x02](K\x07M\x00\x01J\xff\xff\xff\xffNX\x02\0\0\0hi\x88e.").unwrap();
        let expected = [
            Node::Int(7),
            Node::Int(256),
            Node::Int(-1),
            Node::None,
            Node::Text("hi".into()),
            Node::Bool(true),
        ];
        assert_eq!(list, Node::List(expected.into()));
        assert_eq!(node(b"\x8a\x02\x00\x80.").unwrap(), Node::Int(-32_768));
        assert_eq!(node(b"\x8a\x00.").unwrap(), Node::Int(0));
        assert_eq!(node(b"G?\xe0\0\0\0\0\0\0.").unwrap(), Node::Float(0.5));
    }

    #[test]
    fn fractions_are_made_of_numbers_or_text() {
        let fraction = Node::Fraction(39, 5);
        assert_eq!(node(b"cfractions\nFraction\nK'K\x05\x86R.").unwrap(), fraction);
        assert_eq!(node(b"cfractions\nFraction\nX\x04\0\0\x0039/5\x85R.").unwrap(), fraction);
        assert!(error(b"cfractions\nFraction\nX\x01\0\0\0x\x85R.").contains("Fraction"));
    }

    #[test]
    fn a_call_that_is_not_known_is_named() {
        let call = b"cos\nsystem\nX\x04\0\0\0true\x85R.";
        assert_eq!(error(call), "its pickle calls os.system, which no model needs");
        let built = b"cmodels\nThing\n)\x81}b.";
        assert_eq!(error(built), "its pickle makes a models.Thing, which no model needs");
        // A name alone is but a name.
        assert_eq!(node(b"cos\nsystem\n.").unwrap(), Node::Class("os.system".into()));
    }

    #[test]
    fn whatever_is_cut_off_is_an_error() {
        let whole =
            b"\x80\x02}q\0(X\x01\0\0\0aK\x01X\x01\0\0\0b](G?\xe0\0\0\0\0\0\0\x8a\x01\x05eu.";
        assert!(node(whole).is_ok());
        for end in 0..whole.len() {
            assert!(node(&whole[..end]).is_err(), "{end} bytes");
        }
        // And whatever follows each other.
        for first in 0..=255 {
            for second in [b'.', b'e', b'u', b's', b'a', b't', b'R', b'b', b'Q', 0x81, 0x87, b'h'] {
                let _ = node(&[first, second, b'.']);
                let _ = node(&[b'N', first, b'N', second, b'.']);
            }
        }
    }

    #[test]
    fn what_holds_itself_or_grows_without_end_is_refused() {
        assert!(error(b"]q\0h\0a.").contains("too deep"));
        // Each list holds the one before ten times.
        let mut bomb = b"]q\0".to_vec();
        for _ in 0..20 {
            bomb.extend_from_slice(b"](h\0h\0h\0h\0h\0h\0h\0h\0h\0h\0eq\0");
        }
        bomb.push(b'.');
        assert!(error(&bomb).contains("too much"));
        assert!(error(b"X\xff\xff\xff\x7fhi.").contains("ends"));
    }
}
