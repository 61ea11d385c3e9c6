//! A server that speaks the protocol of the Hugging Face hub, and can misbehave.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION, RANGE};
use axum::http::{Response, StatusCode, response};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// One repository on a server of its own.
#[derive(Clone)]
pub struct HubServer {
    pub url: String,
    state: Arc<Mutex<Inner>>,
}

struct Inner {
    repository: String,
    files: BTreeMap<String, Bytes>,
    /// Where the bytes of weights are.
    cdn: String,
    asked: Vec<Asked>,
    cuts: VecDeque<usize>,
    is_wrong: bool,
    is_down: bool,
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

impl HubServer {
    /// Serves the files of a folder as `repository`, on a port that is free.
    pub async fn start(repository: &str, folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(&path).unwrap().into());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(Inner {
            repository: repository.to_owned(),
            files,
            cdn: "/cdn".to_owned(),
            asked: Vec::new(),
            cuts: VecDeque::new(),
            is_wrong: false,
            is_down: false,
        }));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, state }
    }

    /// Has another server give the bytes.
    pub fn refer_to(&self, other: &Self) {
        self.inner().cdn = format!("{}/cdn", other.url);
    }

    /// Breaks the next answers with bytes of weights off, each after so many.
    pub fn cut_after(&self, bytes: &[usize]) {
        self.inner().cuts = bytes.iter().copied().collect();
    }

    /// Whether one byte of what it sends is another one.
    pub fn be_wrong(&self, is_wrong: bool) {
        self.inner().is_wrong = is_wrong;
    }

    /// Whether it answers with 503.
    pub fn be_down(&self, is_down: bool) {
        self.inner().is_down = is_down;
    }

    pub fn file(&self, name: &str) -> Bytes {
        self.inner().files[name].clone()
    }

    /// All requests since this was asked for the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.inner().asked)
    }

    /// Of these, the ones for the bytes of weights.
    pub fn asked_for_weights(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.path.starts_with("/cdn/")).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap()
    }
}

async fn answer(State(state): State<Arc<Mutex<Inner>>>, request: Request) -> Response<Body> {
    let mut inner = state.lock().unwrap();
    let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let path = request.uri().path().to_owned();
    let (range, token) = (header(RANGE), header(AUTHORIZATION));
    let method = request.method().to_string();
    inner.asked.push(Asked { method, path: path.clone(), range: range.clone(), token });
    if inner.is_down {
        return empty(Response::builder().status(StatusCode::SERVICE_UNAVAILABLE));
    }
    if let Some(file) = path.strip_prefix("/cdn/") {
        return weights(&mut inner, file, range);
    }
    let prefix = format!("/{}/resolve/", inner.repository);
    let Some((_, file)) = path.strip_prefix(&prefix).and_then(|rest| rest.split_once('/')) else {
        let response = Response::builder().status(StatusCode::UNAUTHORIZED);
        return empty(response.header("x-error-code", "RepoNotFound"));
    };
    describe(&inner, file)
}

fn describe(inner: &Inner, file: &str) -> Response<Body> {
    let Some(bytes) = inner.files.get(file) else {
        let response = Response::builder().status(StatusCode::NOT_FOUND);
        return empty(response.header("x-error-code", "EntryNotFound"));
    };
    let digest = hex::encode(Sha256::digest(bytes));
    let response = Response::builder().header("x-repo-commit", COMMIT);
    if file.ends_with(".yaml") {
        let etag = format!("\"{}\"", &digest[..40]);
        return response.header(ETAG, etag).body(bytes.clone().into()).unwrap();
    }
    let response = response
        .status(StatusCode::FOUND)
        .header("x-linked-etag", format!("\"{digest}\""))
        .header("x-linked-size", bytes.len())
        .header(LOCATION, format!("{}/{file}?signature=1", inner.cdn));
    empty(response)
}

fn weights(inner: &mut Inner, file: &str, range: Option<String>) -> Response<Body> {
    let mut bytes = inner.files[file].to_vec();
    if inner.is_wrong {
        bytes[1000] ^= 1;
    }
    let size = bytes.len();
    let first = range.map(|range| {
        range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse::<usize>().unwrap()
    });
    let mut response = Response::builder();
    if let Some(first) = first {
        bytes.drain(..first);
        let range = format!("bytes {first}-{}/{size}", size - 1);
        response = response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range);
    }
    let response = response.header(CONTENT_LENGTH, bytes.len());
    match inner.cuts.pop_front() {
        Some(cut) => response.body(cut_off(&bytes[..cut])).unwrap(),
        None => response.body(bytes.into()).unwrap(),
    }
}

/// So many bytes, and then the connection breaks.
fn cut_off(bytes: &[u8]) -> Body {
    let whole = stream::iter([Ok(Bytes::copy_from_slice(bytes))]);
    let broken = stream::once(async {
        // What was sent before goes out meanwhile.
        tokio::task::yield_now().await;
        Err(io::Error::other("cut"))
    });
    Body::from_stream(whole.chain(broken))
}

fn empty(response: response::Builder) -> Response<Body> {
    response.body(Body::empty()).unwrap()
}
