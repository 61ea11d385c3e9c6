//! The stems of a song, one by one: fetched, and removed.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use workflow::{Bus, ObjectError, ObjectRef};

use super::Shared;
use super::range::{Wanted, wanted};
use crate::desk::{Removed, Track};
use crate::download::Download;
use crate::error::{ApiError, NoTrack};

#[derive(Deserialize)]
pub(crate) struct Show {
    /// Present and not `0`: to be played where it is, not saved.
    inline: Option<String>,
}

pub(crate) async fn track(
    State(gateway): Shared,
    Path((hash, track)): Path<(String, String)>,
    Query(show): Query<Show>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let desk = gateway.desk()?;
    let track = desk.track(&hash, &track).await?;
    let object = &track.stem.object;
    let (size, etag) = (object.size, etag(object));
    let (status, part) = match wanted(&headers, size, &etag) {
        Wanted::Nothing => {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
        }
        Wanted::Outside => return Err(ApiError::Range { size }),
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
    };
    let is_inline = show.inline.is_some_and(|inline| inline != "0");
    let mut fields = describe(&track, &etag, is_inline);
    fields.push((header::CONTENT_LENGTH, (part.end - part.start).to_string()));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        fields.push((header::CONTENT_RANGE, range));
    }
    let body = match method {
        Method::HEAD => Body::empty(),
        _ => open(desk.bus(), object, part).await?,
    };
    Ok((status, axum::response::AppendHeaders(fields), body).into_response())
}

fn describe(track: &Track, etag: &str, is_inline: bool) -> Vec<(HeaderName, String)> {
    let disposition = if is_inline { "inline" } else { "attachment" };
    vec![
        (header::CONTENT_TYPE, track.stem.media_type.clone()),
        (header::CONTENT_DISPOSITION, content_disposition(disposition, &track.file_name)),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, etag.to_owned()),
        // The same song may be separated again, or a stem removed: ask, with the tag at hand.
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ]
}

async fn open(bus: &Bus, object: &ObjectRef, part: std::ops::Range<u64>) -> Result<Body, ApiError> {
    match Download::open(bus, object, part).await {
        Ok(download) => Ok(Body::from_stream(download.into_stream())),
        Err(ObjectError::Missing { .. }) => {
            let hint = "its time is over: send the song again to have it back".to_owned();
            Err(ApiError::NoTrack(NoTrack { hint, ..NoTrack::default() }))
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn remove(
    State(gateway): Shared,
    Path((hash, track)): Path<(String, String)>,
) -> Result<Json<Removed>, ApiError> {
    Ok(Json(gateway.desk()?.remove_track(&hash, &track).await?))
}

/// The digest of an object, as a strong tag.
fn etag(object: &ObjectRef) -> String {
    let digest = object.digest.strip_prefix("SHA-256=").unwrap_or(&object.digest);
    format!("\"{}\"", digest.trim_end_matches('='))
}

/// What `filename*` may hold unescaped (RFC 8187, `attr-char`).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// A file's name, once for those who read only ASCII and once as it is.
pub(super) fn content_disposition(disposition: &str, file_name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ';
    let ascii: String = file_name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let utf8 = utf8_percent_encode(file_name, ESCAPED);
    format!("{disposition}; filename=\"{ascii}\"; filename*=UTF-8''{utf8}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        assert_eq!(
            content_disposition("attachment", "Bjö\"rk; a\r\n (vocals).mp3"),
            "attachment; filename=\"Bj__rk; a__ (vocals).mp3\"; \
             filename*=UTF-8''Bj%C3%B6%22rk%3B%20a%0D%0A%20%28vocals%29.mp3"
        );
    }
}
