//! Small files, read with a bound.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The content of the regular file at `path`, which has at most `limit` bytes. Blocks on the disk.
///
/// # Errors
///
/// Why it cannot be read, without the path.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    // A pipe would block for ever.
    if !file.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("longer than {limit} bytes"));
    }
    Ok(bytes)
}
