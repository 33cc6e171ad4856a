//! What a file of this machine holds: read into memory, hashed, compared with what it was said to hold. Everything that
//! reads such a file from its first to its last byte does it here, as long as its layer is wanted.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use chunked_core::{Digest, Hasher};

use crate::error::AssembleError;
use crate::source::file::NewFile;
use crate::source::refetch::Failed;
use crate::work::layer::Layer;

/// Files up to this many bytes are read into memory once, for copy and hash together.
pub(crate) const SMALL: u64 = 1 << 20;
/// Bytes read at a time.
const BUFFER: usize = 256 * 1024;

/// What `from` holds, of the length that `file`, a small one, is to have. By one call.
pub(crate) fn all(file: &NewFile, from: &File) -> Result<Vec<u8>, Failed> {
    let mut data = vec![0; usize::try_from(file.size).unwrap_or(0)];
    match from.read_exact_at(&mut data, 0) {
        Ok(()) => Ok(data),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Failed::Refuted("its length changed while it was read".into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Gives all that `from` holds to `sink`, some at a time; gives the digest of it.
pub(crate) fn each(
    layer: &Layer,
    mut from: impl Read,
    mut sink: impl FnMut(&[u8]) -> Result<(), AssembleError>,
) -> Result<Digest, Failed> {
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; BUFFER]);
    loop {
        layer.check()?;
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                sink(&buffer[..n])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Compares the digest `found` with the one that `file` is to have.
pub(crate) fn right(file: &NewFile, found: Digest) -> Result<(), Failed> {
    if file.digest == Some(found) { Ok(()) } else { Err(Failed::Refuted("it has another digest".into())) }
}

/// Compares a length in bytes with the one that `file` is to have.
pub(crate) fn right_length(file: &NewFile, found: u64) -> Result<(), Failed> {
    if file.size == found {
        return Ok(());
    }
    Err(Failed::Refuted(format!("it has {found} bytes, not {}", file.size)))
}
