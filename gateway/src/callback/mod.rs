//! Callbacks: those who gave a URL with their song are told when its job has ended.
//!
//! ```text
//! notice ─► serve ─► form, guard ─► turns ─► send (sign) ─► settled, or later again
//! ```
//!
//! Headers and signature are those of Standard Webhooks, so that receivers can use its libraries. A
//! notice is delivered at least once: who has answered with 2xx may be told again if the gateway
//! died before it could take note, under the same `webhook-id`.

mod form;
mod guard;
mod send;
mod serve;
mod sign;
mod turns;

pub use guard::Guard;
pub use serve::{Caller, Pace};
pub use sign::{NotASecret, Secret};

pub(crate) use form::Callback;
