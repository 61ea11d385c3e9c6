//! Whether a process can do its work, for those who ask `/readyz`.

use std::sync::{Arc, PoisonError, RwLock};

type Check = Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

/// What a process waits for before it can work; asked for from any thread.
#[derive(Clone)]
pub struct Readiness(Arc<RwLock<Check>>);

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Arc::new(|| Err("starting")))))
    }
}

impl Readiness {
    /// Not ready, for the reason given.
    pub fn waits(&self, reason: &'static str) {
        self.set(Arc::new(move || Err(reason)));
    }

    /// Ready whenever `check` says so. It is asked with each probe, and must not wait.
    pub fn ready_while(
        &self,
        check: impl Fn() -> Result<(), &'static str> + Send + Sync + 'static,
    ) {
        self.set(Arc::new(check));
    }

    /// What stands in the way, if anything does.
    pub fn check(&self) -> Result<(), &'static str> {
        let check = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        check()
    }

    fn set(&self, check: Check) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = check;
    }
}
