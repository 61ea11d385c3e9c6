use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The top of the source tree.
pub fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A binary of the workspace, built in the profile of the running test.
///
/// # Panics
/// If it has not been built.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test.ancestors().nth(2).expect("tests lie in deps/");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run cargo build --release", path.display());
    path
}

/// A point in time past which a test has failed.
#[derive(Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// The point `time` from now.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// Waits a moment between two looks at something.
    ///
    /// # Panics
    /// Past the deadline, with what `state` says.
    pub fn pause(&self, state: impl FnOnce() -> String) {
        self.check(state);
        std::thread::sleep(Duration::from_millis(20));
    }

    /// The same, for async tests.
    ///
    /// # Panics
    /// Past the deadline, with what `state` says.
    pub async fn pause_async(&self, state: impl FnOnce() -> String) {
        self.check(state);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    fn check(&self, state: impl FnOnce() -> String) {
        assert!(Instant::now() < self.0, "too late; at last: {}", state());
    }
}
