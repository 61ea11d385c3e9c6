use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The top of the source tree.
pub fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The demo song.
///
/// # Panics
/// If it is not there.
pub fn song() -> Vec<u8> {
    fs::read(tree().join("demo/song.mp3")).expect("the demo song is in the tree")
}

/// A binary of the workspace, built in the profile of the running test or program.
///
/// # Panics
/// If it has not been built.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process knows where it is");
    let mut folder = own.parent().expect("a binary lies in a folder");
    if folder.ends_with("deps") {
        folder = folder.parent().expect("tests lie in deps/");
    }
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run cargo build --release", path.display());
    path
}

/// How long anything on a stack may take on a busy machine of two cores.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// All of Stemflow as `stemflow up` starts it, on free ports and in a directory of its own; stopped
/// and cleaned up when dropped.
pub struct Stack {
    process: Child,
    url: String,
    nats: String,
    directory: TempDir,
}

impl Stack {
    /// Starts a stack as it comes out of the box.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a stack with further arguments for `stemflow up`.
    pub fn with(arguments: &[&str]) -> Self {
        Self::spawn(arguments, &[])
    }

    /// Starts a stack whose processes have further variables in their environment.
    pub fn with_env(environment: &[(&str, &str)]) -> Self {
        Self::spawn(&[], environment)
    }

    /// Starts a stack and waits until it is ready.
    fn spawn(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let log = File::create(directory.path().join("log")).expect("a log can be made");
        let mut process = Command::new(binary("stemflow"))
            .current_dir(tree())
            .args(["up", "--port", "0", "--nats-port", "0", "--data"])
            .arg(directory.path().join("data"))
            .args(arguments)
            .envs(environment.iter().copied())
            .env("STEMFLOW_LOG", "debug,async_nats=warn,hyper=warn")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("stemflow can be started");
        let stdout = process.stdout.take().expect("its output is a pipe");
        let mut stack = Self { process, url: String::new(), nats: String::new(), directory };
        stack.read_addresses(stdout);
        stack
    }

    fn read_addresses(&mut self, stdout: impl std::io::Read + Send + 'static) {
        let (lines, coming) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        while self.url.is_empty() || self.nats.is_empty() {
            let line = coming.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("not ready:\n{}", self.log()));
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["url", url] => url.clone_into(&mut self.url),
                ["nats", url] => url.clone_into(&mut self.nats),
                _ => {}
            }
        }
    }

    /// Where the gateway listens, with `path` behind it.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Where NATS listens.
    pub fn nats_url(&self) -> &str {
        &self.nats
    }

    /// What all processes have logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// A path in the stack's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The status of a job, once it has ended.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn wait_for(&self, hash: &str) -> Value {
        let deadline = Deadline::after(PATIENCE);
        loop {
            let status = self.get_json(&format!("/apiv1/status/{hash}")).await.1;
            if ["done", "failed", "cancelled"].iter().any(|state| status["state"] == *state) {
                return status;
            }
            deadline.pause_async(|| format!("{status:#}\n{}", self.log())).await;
        }
    }

    /// What a GET answers: its code and its JSON.
    ///
    /// # Panics
    /// If there is no answer or it is not JSON.
    pub async fn get_json(&self, path: &str) -> (u16, Value) {
        answer(reqwest::get(self.url(path)).await).await
    }

    /// Sends a song as a raw body; `options` is the query.
    ///
    /// # Panics
    /// If there is no answer or it is not JSON.
    pub async fn send(&self, song: impl Into<reqwest::Body>, options: &str) -> (u16, Value) {
        let request = reqwest::Client::new().post(self.url(&format!("/apiv1/separate?{options}")));
        answer(request.header("content-type", "audio/mpeg").body(song).send().await).await
    }

    /// Sends a song that must be taken, and returns its hash.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn submit(&self, song: impl Into<reqwest::Body>, options: &str) -> String {
        let (code, reply) = self.send(song, options).await;
        assert_eq!(code, 200, "{reply}");
        reply["hash"].as_str().expect("a reply has a hash").to_owned()
    }

    /// The bytes of a track that must be there.
    ///
    /// # Panics
    /// If it is not.
    pub async fn track(&self, hash: &str, track: &str) -> Vec<u8> {
        let url = self.url(&format!("/apiv1/track/{hash}/{track}"));
        let response = reqwest::get(url).await.expect("the gateway answers");
        assert_eq!(response.status(), 200);
        response.bytes().await.expect("the body comes whole").to_vec()
    }
}

/// An HTTP answer as its code and its JSON.
///
/// # Panics
/// If there is no answer or it is not JSON.
pub async fn answer(response: reqwest::Result<reqwest::Response>) -> (u16, Value) {
    let response = response.expect("the gateway answers");
    let code = response.status().as_u16();
    let text = response.text().await.expect("the body comes whole");
    let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{code}: {text}"));
    (code, json)
}

impl Drop for Stack {
    fn drop(&mut self) {
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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
