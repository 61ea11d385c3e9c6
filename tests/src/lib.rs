//! What the end-to-end tests stand on: a nats-server or a whole stack of their own, on ports and in
//! a directory of their own, gone when they are.

pub mod chaos;
mod closure;
mod cluster;
mod collector;
mod diamond;
mod guarded;
pub mod measure;
mod metrics;
mod mortal;
mod nats;
mod port;
mod process;
mod stack;
mod wire;

pub use closure::Closure;
pub use cluster::{Cluster, STREAMS};
pub use collector::{Collector, Seen};
pub use diamond::{DIAMOND, Diamond, STAGES, SUM, join, label, split, square, stage};
pub use guarded::Guarded;
pub use metrics::Metrics;
pub use mortal::Mortal;
pub use nats::NatsServer;
pub use port::Port;
pub use stack::{Deadline, PATIENCE, Stack, answer, binary, song, tree};
pub use wire::{Deed, Point, When, Wire};
