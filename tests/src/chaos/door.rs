//! One request of a client at one of the doors, and what came of it.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use futures::stream;
use reqwest::{Body, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use workflow::{Bucket, Bus};

use super::works::Work;

/// How long a client waits for any answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pieces in which a song is sent.
const PIECE: usize = 16 << 10;

/// What came of a request, if not what was hoped for; in words that are the same each time.
pub(crate) type Refusal = String;

/// The way of one client to the stack.
#[derive(Clone)]
pub(crate) struct Door {
    http: reqwest::Client,
    bus: Bus,
}

/// How a song is sent over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The body is the song.
    Raw,
    /// A field of a form.
    Multipart,
    /// The body is the song, and its pieces come with this pause between them.
    Slow(Duration),
}

impl Door {
    /// A client with connections of its own.
    ///
    /// # Panics
    /// If HTTP cannot be spoken.
    pub(crate) fn new(bus: Bus) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE).build();
        Self { http: http.expect("HTTP can be spoken"), bus }
    }

    /// Sends a song to a gateway; the hash.
    pub(crate) async fn send(
        &self,
        gateway: &str,
        work: &Work,
        file: &[u8],
        form: Form,
    ) -> Result<String, Refusal> {
        let request = self.http.post(format!("{gateway}/apiv1/separate")).query(&work.query());
        let request = match form {
            Form::Raw => request.body(file.to_vec()),
            Form::Multipart => {
                let part = reqwest::multipart::Part::bytes(file.to_vec()).file_name(work.name);
                request.multipart(reqwest::multipart::Form::new().part("mp3", part))
            }
            Form::Slow(pause) => request.body(slow(file, pause, file.len())),
        };
        hash_of(&json_of(request.send().await).await?)
    }

    /// Sends half of a song to a gateway, and hangs up.
    pub(crate) async fn hang_up(&self, gateway: &str, work: &Work, file: &[u8], pause: Duration) {
        let request = self.http.post(format!("{gateway}/apiv1/separate")).query(&work.query());
        let half = slow(file, pause, file.len() / 2);
        let _ = request.header("content-length", file.len()).body(half).send().await;
    }

    /// Puts a song into the bucket `queue` under `name` and submits it over NATS; the hash.
    pub(crate) async fn submit(
        &self,
        work: &Work,
        name: &str,
        file: &[u8],
    ) -> Result<String, Refusal> {
        let put = async {
            let mut object = self.bus.put(Bucket::Queue, name.to_owned(), None);
            object.write(file).await?;
            object.finish().await
        };
        put.await.map_err(|_| "NATS: the song was not stored".to_owned())?;
        let mut request = work.options.clone();
        request["object"] = json!(name);
        hash_of(&self.ask("stemflow.submit", request.to_string()).await?)
    }

    /// Takes a song out of the bucket `queue`; true if it is not there any more.
    pub(crate) async fn withdraw(&self, name: &str) -> bool {
        match self.bus.find(Bucket::Queue, name).await {
            Ok(object) => self.bus.delete(&object).await.is_ok(),
            Err(workflow::ObjectError::Missing { .. }) => true,
            Err(_) => false,
        }
    }

    /// Stops a job that has not ended.
    pub(crate) async fn cancel(&self, hash: &str) -> Result<(), Refusal> {
        self.ask("stemflow.cancel", hash.to_owned()).await.map(drop)
    }

    /// How a job stands; `None` if there is none.
    pub(crate) async fn status(&self, gateway: &str, hash: &str) -> Result<Option<Value>, Refusal> {
        let reply = self.http.get(format!("{gateway}/apiv1/status/{hash}")).send().await;
        match reply {
            Ok(reply) if reply.status() == StatusCode::NOT_FOUND => Ok(None),
            reply => json_of(reply).await.map(Some),
        }
    }

    /// Deletes a job that has ended; true if there is none any more.
    pub(crate) async fn delete(&self, gateway: &str, hash: &str) -> Result<bool, Refusal> {
        let reply = self.http.delete(format!("{gateway}/apiv1/job/{hash}")).send().await;
        match reply {
            Ok(reply) if reply.status() == StatusCode::NOT_FOUND => Ok(true),
            reply => json_of(reply).await.map(|_| false),
        }
    }

    /// The SHA-256 of a track.
    pub(crate) async fn track(
        &self,
        gateway: &str,
        hash: &str,
        file: &str,
    ) -> Result<String, Refusal> {
        let url = format!("{gateway}/apiv1/track/{hash}/{file}");
        let reply = self.http.get(url).send().await.map_err(reason)?;
        let status = reply.status();
        if status != StatusCode::OK {
            return Err(format!("HTTP {}", status.as_u16()));
        }
        let bytes = reply.bytes().await.map_err(reason)?;
        Ok(hex::encode(Sha256::digest(&bytes)))
    }

    async fn ask(&self, subject: &'static str, request: String) -> Result<Value, Refusal> {
        let client: &Client = self.bus.client();
        let reply = client.request(subject, request.into()).await;
        let reply = reply.map_err(|error| format!("NATS: {}", error.kind()))?;
        let code =
            reply.headers.as_ref().and_then(|headers| headers.get("Nats-Service-Error-Code"));
        if let Some(code) = code {
            return Err(format!("NATS {}", code.as_str()));
        }
        serde_json::from_slice(&reply.payload).map_err(|_| "NATS: no JSON".to_owned())
    }
}

/// The first `length` bytes of a song, piece by piece; if that is not all, the connection breaks.
fn slow(file: &[u8], pause: Duration, length: usize) -> Body {
    let whole = length == file.len();
    let mut pieces: Vec<Option<Bytes>> =
        file[..length].chunks(PIECE).map(|piece| Some(Bytes::copy_from_slice(piece))).collect();
    if !whole {
        pieces.push(None);
    }
    let stream = stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        let piece = pieces.next()?;
        tokio::time::sleep(pause).await;
        let hung_up = || std::io::Error::other("the client hangs up");
        Some((piece.ok_or_else(hung_up), pieces))
    });
    Body::wrap_stream(stream)
}

async fn json_of(reply: reqwest::Result<reqwest::Response>) -> Result<Value, Refusal> {
    let reply = reply.map_err(reason)?;
    let status = reply.status();
    if !status.is_success() {
        return Err(format!("HTTP {}", status.as_u16()));
    }
    reply.json().await.map_err(reason)
}

fn hash_of(reply: &Value) -> Result<String, Refusal> {
    let hash = reply["hash"].as_str();
    hash.map(str::to_owned).ok_or_else(|| format!("a reply without a hash: {reply}"))
}

fn reason(error: reqwest::Error) -> Refusal {
    let what = if error.is_connect() {
        "no connection"
    } else if error.is_timeout() {
        "no answer in time"
    } else {
        "the connection broke"
    };
    format!("HTTP: {what}")
}
