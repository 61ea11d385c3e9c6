//! `POST /apiv1/separate`: a song comes in.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Request, header};
use opentelemetry::trace::FutureExt;
use separation::Spec;
use tracing::Instrument;

use super::Shared;
use crate::desk::Receipt;
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::upload::{Form, Incoming, Intake, from_pairs};

/// What a request may have beside the song.
const FORM_BYTES: u64 = 4 << 20;

pub(crate) async fn separate(
    State(gateway): Shared,
    Query(query): Query<Vec<(String, String)>>,
    request: Request<Body>,
) -> Result<Json<Receipt>, ApiError> {
    let (head, body) = request.into_parts();
    let form = Form::of(text(&head.headers, header::CONTENT_TYPE))?;
    let limits = gateway.limits();
    let room = room(&form, limits.song_bytes);
    let body = Incoming::new(body, room, limits);
    let taken = match check(&head.headers, room, limits.song_bytes) {
        Ok(()) => take(&gateway, form, &body, &query, announced(&head.headers)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &taken
        && is_sending(&head.headers, error)
    {
        body.drain().await;
    }
    let (intake, spec) = taken?;
    submit(gateway, intake, spec).await.map(Json)
}

async fn take(
    gateway: &Gateway,
    form: Form,
    body: &Incoming,
    query: &[(String, String)],
    announced: u64,
) -> Result<(Intake, Spec), ApiError> {
    let _permit = gateway.upload_permit()?;
    gateway.inlet(announced)?.take(form, body, from_pairs(query)?).await
}

/// From here on it is the same to us whether the client stays: half a submission would leave a
/// song that nobody knows of.
async fn submit(gateway: Arc<Gateway>, intake: Intake, spec: Spec) -> Result<Receipt, ApiError> {
    let submitted = async move {
        let song = intake.finish().await?;
        gateway.metrics.uploaded(song.object.size);
        let receipt = gateway.desk()?.submit(&song, &spec).await?;
        gateway.metrics.submitted(receipt.outcome);
        Ok(receipt)
    };
    let submitted = tokio::spawn(submitted.with_current_context().in_current_span());
    submitted.await.map_err(|error| ApiError::Internal(error.into()))?
}

/// False for a client that sends nothing, or asked whether to send the body at all.
fn is_sending(headers: &HeaderMap, error: &ApiError) -> bool {
    !matches!(error, ApiError::Stalled { .. }) && !headers.contains_key(header::EXPECT)
}

/// How long a body of that form may be; base64 makes four bytes of three.
fn room(form: &Form, limit: u64) -> u64 {
    let song = if *form == Form::Json { limit.saturating_mul(4) / 3 } else { limit };
    song.saturating_add(FORM_BYTES)
}

/// What can be told from the head alone.
fn check(headers: &HeaderMap, room: u64, limit: u64) -> Result<(), ApiError> {
    let encoding = text(headers, header::CONTENT_ENCODING);
    if !matches!(encoding, "" | "identity") {
        return Err(ApiError::Encoded(encoding.to_owned()));
    }
    if announced(headers) > room { Err(ApiError::TooLarge { limit }) } else { Ok(()) }
}

fn announced(headers: &HeaderMap) -> u64 {
    text(headers, header::CONTENT_LENGTH).parse().unwrap_or(0)
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
