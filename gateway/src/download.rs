//! An object on its way out to a client.

use std::ops::Range;

use bytes::{Buf, Bytes};
use futures::Stream;
use workflow::{Bus, ObjectError, ObjectReader, ObjectRef};

/// The bytes of an object, or of a part of it.
///
/// The last bytes are held back until the digest of the whole is known to be right, so that a
/// client never takes a damaged file for a good one.
pub(crate) struct Download {
    reader: ObjectReader,
    next: Option<Bytes>,
    skip: u64,
    left: u64,
}

impl Download {
    /// Reads the first bytes: an object that is not there is found out before a reply begins.
    pub(crate) async fn open(
        bus: &Bus,
        object: &ObjectRef,
        part: Range<u64>,
    ) -> Result<Self, ObjectError> {
        let mut reader = bus.get(object);
        let next = reader.next().await?;
        Ok(Self { reader, next, skip: part.start, left: part.end - part.start })
    }

    /// The next bytes; `None` at the end of the part.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        while self.left > 0 {
            let Some(mut bytes) = self.next.take() else { return Ok(None) };
            self.next = self.reader.next().await?;
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            bytes.advance(usize::try_from(skipped).unwrap_or(usize::MAX));
            bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            if !bytes.is_empty() {
                self.left -= bytes.len() as u64;
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The same as a stream that logs why it breaks off.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, ObjectError>> {
        futures::stream::try_unfold(self, |mut download| async move {
            let next = download.next().await.inspect_err(|error| {
                tracing::error!(%error, "a download breaks off");
            })?;
            Ok(next.map(|bytes| (bytes, download)))
        })
    }
}
