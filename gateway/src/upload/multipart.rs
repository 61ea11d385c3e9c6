//! The song is a field of a form: `curl -F mp3=@song.mp3`. Options may stand before it and after.

use multer::{Field, Multipart};
use separation::Request;

use super::{Incoming, Inlet, Intake, SONG_FIELDS, options};
use crate::error::ApiError;

/// An option longer than this is none.
const OPTION_BYTES: usize = 64 << 10;

pub(super) async fn read(
    inlet: &Inlet,
    body: &Incoming,
    boundary: &str,
    mut options: Request,
) -> Result<(Intake, Request), ApiError> {
    let mut form = Multipart::new(body.stream(), boundary);
    let mut song = None;
    while let Some(field) = form.next_field().await.map_err(reason)? {
        let name = field.name().unwrap_or_default().to_owned();
        if !SONG_FIELDS.contains(&name.as_str()) {
            options::set(&mut options, &name, &text(&name, field).await?)?;
        } else if song.is_none() {
            inlet.check(&options)?;
            options.name = options.name.or_else(|| field.file_name().map(str::to_owned));
            song = Some(store(inlet, field).await?);
        } else {
            let text = "there are two songs in the form: send one request for each";
            return Err(ApiError::Refused(text.to_owned()));
        }
    }
    Ok((song.ok_or(ApiError::NoSong)?, options))
}

async fn store(inlet: &Inlet, mut field: Field<'_>) -> Result<Intake, ApiError> {
    let mut intake = inlet.open();
    while let Some(bytes) = field.chunk().await.map_err(reason)? {
        intake.write(&bytes).await?;
    }
    Ok(intake)
}

async fn text(name: &str, mut field: Field<'_>) -> Result<String, ApiError> {
    let mut text = Vec::new();
    while let Some(bytes) = field.chunk().await.map_err(reason)? {
        text.extend_from_slice(&bytes);
        if text.len() > OPTION_BYTES {
            let advice = "the song goes into the field `mp3`";
            return Err(ApiError::Malformed(format!("the field `{name}` is too long: {advice}")));
        }
    }
    String::from_utf8(text)
        .map_err(|_| ApiError::Malformed(format!("the field `{name}` is not UTF-8 text")))
}

/// What was wrong: with the body, or else with the form in it.
fn reason(error: multer::Error) -> ApiError {
    let error = match error {
        multer::Error::StreamReadFailed(source) => match source.downcast::<ApiError>() {
            Ok(error) => return *error,
            Err(source) => multer::Error::StreamReadFailed(source),
        },
        other => other,
    };
    ApiError::Malformed(format!("not a multipart form: {error}"))
}
