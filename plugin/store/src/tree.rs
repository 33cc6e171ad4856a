//! Reading contents of a layer's files.

use std::fs::File;
use std::io::{self, Read};

use chunked_core::{Digest, Hasher};

const BUFFER: usize = 256 * 1024;

/// Digest and length of what is left of `file`. `with` is told of each piece and may end it with an error.
pub(crate) fn digest(
    file: &mut File,
    mut with: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut len = 0;
    read(file, |bytes| {
        hasher.update(bytes);
        len += bytes.len() as u64;
        with(bytes)
    })?;
    Ok((hasher.finish(), len))
}

/// Reads what is left of `file`, in pieces. `with` may end it with an error.
pub(crate) fn read(file: &mut File, mut with: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => with(buffer.get(..n).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
