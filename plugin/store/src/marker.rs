//! What a layer's row says, kept in the layer's directory too: the database can be written anew from it. Small,
//! and read at every start for directories without a row.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use chunked_core::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, at};
use crate::rows::{LayerRow, Serves};
use crate::usage::Usage;

/// Name of the marker in a layer's directory.
pub(crate) const LAYER: &str = "layer.json";
/// Largest marker accepted, in bytes: far above what limits on layers allow.
const MAX: u64 = 64 << 20;

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
    /// Registries it came from when it was made; ones known later are only in the row.
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    shared_bytes: u64,
    #[serde(default)]
    shared_inodes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Digest>,
}

/// Writes the marker into `dir`, durably if `sync`.
pub(crate) fn write(dir: &Path, row: &LayerRow, sync: bool) -> Result<(), StoreError> {
    let marker = Marker {
        version: 1,
        diff_id: row.diff_id,
        flavour: row.serves,
        has_whiteouts: row.has_whiteouts,
        implied: row.implied.iter().map(hex::encode).collect(),
        bytes: row.bytes,
        inodes: row.inodes,
        created: row.created,
        origins: row.origins.clone(),
        shared_bytes: row.shared.bytes,
        shared_inodes: row.shared.inodes,
        metadata: row.metadata,
    };
    let path = dir.join(LAYER);
    let text = serde_json::to_vec(&marker).map_err(at("encode", &path))?;
    let written = || {
        let mut file = File::create(&path)?;
        file.write_all(&text)?;
        if sync { file.sync_all() } else { Ok(()) }
    };
    written().map_err(at("write", &path))
}

/// The row that the marker in `dir` describes, for a directory called `id`. `None` when there is no usable
/// marker. Its context is unset when the layer has implied directories: what they were set to is not known.
pub(crate) fn read_layer(dir: &Path, id: u64) -> Option<LayerRow> {
    let mut text = Vec::new();
    File::open(dir.join(LAYER)).ok()?.take(MAX).read_to_end(&mut text).ok()?;
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
        origins: marker.origins,
        shared: Usage { bytes: marker.shared_bytes, inodes: marker.shared_inodes },
        metadata: marker.metadata,
    })
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
            origins: vec!["quay.io".to_owned()],
            shared: Usage { bytes: 5, inodes: 1 },
            metadata: Some(Digest::of(b"looks")),
        }
    }

    #[test]
    fn reads_back_or_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &row(), false).unwrap();
        assert_eq!(read_layer(dir.path(), 7), Some(row()));
        let text = std::fs::read_to_string(dir.path().join(LAYER)).unwrap();
        let older = text.replace(",\"origins\":[\"quay.io\"]", "");
        assert_ne!(older, text);
        std::fs::write(dir.path().join(LAYER), older).unwrap();
        assert_eq!(read_layer(dir.path(), 7), Some(LayerRow { origins: Vec::new(), ..row() }));
        std::fs::write(dir.path().join(LAYER), b"{\"version\":1}").unwrap();
        assert_eq!(read_layer(dir.path(), 7), None);
    }
}
