//! The NATS door: the micro service `stemflow`, for those with the `nats` command.
//!
//! ```text
//! nats object put queue song.mp3
//! nats req stemflow.submit '{"object": "song.mp3"}'
//! nats req stemflow.status <hash>
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use async_nats::service::endpoint::Endpoint;
use async_nats::service::{
    NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request as Message, Service, ServiceExt,
};
use async_nats::{Client, HeaderMap, HeaderValue};
use axum::http::StatusCode;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::select_all;
use opentelemetry::trace::FutureExt;
use separation::Request;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use workflow::{Bucket, ObjectError};

use crate::desk::{Receipt, Song};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::trace;

/// Requests that are answered at a time.
const AT_A_TIME: usize = 32;

#[derive(Clone, Copy)]
enum Door {
    Submit,
    Status,
    Cancel,
    Queue,
}

/// Every endpoint, with what `nats micro info` says of it.
const DOORS: [(Door, &str, &str, &str); 4] = [
    (
        Door::Submit,
        "submit",
        "Separates a song of the bucket `queue`; takes model, stems, format, bitrate, overlap, lane, callback",
        r#"{"object": "song.mp3", …}"#,
    ),
    (Door::Status, "status", "Tells how a job stands", "<hash> or {\"hash\": …}"),
    (Door::Cancel, "cancel", "Stops a job that has not ended", "<hash> or {\"hash\": …}"),
    (Door::Queue, "queue", "Lists the jobs that have not ended, the oldest first", "nothing"),
];

/// The door, open.
pub struct Micro {
    gateway: Arc<Gateway>,
    service: Service,
    endpoints: Vec<(Door, &'static str, Endpoint)>,
}

impl Micro {
    /// Opens the door: once this returns, requests are answered or wait for [`Micro::serve`].
    pub async fn start(gateway: Arc<Gateway>, client: &Client) -> Result<Self, async_nats::Error> {
        let service = client
            .service_builder()
            .description("Music separation: songs in, stems out. The same as the HTTP API.")
            .metadata(pairs(&[
                ("songs", "object bucket `queue`"),
                ("stems", "object bucket `output`, <hash>/<stem>.mp3"),
            ]))
            .start("stemflow", env!("CARGO_PKG_VERSION"))
            .await?;
        let group = service.group("stemflow");
        let mut endpoints = Vec::new();
        for (door, name, about, request) in DOORS {
            let metadata = pairs(&[("description", about), ("request", request)]);
            let endpoint = group.endpoint_builder().name(name).metadata(metadata).add(name).await?;
            endpoints.push((door, name, endpoint));
        }
        client.flush().await?;
        Ok(Self { gateway, service, endpoints })
    }

    /// Answers until `shutdown`, or until the connection ends.
    pub async fn serve(self, shutdown: CancellationToken) {
        let Self { gateway, service, endpoints } = self;
        let requests = endpoints
            .into_iter()
            .map(|(door, name, endpoint)| endpoint.map(move |request| (door, name, request)));
        let answers =
            select_all(requests).for_each_concurrent(AT_A_TIME, |(door, name, message)| {
                let gateway = &gateway;
                async move { answer(gateway, door, name, &message).await }
            });
        tokio::select! {
            () = answers => {}
            () = shutdown.cancelled() => {}
        }
        if let Err(error) = service.stop().await {
            tracing::debug!(%error, "the NATS door did not close cleanly");
        }
    }
}

async fn answer(gateway: &Gateway, door: Door, name: &'static str, message: &Message) {
    let payload = &message.message.payload;
    let answer = match door {
        Door::Submit => traced(message, submit(gateway, payload)).await,
        Door::Status => status(gateway, payload).await,
        Door::Cancel => cancel(gateway, payload).await,
        Door::Queue => queue(gateway).await,
    };
    let status = answer.as_ref().map_or_else(ApiError::status, |_| StatusCode::OK);
    gateway.metrics.service(name, status);
    let sent = match answer {
        Ok(body) => message.respond(Ok(body)).await,
        Err(error) => refuse(name, message, &error).await,
    };
    if let Err(error) = sent {
        tracing::debug!(%error, endpoint = name, "a reply was not sent");
    }
}

/// Submits in the trace of the one who asks, or in one that begins here.
async fn traced(
    message: &Message,
    submit: impl Future<Output = Result<Receipt, ApiError>>,
) -> Result<Bytes, ApiError> {
    let headers = message.message.headers.as_ref();
    let sent = headers.and_then(|headers| headers.get(telemetry::context::TRACEPARENT));
    let context = trace::nats(&message.message.subject, sent.map(HeaderValue::as_str));
    let log = trace::log(&context);
    let receipt = submit.with_context(context.clone()).instrument(log).await;
    let status = receipt.as_ref().map_or_else(ApiError::status, |_| StatusCode::OK);
    trace::end(&context, status);
    json(&receipt?)
}

/// An error in the headers, where libraries look for it, and in the body, where people do.
async fn refuse(
    name: &'static str,
    message: &Message,
    error: &ApiError,
) -> Result<(), async_nats::PublishError> {
    if let ApiError::Unavailable(_) | ApiError::Internal(_) = error {
        let reason = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(endpoint = name, error = reason, "request failed");
    }
    let mut headers = HeaderMap::new();
    // A header is one line.
    headers.insert(NATS_SERVICE_ERROR, error.to_string().replace(['\r', '\n'], " "));
    headers.insert(NATS_SERVICE_ERROR_CODE, error.status().as_str());
    let body = error.body().to_string().into();
    message.respond_with_headers(Ok(body), headers).await
}

/// What `stemflow.submit` takes: a song's name in the bucket `queue`, and what HTTP takes too.
#[derive(Deserialize)]
struct Submit {
    object: String,
    #[serde(flatten)]
    options: Request,
}

async fn submit(gateway: &Gateway, payload: &Bytes) -> Result<Receipt, ApiError> {
    let Submit { object, options } = serde_json::from_slice(payload).map_err(|error| {
        let example = r#"send {"object": "song.mp3"}, after `nats object put queue song.mp3`"#;
        ApiError::Malformed(format!("not understood: {error}; {example}"))
    })?;
    let desk = gateway.desk()?;
    let spec = desk.spec(Request { name: options.name.or(Some(object.clone())), ..options })?;
    let object = match desk.bus().find(Bucket::Queue, &object).await {
        Ok(object) => object,
        Err(ObjectError::Missing { .. }) => {
            let advice = "put it there with `nats object put queue <file>`";
            let text = format!("there is no `{object}` in the bucket `queue`: {advice}");
            return Err(ApiError::NotFound(text));
        }
        Err(error) => return Err(error.into()),
    };
    let song = Song { object, owned: false };
    if let Err(full) = desk.admit(spec.lane, song.object.size)
        && !desk.is_known(&song, &spec).await?
    {
        return Err(full);
    }
    let receipt = desk.submit(&song, &spec).await?;
    gateway.metrics.submitted(receipt.outcome);
    Ok(receipt)
}

async fn status(gateway: &Gateway, payload: &Bytes) -> Result<Bytes, ApiError> {
    json(&gateway.desk()?.status(&hash(payload)).await?)
}

async fn cancel(gateway: &Gateway, payload: &Bytes) -> Result<Bytes, ApiError> {
    json(&gateway.desk()?.cancel(&hash(payload)).await?)
}

async fn queue(gateway: &Gateway) -> Result<Bytes, ApiError> {
    json(&gateway.desk()?.queue().await?)
}

/// A hash, bare or as JSON.
fn hash(payload: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Sent {
        Bare(String),
        Field { hash: String },
    }
    match serde_json::from_slice(payload) {
        Ok(Sent::Bare(hash) | Sent::Field { hash }) => hash,
        Err(_) => String::from_utf8_lossy(payload).trim().to_owned(),
    }
}

fn json(record: &impl Serialize) -> Result<Bytes, ApiError> {
    let text = serde_json::to_vec(record).map_err(|error| ApiError::Internal(error.into()))?;
    Ok(text.into())
}

fn pairs(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_comes_bare_or_as_json() {
        for payload in ["abc", " abc\n", "\"abc\"", r#"{"hash": "abc"}"#] {
            assert_eq!(hash(payload.as_bytes()), "abc");
        }
    }
}
