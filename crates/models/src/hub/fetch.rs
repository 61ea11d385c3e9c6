//! The two requests: what a file is, and its bytes (`huggingface_hub/file_download.py`).

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LOCATION, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, StatusCode, Url};

use super::HubError;
use super::cache::is_sha256;
use crate::published::Repository;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may pause.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 5;

/// What the hub says of a file.
#[derive(Clone, Debug)]
pub(super) struct Described {
    /// The commit that it is of.
    pub(super) commit: String,
    /// What its bytes are called by; their SHA-256, if they are weights.
    pub(super) etag: String,
    /// How many bytes it has.
    pub(super) size: u64,
    /// Where they are.
    location: Url,
}

/// Asks a hub.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Url,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(endpoint: &str, token: Option<String>) -> Result<Self, HubError> {
        let strange =
            |why: &str| HubError::Strange { url: endpoint.to_owned(), why: why.to_owned() };
        let url = Url::parse(endpoint).map_err(|_| strange("HF_ENDPOINT is no address"))?;
        let Some(host) = url.host_str() else { return Err(strange("HF_ENDPOINT has no host")) };
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(PAUSE_TIMEOUT)
            // Followed by hand, as the token goes to the hub and no further.
            .redirect(Policy::none())
            .user_agent(concat!("stemflow/", env!("CARGO_PKG_VERSION")));
        // Whoever has set a proxy has not meant it for this machine.
        if matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| strange(&error.to_string()))?;
        Ok(Self { http, endpoint: url, token })
    }

    /// Asks what a file is, as of a branch or a commit.
    pub(super) async fn describe(
        &self,
        repository: &Repository,
        revision: &str,
        file: &str,
    ) -> Result<Described, HubError> {
        let path = format!("/{}/resolve/{revision}/{file}", repository.id);
        let base = self.endpoint.as_str().trim_end_matches('/');
        let mut url = self.url(&format!("{base}{path}"))?;
        for _ in 0..MOST_REDIRECTS {
            let response = self.ask(Method::HEAD, &url, 0).await?;
            match response.status() {
                status if status.is_redirection() => {
                    let next = self.redirect(&url, &response)?;
                    // The hub itself says what it is, also where it refers to others for the bytes.
                    if next.origin() != self.endpoint.origin() || is_described(&response) {
                        return described(&url, response.headers(), next);
                    }
                    url = next;
                }
                status if status.is_success() => {
                    return described(&url, response.headers(), url.clone());
                }
                _ => return Err(refused(&response, repository, file)),
            }
        }
        Err(too_many_redirects(&url))
    }

    /// Fetches the bytes of a file into `partial`, behind those that are there; `tell` is told how
    /// many there are.
    pub(super) async fn fetch(
        &self,
        described: &Described,
        partial: &Path,
        tell: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), HubError> {
        loop {
            let before = length(partial);
            match self.fetch_on(described, partial, tell).await {
                // It broke off, but it moves: go on at once.
                Err(HubError::Unreachable { .. }) if length(partial) > before => {}
                done => return done,
            }
        }
    }

    async fn fetch_on(
        &self,
        described: &Described,
        partial: &Path,
        tell: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), HubError> {
        let file = File::options().create(true).append(true).open(partial);
        let mut file = file.map_err(HubError::cache(partial))?;
        let present = length(partial);
        if present == described.size {
            return Ok(());
        }
        let from = if present < described.size { present } else { 0 };
        let (url, mut response) = self.follow(&described.location, from).await?;
        let from = begins_at(&url, &response)?;
        // Not where we are: a server that only sends the whole begins at 0.
        if from != present {
            file.set_len(0).map_err(HubError::cache(partial))?;
        }
        let mut bytes = length(partial);
        if from != bytes {
            return Err(strange(&url, format!("it sends from byte {from}, not {bytes}")));
        }
        tell(bytes);
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&url, &error))? {
            bytes += chunk.len() as u64;
            if bytes > described.size {
                return Err(strange(&url, format!("it sends more than {} bytes", described.size)));
            }
            file.write_all(&chunk).map_err(HubError::cache(partial))?;
            tell(bytes);
        }
        if bytes < described.size {
            let why = format!("it ended after {bytes} of {} bytes", described.size);
            return Err(HubError::Unreachable { url: shown(&url), why });
        }
        file.sync_all().map_err(HubError::cache(partial))
    }

    /// Asks for the bytes from `from` on, wherever that leads.
    async fn follow(&self, location: &Url, from: u64) -> Result<(Url, Response), HubError> {
        let mut url = location.clone();
        for _ in 0..MOST_REDIRECTS {
            let response = self.ask(Method::GET, &url, from).await?;
            match response.status() {
                status if status.is_redirection() => url = self.redirect(&url, &response)?,
                status if status.is_success() => return Ok((url, response)),
                status => return Err(strange(&url, format!("it says {status}"))),
            }
        }
        Err(too_many_redirects(&url))
    }

    async fn ask(&self, method: Method, url: &Url, from: u64) -> Result<Response, HubError> {
        let mut request = self.http.request(method, url.clone());
        if let Some(token) = &self.token
            && url.origin() == self.endpoint.origin()
        {
            request = request.bearer_auth(token);
        }
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(|error| broken(url, &error))?;
        let status = response.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let why = format!("it says {status}");
            return Err(HubError::Unreachable { url: shown(url), why });
        }
        Ok(response)
    }

    fn redirect(&self, from: &Url, response: &Response) -> Result<Url, HubError> {
        let location = header(response.headers(), LOCATION.as_str());
        let location = location.ok_or_else(|| strange(from, "it refers to nowhere".to_owned()))?;
        from.join(location).map_err(|_| strange(from, format!("it refers to {location}")))
    }

    fn url(&self, text: &str) -> Result<Url, HubError> {
        Url::parse(text).map_err(|_| strange(&self.endpoint, format!("{text} is no address")))
    }
}

fn is_described(response: &Response) -> bool {
    response.headers().contains_key("x-linked-etag")
}

fn described(url: &Url, headers: &HeaderMap, location: Url) -> Result<Described, HubError> {
    let missing = |what: &str| strange(url, format!("it does not say {what}"));
    let either = |linked, own| header(headers, linked).or_else(|| header(headers, own));
    let commit = header(headers, "x-repo-commit").ok_or_else(|| missing("which commit it has"))?;
    let etag = either("x-linked-etag", ETAG.as_str()).ok_or_else(|| missing("an ETag"))?;
    let etag = etag.trim_start_matches("W/").trim_matches('"');
    let size = either("x-linked-size", CONTENT_LENGTH.as_str()).and_then(|size| size.parse().ok());
    // Both become names of files.
    let is_name = |text: &str| {
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !is_name(commit) || !is_name(etag) {
        return Err(strange(url, format!("its commit is {commit:?} and its ETag {etag:?}")));
    }
    if url.path().ends_with(".safetensors") && !is_sha256(etag) {
        return Err(missing("the SHA-256 of the weights"));
    }
    Ok(Described {
        commit: commit.to_owned(),
        etag: etag.to_ascii_lowercase(),
        size: size.ok_or_else(|| missing("how many bytes the file has"))?,
        location,
    })
}

/// The first byte that a response has.
fn begins_at(url: &Url, response: &Response) -> Result<u64, HubError> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(0);
    }
    let range = header(response.headers(), CONTENT_RANGE.as_str()).unwrap_or_default();
    let first = range.strip_prefix("bytes ").and_then(|range| range.split('-').next());
    let first = first.and_then(|first| first.parse().ok());
    first.ok_or_else(|| strange(url, format!("it sends the range {range:?}")))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Why the hub does not describe a file. It says of what is private that it is not there.
fn refused(response: &Response, repository: &Repository, file: &str) -> HubError {
    let status = response.status();
    let code = header(response.headers(), "x-error-code").unwrap_or_default();
    let is_hidden = status == StatusCode::UNAUTHORIZED && code != "GatedRepo";
    if status == StatusCode::NOT_FOUND || is_hidden {
        let (repository, file) = (repository.id.clone(), file.to_owned());
        return HubError::Unknown { repository, file };
    }
    if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
        return HubError::Denied(repository.id.clone());
    }
    strange(response.url(), format!("it says {status}"))
}

fn too_many_redirects(url: &Url) -> HubError {
    strange(url, "it refers from one address to the next without end".to_owned())
}

fn strange(url: &Url, why: String) -> HubError {
    HubError::Strange { url: shown(url), why }
}

fn broken(url: &Url, error: &reqwest::Error) -> HubError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    HubError::Unreachable { url: shown(url), why: cause.to_string() }
}

/// An address without what is behind its `?`: that may be a signature.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.into()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}
