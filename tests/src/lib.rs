//! What the end-to-end tests stand on: a nats-server or a whole stack of their own, on ports and in
//! a directory of their own, gone when they are.

mod closure;
mod nats;
mod stack;

pub use closure::Closure;
pub use nats::NatsServer;
pub use stack::{Deadline, PATIENCE, Stack, answer, binary, song, tree};
