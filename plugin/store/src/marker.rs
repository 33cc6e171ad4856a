//! What a layer's row and index rows say, kept in the layer's directory too: both databases can be written
//! anew from it.
//!
//! `layer.json` is small and read at every start for directories without a row. `files` is binary:
//! `chunked-files-1\n`, then per file digest (32 bytes), length (u64 LE), path length (u16 LE), path; then
//! the SHA-256 of all before.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use chunked_core::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, at};
use crate::layer::NewFile;
use crate::rows::{LayerRow, Serves};

/// Name of the marker in a layer's directory.
pub(crate) const LAYER: &str = "layer.json";
/// Name of the file list in a layer's directory.
pub(crate) const FILES: &str = "files";

const MAGIC: &[u8] = b"chunked-files-1\n";
/// Largest file list and marker accepted, in bytes: far above what limits on layers allow.
const MAX_FILES: u64 = 1 << 30;
const MAX_MARKER: u64 = 64 << 20;

#[derive(Serialize, Deserialize)]
struct Marker {
    version: u32,
    diff_id: Digest,
    flavour: Serves,
    has_whiteouts: bool,
    /// Hex, because paths are bytes.
    implied: Vec<String>,
    bytes: u64,
    inodes: u64,
    created: i64,
}

/// Writes both files into `dir`. They become durable with the layer's data.
pub(crate) fn write(dir: &Path, row: &LayerRow, files: &[NewFile]) -> Result<(), StoreError> {
    write_layer(dir, row)?;
    let path = dir.join(FILES);
    write_files(&path, files).map_err(at("write", &path))
}

/// Writes only `layer.json`.
pub(crate) fn write_layer(dir: &Path, row: &LayerRow) -> Result<(), StoreError> {
    let marker = Marker {
        version: 1,
        diff_id: row.diff_id,
        flavour: row.serves,
        has_whiteouts: row.has_whiteouts,
        implied: row.implied.iter().map(hex::encode).collect(),
        bytes: row.bytes,
        inodes: row.inodes,
        created: row.created,
    };
    let path = dir.join(LAYER);
    let text = serde_json::to_vec(&marker).map_err(at("encode", &path))?;
    std::fs::write(&path, text).map_err(at("write", &path))
}

/// The row that the marker in `dir` describes, for a directory called `id`. `None` when there is no usable
/// marker. Its context is unset when the layer has implied directories: what they were set to is not known.
pub(crate) fn read_layer(dir: &Path, id: u64) -> Option<LayerRow> {
    let mut text = Vec::new();
    File::open(dir.join(LAYER)).ok()?.take(MAX_MARKER).read_to_end(&mut text).ok()?;
    let marker: Marker = serde_json::from_slice(&text).ok()?;
    let implied: Vec<Vec<u8>> = marker.implied.iter().map(hex::decode).collect::<Result<_, _>>().ok()?;
    (marker.version == 1).then_some(LayerRow {
        id,
        diff_id: marker.diff_id,
        serves: marker.flavour,
        context: implied.is_empty().then(Vec::new),
        bytes: marker.bytes,
        inodes: marker.inodes,
        has_whiteouts: marker.has_whiteouts,
        implied,
        created: marker.created,
    })
}

fn write_files(path: &Path, files: &[NewFile]) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    let mut hasher = Hasher::new();
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        out.write_all(bytes)
    };
    put(MAGIC)?;
    for file in files {
        // A path longer than any system call takes is not worth finding again.
        let Ok(len) = u16::try_from(file.path.len()) else { continue };
        put(file.digest.as_bytes())?;
        put(&file.size.to_le_bytes())?;
        put(&len.to_le_bytes())?;
        put(&file.path)?;
    }
    out.write_all(hasher.finish().as_bytes())?;
    out.flush()
}

/// The files of the layer in `dir`, as they were at its commit.
pub(crate) fn read_files(dir: &Path) -> io::Result<Vec<NewFile>> {
    let mut bytes = Vec::new();
    File::open(dir.join(FILES))?.take(MAX_FILES).read_to_end(&mut bytes)?;
    parse_files(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "broken list of files"))
}

fn parse_files(bytes: &[u8]) -> Option<Vec<NewFile>> {
    let (body, sum) = bytes.split_last_chunk::<32>()?;
    if Digest::of(body) != Digest::from_bytes(*sum) {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let mut files = Vec::new();
    while !rest.is_empty() {
        let (digest, after) = rest.split_first_chunk::<32>()?;
        let (size, after) = after.split_first_chunk::<8>()?;
        let (len, after) = after.split_first_chunk::<2>()?;
        let (path, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        files.push(NewFile {
            path: path.to_vec(),
            digest: Digest::from_bytes(*digest),
            size: u64::from_le_bytes(*size),
        });
        rest = after;
    }
    Some(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> LayerRow {
        LayerRow {
            id: 7,
            diff_id: Digest::of(b"layer"),
            serves: Serves::Upper,
            context: None,
            bytes: 1 << 40,
            inodes: 3,
            has_whiteouts: true,
            implied: vec![b"usr".to_vec(), b"usr/\xff".to_vec()],
            created: 12,
        }
    }

    #[test]
    fn both_files_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<NewFile> = (0u8..50)
            .map(|n| NewFile {
                path: vec![n; usize::from(n) + 1],
                digest: Digest::of(&[n]),
                size: u64::from(n),
            })
            .collect();
        write(dir.path(), &row(), &files).unwrap();
        assert_eq!(read_layer(dir.path(), 7), Some(row()));
        assert_eq!(read_files(dir.path()).unwrap(), files);
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = NewFile { path: b"a".to_vec(), digest: Digest::of(b""), size: 1 };
        write(dir.path(), &row(), &[file]).unwrap();
        let path = dir.path().join(FILES);
        let good = std::fs::read(&path).unwrap();
        for position in 0..good.len() {
            let mut bad = good.clone();
            bad[position] ^= 1;
            assert_eq!(parse_files(&bad), None, "flipped byte {position}");
            assert_eq!(parse_files(&good[..position]), None, "cut at {position}");
        }
        std::fs::write(dir.path().join(LAYER), b"{\"version\":1}").unwrap();
        assert_eq!(read_layer(dir.path(), 7), None);
    }
}
