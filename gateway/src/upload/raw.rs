//! The body is the song: `curl --data-binary @song.mp3`.

use separation::Request;

use super::{Incoming, Inlet, Intake};
use crate::error::ApiError;

pub(super) async fn read(
    inlet: &Inlet,
    body: &Incoming,
    options: Request,
) -> Result<(Intake, Request), ApiError> {
    let Some(mut bytes) = body.next().await? else { return Err(ApiError::NoSong) };
    let mut intake = inlet.open();
    loop {
        intake.write(&bytes).await?;
        match body.next().await? {
            Some(more) => bytes = more,
            None => return Ok((intake, options)),
        }
    }
}
