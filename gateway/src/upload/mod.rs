//! A song on its way in: whatever form the request has, it goes into the bucket `queue` piece by
//! piece and is never held whole.
//!
//! ```text
//! body ─► Incoming ─► raw | multipart | json ─► Intake ─► finish ─► Song
//! ```

mod incoming;
mod json;
mod multipart;
mod options;
mod raw;

use std::sync::Arc;

use separation::{Request, Spec};
use workflow::{Bucket, ObjectWriter, UPLOADS};

use crate::desk::{Desk, Song};
use crate::error::ApiError;

pub(crate) use incoming::Incoming;
pub(crate) use options::from_pairs;

/// The names under which a song may come in a form.
const SONG_FIELDS: [&str; 3] = ["mp3", "file", "audio"];

/// The forms that a request may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The body is the song.
    Raw,
    /// The song is a part of a multipart form with this boundary.
    Multipart(String),
    /// The song stands as base64 in a JSON object.
    Json,
}

impl Form {
    /// The form that a `Content-Type` announces; whatever is no form is a song.
    pub(crate) fn of(content_type: &str) -> Result<Self, ApiError> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("multipart/form-data") {
            let boundary = multer::parse_boundary(content_type).map_err(|_| {
                let text = "the Content-Type names no boundary: let your HTTP library set it";
                ApiError::Malformed(text.to_owned())
            })?;
            return Ok(Self::Multipart(boundary));
        }
        let is_json = media_type.eq_ignore_ascii_case("application/json");
        Ok(if is_json { Self::Json } else { Self::Raw })
    }
}

/// Where songs are taken in.
pub(crate) struct Inlet {
    /// Whose songs they become.
    pub(crate) desk: Arc<Desk>,
    /// The largest song, in bytes.
    pub(crate) limit: u64,
    /// How long the request says that it is, in bytes.
    pub(crate) announced: u64,
}

impl Inlet {
    /// Reads a request to its end. `options` are those that are known before.
    pub(crate) async fn take(
        &self,
        form: Form,
        body: &Incoming,
        options: Request,
    ) -> Result<(Intake, Spec), ApiError> {
        // An option that cannot be had is refused before the song has come.
        self.check(&options)?;
        let (intake, options) = match form {
            Form::Raw => raw::read(self, body, options).await?,
            Form::Multipart(boundary) => multipart::read(self, body, &boundary, options).await?,
            Form::Json => json::read(self, body, options).await?,
        };
        if intake.writer.size() == 0 {
            let text = "the song is empty: check that the file has any bytes, and send it again";
            return Err(ApiError::Refused(text.to_owned()));
        }
        Ok((intake, self.desk.spec(options)?))
    }

    /// Whether `options` can be had, and a song be taken for them: before it has come.
    fn check(&self, options: &Request) -> Result<(), ApiError> {
        let spec = self.desk.spec(options.clone())?;
        self.desk.admit(spec.lane, self.announced)
    }

    fn open(&self) -> Intake {
        let bus = self.desk.bus();
        let name = format!("{UPLOADS}{}", bus.unique());
        Intake { writer: bus.put(Bucket::Queue, name, None), limit: self.limit }
    }
}

/// A song that is coming in. If it is dropped before it is finished, nothing of it stays.
pub(crate) struct Intake {
    writer: ObjectWriter,
    limit: u64,
}

impl Intake {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        if self.writer.size() + bytes.len() as u64 > self.limit {
            return Err(ApiError::TooLarge { limit: self.limit });
        }
        Ok(self.writer.write(bytes).await?)
    }

    /// Stores what is left of it.
    pub(crate) async fn finish(self) -> Result<Song, ApiError> {
        Ok(Song { object: self.writer.finish().await?, owned: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_tells_the_form() {
        for (content_type, form) in [
            ("", Form::Raw),
            ("audio/mpeg", Form::Raw),
            // What curl says of --data-binary.
            ("application/x-www-form-urlencoded", Form::Raw),
            ("application/json", Form::Json),
            ("Application/JSON; charset=utf-8", Form::Json),
            ("multipart/form-data; boundary=x1", Form::Multipart("x1".to_owned())),
        ] {
            assert_eq!(Form::of(content_type).unwrap(), form, "{content_type}");
        }
        assert!(Form::of("multipart/form-data").is_err());
    }
}
