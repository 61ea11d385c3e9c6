//! What a client is told when something cannot be done. Both doors say it in the same words.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use workflow::{BusError, ObjectError};

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
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

impl ApiError {
    /// The HTTP status; the NATS door uses the same numbers.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoSong | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Encoded(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stalled { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound(_) | Self::NoTrack(_) | Self::NoPath => StatusCode::NOT_FOUND,
            Self::Range { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Starting | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
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
            _ => {}
        }
        body
    }

    /// True if the same request may be answered differently in a while.
    fn may_be_retried(&self) -> bool {
        match self {
            Self::Busy | Self::Starting | Self::Unavailable(_) => true,
            Self::NoTrack(no_track) => no_track.progress.is_some(),
            _ => false,
        }
    }
}

impl From<BusError> for ApiError {
    fn from(error: BusError) -> Self {
        Self::Unavailable(error)
    }
}

impl From<ObjectError> for ApiError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Bus(error) => Self::Unavailable(error),
            other => Self::Internal(other.into()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        if self.may_be_retried() {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Self::Range { size } = self {
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            if let Ok(range) = HeaderValue::try_from(format!("bytes */{size}")) {
                headers.insert(header::CONTENT_RANGE, range);
            }
        }
        match self {
            // The client is not told why; whoever logs the request is.
            Self::Unavailable(_) | Self::Internal(_) => {
                (Extension(Hidden(Arc::new(self))), response).into_response()
            }
            _ => response,
        }
    }
}

/// The error behind a response that does not tell it.
#[derive(Clone)]
pub(crate) struct Hidden(pub(crate) Arc<ApiError>);
