//! TOC and tar-split: JSON, compressed while it is written, so that only its compressed form is ever held.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chunked_core::Digest;
use serde::Serialize;
use zstd::stream::write::Encoder;

use crate::entry::TocEntry;
use crate::error::WriteError;
use crate::reason::Reason;

/// Uncompressed bytes of a TOC that readers accept.
const TOC_LIMIT: u64 = chunked_toc::limits::TOC_BYTES;

/// Uncompressed bytes of a tar-split that this project's reader accepts; the reference has no limit.
const TAR_SPLIT_LIMIT: u64 = chunked_toc::limits::TAR_SPLIT_BYTES;

/// Compressed bytes of a tar-split. Ordinary ones have a fiftieth of that; they are held in memory.
const TAR_SPLIT_COMPRESSED_LIMIT: usize = 48 << 20;

/// Highest level for metadata: beyond it, tables take more memory than a small document earns.
const LEVEL: i32 = 9;

/// Both documents are much longer than this, and far matches are rare.
const WINDOW_LOG: u32 = 21;

/// A JSON document on its way into a skippable frame.
struct Document {
    what: &'static str,
    encoder: Encoder<'static, Vec<u8>>,
    /// Uncompressed bytes.
    len: u64,
    /// JSON before it is compressed: one entry gives hundreds of tiny writes.
    json: Vec<u8>,
}

impl Document {
    fn new(what: &'static str, level: i32) -> Result<Self, WriteError> {
        let encoder = || {
            let mut encoder = Encoder::new(Vec::new(), level.min(LEVEL))?;
            encoder.include_checksum(true)?;
            encoder.window_log(WINDOW_LOG)?;
            Ok(encoder)
        };
        let encoder = encoder().map_err(|source| WriteError::Metadata { what, source })?;
        Ok(Self { what, encoder, len: 0, json: Vec::new() })
    }

    fn raw(&mut self, text: &[u8]) -> Result<(), WriteError> {
        self.json.extend_from_slice(text);
        self.flush(64 << 10)
    }

    fn value(&mut self, value: &impl Serialize) -> Result<(), WriteError> {
        let what = self.what;
        serde_json::to_writer(&mut self.json, value)
            .map_err(|source| WriteError::Metadata { what, source: source.into() })?;
        self.flush(64 << 10)
    }

    /// Uncompressed length so far.
    fn len(&self) -> u64 {
        self.len + self.json.len() as u64
    }

    fn flush(&mut self, from: usize) -> Result<(), WriteError> {
        if self.json.len() < from {
            return Ok(());
        }
        self.len += self.json.len() as u64;
        let outcome = self.encoder.write_all(&self.json);
        self.json.clear();
        outcome.map_err(|source| WriteError::Metadata { what: self.what, source })
    }

    fn finish(mut self) -> Result<Finished, WriteError> {
        self.flush(0)?;
        let finished: io::Result<Vec<u8>> = self.encoder.finish();
        let compressed = finished.map_err(|source| WriteError::Metadata { what: self.what, source })?;
        Ok(Finished { compressed, len: self.len })
    }
}

/// A compressed document.
pub(super) struct Finished {
    pub compressed: Vec<u8>,
    /// Uncompressed length.
    pub len: u64,
}

/// The table of contents.
pub(super) struct Toc {
    document: Document,
    first: bool,
}

impl Toc {
    pub(super) fn new(level: i32) -> Result<Self, WriteError> {
        let mut document = Document::new("toc", level)?;
        document.raw(br#"{"version":1,"entries":["#)?;
        Ok(Self { document, first: true })
    }

    /// Appends an entry; a reason if the TOC is now too long.
    pub(super) fn entry(&mut self, entry: &TocEntry) -> Result<Option<Reason>, WriteError> {
        if !std::mem::take(&mut self.first) {
            self.document.raw(b",")?;
        }
        self.document.value(entry)?;
        Ok(too_long(self.document.len()))
    }

    /// A reason if `chunks` more entries of at least `bytes` bytes would make it too long.
    pub(super) fn too_long_with(&self, chunks: usize, bytes: u64) -> Option<Reason> {
        too_long(self.document.len().saturating_add((chunks as u64).saturating_mul(bytes)))
    }

    pub(super) fn finish(mut self, tar_split: Digest) -> Result<Finished, WriteError> {
        self.document.raw(br#"],"tarSplitDigest":"#)?;
        self.document.value(&tar_split)?;
        self.document.raw(b"}")?;
        self.document.finish()
    }
}

fn too_long(len: u64) -> Option<Reason> {
    // Room for what follows the entries.
    (len + 128 > TOC_LIMIT).then_some(Reason::TocSize { limit: TOC_LIMIT })
}

/// A line of the tar-split, as github.com/vbatts/tar-split writes it.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    payload: Option<&'a str>,
    position: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(size: &u64) -> bool {
    *size == 0
}

/// The tar-split.
pub(super) struct TarSplit {
    document: Document,
    /// Lines so far.
    position: u64,
    base64: String,
}

impl TarSplit {
    pub(super) fn new(level: i32) -> Result<Self, WriteError> {
        Ok(Self { document: Document::new("tar-split", level)?, position: 0, base64: String::new() })
    }

    /// Appends raw bytes of the tar; a reason if the tar-split is now too long.
    pub(super) fn segment(&mut self, bytes: &[u8]) -> Result<Option<Reason>, WriteError> {
        self.base64.clear();
        STANDARD.encode_string(bytes, &mut self.base64);
        let line = Line { kind: 2, name: "", size: 0, payload: Some(&self.base64), position: self.position };
        self.position += 1;
        self.document.value(&line)?;
        self.document.raw(b"\n")?;
        Ok(self.too_long())
    }

    /// Appends the place of an entry's payload, with its checksum if it is not empty.
    pub(super) fn file(
        &mut self,
        name: &str,
        size: u64,
        crc: Option<u64>,
    ) -> Result<Option<Reason>, WriteError> {
        let crc = crc.map(|crc| STANDARD.encode(crc.to_be_bytes()));
        let line = Line { kind: 1, name, size, payload: crc.as_deref(), position: self.position };
        self.position += 1;
        self.document.value(&line)?;
        self.document.raw(b"\n")?;
        Ok(self.too_long())
    }

    pub(super) fn finish(self) -> Result<Finished, WriteError> {
        self.document.finish()
    }

    fn too_long(&self) -> Option<Reason> {
        let too_long = self.document.len() > TAR_SPLIT_LIMIT
            || self.document.encoder.get_ref().len() > TAR_SPLIT_COMPRESSED_LIMIT;
        too_long.then_some(Reason::TarSplitSize { limit: TAR_SPLIT_LIMIT })
    }
}
