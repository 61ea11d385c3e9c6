use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use symphonia::core::io::MediaSource;

/// The first error that reading the file met.
///
/// Demuxers take a failed read for the end of the file here and there. Whoever sees a stream end
/// asks this before believing it.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if is_failure(kind) && first.is_none() {
                *first = Some(error);
            }
            kind.into()
        })
    }
}

/// Offsets that make no sense come from the file's own content, not from the disk below it.
fn is_failure(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{Interrupted, InvalidInput, UnexpectedEof};
    !matches!(kind, Interrupted | InvalidInput | UnexpectedEof)
}

/// A seekable file that remembers its [`Failure`].
pub(super) struct Source<S> {
    inner: S,
    bytes: u64,
    failure: Failure,
}

impl<S: Seek> Source<S> {
    /// Wraps `inner` and stands at its start.
    pub(super) fn new(mut inner: S) -> io::Result<Self> {
        let bytes = inner.seek(SeekFrom::End(0))?;
        inner.rewind()?;
        Ok(Self { inner, bytes, failure: Failure::default() })
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }
}

impl<S: Read> Source<S> {
    /// The next `bytes` bytes, fewer if there are no more.
    pub(super) fn head(&mut self, bytes: u64) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.inner.by_ref().take(bytes).read_to_end(&mut head)?;
        Ok(head)
    }
}

impl<S: Read> Read for Source<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.failure.note(self.inner.read(bytes))
    }
}

impl<S: Seek> Seek for Source<S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.failure.note(self.inner.seek(to))
    }
}

impl<S: Read + Seek + Send + Sync> MediaSource for Source<S> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.bytes)
    }
}
