//! The gateway's REST API, as its client sees it.

mod events;

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures::Stream;
use reqwest::header::{CONTENT_LENGTH, RETRY_AFTER};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};
use separation::Manifest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use workflow::{JobError, JobId, JobState};

pub(crate) use events::Events;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For answers that are short. What streams is only expected not to pause for longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the gateway is.
#[derive(clap::Args)]
pub(crate) struct Where {
    /// The gateway
    #[arg(long, env = "STEMFLOW_URL", hide_env_values = true, default_value = DEFAULT_URL)]
    url: String,
}

const DEFAULT_URL: &str = "http://localhost:5000";

impl Where {
    pub(crate) fn gateway(&self) -> anyhow::Result<Gateway> {
        Gateway::new(&self.url)
    }

    /// The option that leads to the same gateway again, to be put into a command that is shown.
    pub(crate) fn option(&self) -> String {
        if self.url == DEFAULT_URL { String::new() } else { format!(" --url {}", self.url) }
    }
}

/// A gateway.
#[derive(Clone)]
pub(crate) struct Gateway {
    http: reqwest::Client,
    url: String,
}

/// Why the gateway did not do what it was asked for, split by what can be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// It has answered, and asking again will not change the answer.
    #[error("{message}")]
    Refused { status: StatusCode, message: String },
    /// It is there, but cannot do it now.
    #[error("{message}")]
    Busy { message: String, retry_after: Duration },
    /// There is no answer, or not a whole one.
    #[error(
        "no gateway answers at {url} ({why}): start one with `stemflow up`, or name it with --url"
    )]
    Unreachable { url: String, why: String },
    /// What answers is not a gateway, or not one that we understand.
    #[error("what answers at {url} is not a Stemflow gateway: {why}")]
    Strange { url: String, why: String },
}

impl ApiError {
    /// True if it may be different in a while.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unreachable { .. })
    }
}

/// A song has been taken.
#[derive(Debug, Deserialize)]
pub(crate) struct Submitted {
    pub(crate) hash: JobId,
    /// What became of it, in a sentence.
    pub(crate) reason: String,
}

/// What is asked for beside the song, by the names of the API.
pub(crate) type Options = Vec<(&'static str, String)>;

/// How a job stands.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) hash: JobId,
    pub(crate) name: Option<String>,
    pub(crate) state: JobState,
    /// 0 to 1.
    pub(crate) progress: f64,
    pub(crate) elapsed_seconds: f64,
    #[serde(default)]
    pub(crate) stages: Vec<StageStatus>,
    pub(crate) error: Option<JobError>,
    pub(crate) manifest: Option<Manifest>,
    /// Elapsed time by the song's length: lower is faster.
    pub(crate) realtime_factor: Option<f64>,
}

/// How one stage of a job stands.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct StageStatus {
    pub(crate) name: String,
    /// 0 before it is known.
    pub(crate) tasks: usize,
    /// How many of them are done, the parts of running ones included.
    pub(crate) done: f64,
    pub(crate) seconds: f64,
}

/// The jobs that have not ended.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Queue {
    pub(crate) queue: Vec<JobId>,
    pub(crate) queue_length: usize,
}

impl Gateway {
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let parsed = Url::parse(url).ok().filter(|url| url.host_str().is_some());
        let parsed = parsed.with_context(|| {
            format!("{url} is not the address of a gateway: {DEFAULT_URL} would be one")
        })?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(PAUSE_TIMEOUT)
            .user_agent(concat!("stemflow/", env!("CARGO_PKG_VERSION")));
        if is_this_machine(&parsed) {
            http = http.no_proxy();
        }
        let http = http.build().context("failed to set up HTTP")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let request = self.request(Method::GET, "/readyz").timeout(ANSWER_TIMEOUT);
        request.send().await.is_ok_and(|response| response.status() == StatusCode::OK)
    }

    /// Hands a song in. It is sent as it is read.
    pub(crate) async fn submit(
        &self,
        options: &Options,
        song: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
        size: u64,
    ) -> Result<Submitted, ApiError> {
        let request = self
            .request(Method::POST, "/apiv1/separate")
            .query(options)
            .header(CONTENT_LENGTH, size)
            .body(Body::wrap_stream(song));
        self.json(request).await
    }

    pub(crate) async fn status(&self, job: &JobId) -> Result<Status, ApiError> {
        self.json(self.status_request(job)).await
    }

    /// The same, as the gateway tells it.
    pub(crate) async fn status_json(&self, job: &JobId) -> Result<Value, ApiError> {
        self.json(self.status_request(job)).await
    }

    fn status_request(&self, job: &JobId) -> RequestBuilder {
        self.request(Method::GET, &format!("/apiv1/status/{job}")).timeout(ANSWER_TIMEOUT)
    }

    /// How the job stands, each time that changes, until it has ended or the connection has.
    pub(crate) async fn events(&self, job: &JobId) -> Result<Events, ApiError> {
        let request = self.request(Method::GET, &format!("/apiv1/events/{job}"));
        Ok(Events::new(self.send(request).await?))
    }

    /// The bytes of a stem.
    pub(crate) async fn track(&self, job: &JobId, file: &str) -> Result<Response, ApiError> {
        self.send(self.request(Method::GET, &format!("/apiv1/track/{job}/{file}"))).await
    }

    pub(crate) async fn cancel(&self, job: &JobId) -> Result<Value, ApiError> {
        let request = self.request(Method::DELETE, &format!("/apiv1/job/{job}"));
        self.json(request.timeout(ANSWER_TIMEOUT)).await
    }

    pub(crate) async fn queue(&self) -> Result<Queue, ApiError> {
        self.json(self.request(Method::GET, "/apiv1/queue").timeout(ANSWER_TIMEOUT)).await
    }

    /// The error for a connection that broke off.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> ApiError {
        ApiError::Unreachable { url: self.url.clone(), why: innermost(error) }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        let body = self.send(request).await?.bytes().await;
        let body = body.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| self.strange(error.to_string()))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = retry_after(&response);
        let body = response.bytes().await.unwrap_or_default();
        let Some(message) = message(&body) else {
            return Err(self.strange(format!("it says {status}")));
        };
        Err(match retry_after {
            Some(retry_after) => ApiError::Busy { message, retry_after },
            None => ApiError::Refused { status, message },
        })
    }

    fn strange(&self, why: String) -> ApiError {
        ApiError::Strange { url: self.url.clone(), why }
    }
}

/// Whoever has set a proxy has not meant it for this.
fn is_this_machine(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// `{"error": …}`, with what can be done about it.
fn message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        hint: Option<String>,
    }
    let Refusal { error, hint } = serde_json::from_slice(body).ok()?;
    Some(match hint {
        Some(hint) => format!("{error}: {hint}"),
        None => error,
    })
}

/// `connection refused` rather than all that was being done when it was.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_in_the_gateways_words() {
        let with_hint = br#"{"error": "No MP3 file", "hint": "send one"}"#;
        assert_eq!(message(with_hint).unwrap(), "No MP3 file: send one");
        assert_eq!(message(br#"{"error": "too large"}"#).unwrap(), "too large");
        assert_eq!(message(b"<html>502 Bad Gateway</html>"), None);
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for url in ["", "localhost:5000", "not an address", "http://"] {
            assert!(Gateway::new(url).is_err(), "{url}");
        }
        assert_eq!(Gateway::new("http://[::1]:80/").unwrap().url, "http://[::1]:80");
    }

    #[test]
    fn a_proxy_is_not_used_for_this_machine() {
        let is_local = |url: &str| is_this_machine(&Url::parse(url).unwrap());
        assert!(is_local("http://localhost:5000") && is_local("http://[::1]:5000"));
        assert!(!is_local("http://stems.example"));
    }
}
