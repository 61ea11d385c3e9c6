//! The body is the song: `curl --data-binary @song.mp3`.

use separation::Request;

use super::{Incoming, Inlet, Intake};
use crate::error::ApiError;

pub(super) async fn read(
    inlet: &Inlet,
    body: &Incoming,
    options: Request,
) -> Result<(Intake, Request), ApiError> {
    let mut intake = inlet.open();
    while let Some(bytes) = body.next().await? {
        intake.write(&bytes).await?;
    }
    Ok((intake, options))
}
