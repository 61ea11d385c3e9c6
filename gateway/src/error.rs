//! What a client is told when something cannot be done. Both doors say it in the same words.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use workflow::{BusError, Full, Lane, ObjectError};

/// Why a request is not answered as it was meant, split by what its sender has to do.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no song in the request. The text is what clients of the first API look for.
    #[error("No MP3 file")]
    NoSong,
    /// The request is not in a form that can be read.
    #[error("{0}")]
    Malformed(String),
    /// The request is understood, but asks for something that cannot be had.
    #[error("{0}")]
    Refused(String),
    /// The song comes in a form that is not taken.
    #[error("the body is encoded as `{0}`: send the audio file as it is, without Content-Encoding")]
    Encoded(String),
    /// The song is larger than the gateway takes.
    #[error(
        "the song is larger than {limit} bytes: send a shorter one, or a compressed form such as MP3 or FLAC"
    )]
    TooLarge {
        /// The largest song that is taken, in bytes.
        limit: u64,
    },
    /// Nothing came for a while.
    #[error("no data came for {seconds} seconds: send the song again")]
    Stalled {
        /// For how long.
        seconds: u64,
    },
    /// Too many songs come in at once.
    #[error("too many songs are coming in at the moment: try again in a few seconds")]
    Busy,
    /// More music waits than is taken.
    #[error(
        "too much music waits in the lane {lane} already: send the song again in {retry_after} seconds"
    )]
    Full {
        /// The lane that the song would go to.
        lane: Lane,
        /// When there will be room, in seconds.
        retry_after: u64,
    },
    /// The bucket for songs has no room.
    #[error(
        "there is no room for another song: delete jobs that are not needed (DELETE /apiv1/job/<hash>), or have the bucket made larger (STEMFLOW_QUOTA_QUEUE)"
    )]
    NoRoom(#[source] BusError),
    /// The servers have no room at all.
    #[error(
        "the storage is full: delete jobs that are not needed (DELETE /apiv1/job/<hash>), or try again later"
    )]
    StorageFull(#[source] BusError),
    /// There is no such job.
    #[error("{0}")]
    NotFound(String),
    /// There is no such track, or not yet.
    #[error("Track not found")]
    NoTrack(NoTrack),
    /// The part that was asked for lies outside the file.
    #[error("the file has {size} bytes: ask for a range inside it")]
    Range {
        /// The length of the file in bytes.
        size: u64,
    },
    /// There is no such path.
    #[error("there is nothing at this path: see /openapi.json for what there is")]
    NoPath,
    /// The path exists, but not with this method.
    #[error("this path does not take this method: see /openapi.json for what it takes")]
    NoMethod,
    /// The connection to NATS has not been made yet.
    #[error("the service is starting: try again in a few seconds")]
    Starting,
    /// NATS did not do its part.
    #[error("the service cannot reach its storage: try again in a few seconds")]
    Unavailable(#[source] BusError),
    /// Something is wrong that the client can do nothing about.
    #[error("something went wrong on our side: try again, and tell us if it stays so")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why there is no track.
#[derive(Debug, Default)]
pub struct NoTrack {
    /// The job's state, if there is a job.
    pub state: Option<String>,
    /// How far it is, while it runs.
    pub progress: Option<f64>,
    /// What to do.
    pub hint: String,
}

/// Seconds after which a client may try again.
const SOON: u64 = 5;
/// The same where someone has to make room first.
const LATER: u64 = 60;

impl ApiError {
    /// The HTTP status; the NATS door uses the same numbers.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoSong | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Encoded(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stalled { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Busy | Self::Full { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::NoRoom(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::NotFound(_) | Self::NoTrack(_) | Self::NoPath => StatusCode::NOT_FOUND,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Starting | Self::Unavailable(_) | Self::StorageFull(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What the client reads. Where the words of `error` are what older clients compare with, the
    /// next step stands beside them as `hint`.
    pub fn body(&self) -> Value {
        let mut body = json!({ "error": self.to_string() });
        match self {
            Self::NoSong => {
                body["hint"] = "send the song as the multipart field `mp3`, as base64 in the JSON \
                    field `mp3`, or as the body itself"
                    .into();
            }
            Self::NoTrack(NoTrack { state, progress, hint }) => {
                body["hint"] = hint.as_str().into();
                if let Some(state) = state {
                    body["state"] = state.as_str().into();
                }
                if let Some(progress) = progress {
                    body["progress"] = (*progress).into();
                }
            }
            Self::Full { retry_after, .. } => body["retry_after"] = (*retry_after).into(),
            _ => {}
        }
        body
    }

    /// After how many seconds the same request may be answered differently.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Busy | Self::Starting | Self::Unavailable(_) => Some(SOON),
            Self::NoTrack(no_track) => no_track.progress.map(|_| SOON),
            Self::Full { retry_after, .. } => Some(*retry_after),
            Self::StorageFull(_) => Some(LATER),
            _ => None,
        }
    }
}

impl From<BusError> for ApiError {
    fn from(error: BusError) -> Self {
        match error.full() {
            Some(Full::Bucket) => Self::NoRoom(error),
            Some(Full::Storage) => Self::StorageFull(error),
            None => Self::Unavailable(error),
        }
    }
}

impl From<ObjectError> for ApiError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Bus(error) => error.into(),
            other => Self::Internal(other.into()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Self::Range { size } = self {
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            if let Ok(range) = HeaderValue::try_from(format!("bytes */{size}")) {
                headers.insert(header::CONTENT_RANGE, range);
            }
        }
        match self {
            // The client is not told why; whoever logs the request is.
            Self::Unavailable(_) | Self::NoRoom(_) | Self::StorageFull(_) | Self::Internal(_) => {
                (Extension(Hidden(Arc::new(self))), response).into_response()
            }
            _ => response,
        }
    }
}

/// The error behind a response that does not tell it.
#[derive(Clone)]
pub(crate) struct Hidden(pub(crate) Arc<ApiError>);
