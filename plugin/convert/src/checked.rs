//! A blob that proves itself while it is read.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chunked_compression::PEEK;
use chunked_core::{Algorithm, ObjectDigest, ObjectHasher};

use crate::document::Descriptor;
use crate::error::ConvertError;
use crate::progress::{LayerProgress, Progress};
use crate::source::BlobReader;
use crate::temp::Temp;

/// Bytes read or written at a time.
const BUFFER: usize = 256 * 1024;

/// A blob that is hashed and counted while it is read, and can be stopped.
pub(crate) struct Checked {
    reader: BlobReader,
    progress: Arc<LayerProgress>,
    whole: Progress,
    hasher: ObjectHasher,
    read: u64,
    /// The first bytes.
    start: Vec<u8>,
    /// How many of `start` are still to be given.
    pending: usize,
}

impl Checked {
    /// A reader that hashes by `algorithm`.
    pub(crate) fn new(
        reader: BlobReader,
        algorithm: Algorithm,
        progress: Arc<LayerProgress>,
        whole: Progress,
    ) -> Self {
        progress.read.store(0, Ordering::Relaxed);
        let (hasher, start) = (algorithm.hasher(), Vec::new());
        Self { reader, progress, whole, hasher, read: 0, start, pending: 0 }
    }

    /// The first bytes; they will be read again.
    pub(crate) fn peek(&mut self) -> io::Result<&[u8]> {
        let mut start = [0; PEEK];
        let mut have = 0;
        while have < PEEK {
            match self.take(start.get_mut(have..).unwrap_or_default())? {
                0 => break,
                n => have += n,
            }
        }
        self.pending = have;
        Ok(&self.start)
    }

    fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.whole.stopped() {
            return Err(io::Error::other("stopped"));
        }
        let n = self.reader.read(buffer)?;
        let bytes = buffer.get(..n).unwrap_or_default();
        self.hasher.update(bytes);
        if self.start.len() < PEEK {
            self.start.extend(bytes.iter().take(PEEK - self.start.len()));
        }
        self.read += n as u64;
        self.progress.read.store(self.read, Ordering::Relaxed);
        Ok(n)
    }

    /// What is known of a failure beyond the I/O error.
    pub(crate) fn cause(&mut self, blob: &ObjectDigest) -> Option<ConvertError> {
        if self.whole.stopped() {
            return Some(ConvertError::Stopped(format!(" with layer {blob}")));
        }
        self.reader.failure()
    }

    pub(crate) fn failed(&mut self, error: io::Error, blob: &ObjectDigest) -> ConvertError {
        let known = self.cause(blob);
        known.unwrap_or_else(|| ConvertError::File { path: format!("blob {blob}").into(), source: error })
    }

    /// Reads everything into a temporary file and proves it; gives the first bytes, too. Blocks.
    pub(crate) fn into_file(
        mut self,
        descriptor: &Descriptor,
        temp: &Temp,
    ) -> Result<(File, Vec<u8>), ConvertError> {
        let file = temp.file()?;
        let mut out = &file;
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) => return Err(self.failed(error, &descriptor.digest)),
            };
            out.write_all(buffer.get(..n).unwrap_or_default()).map_err(|error| temp.failed(error))?;
        }
        self.prove(descriptor)?;
        out.rewind().map_err(|error| temp.failed(error))?;
        Ok((file, self.start))
    }

    /// Compares what was read, which must be everything, with the descriptor.
    pub(crate) fn prove(&self, descriptor: &Descriptor) -> Result<(), ConvertError> {
        let found = self.hasher.clone().finish();
        if found != descriptor.digest {
            return Err(ConvertError::Digest { what: "layer", expected: descriptor.digest, found });
        }
        if self.read != descriptor.size {
            let (blob, expected, found) = (descriptor.digest, descriptor.size, self.read);
            return Err(ConvertError::Size { blob, expected, found });
        }
        Ok(())
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.pending > 0 {
            let from = self.start.len() - self.pending;
            let waiting = self.start.get(from..).unwrap_or_default();
            let n = waiting.len().min(buffer.len());
            if let (Some(room), Some(bytes)) = (buffer.get_mut(..n), waiting.get(..n)) {
                room.copy_from_slice(bytes);
            }
            self.pending -= n;
            return Ok(n);
        }
        self.take(buffer)
    }
}
