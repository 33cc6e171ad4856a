//! Looks at a local blob: what it is, what it consists of, and whether all of it is sound.

mod chunks;
mod claims;
mod content;
mod decoder;
mod evidence;
mod frames;
mod generation;
mod index;
mod metadata;
mod outline;
mod split;

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use chunked_core::{Digest, Hasher};
use serde::Serialize;

use crate::entry::TocEntry;
pub use chunks::ChunkStats;
pub use evidence::Evidence;
pub use frames::FrameStats;
pub use generation::Generation;
use index::Index;
pub use outline::{Outline, outline};

/// Problems that are told; of the others only the number is.
const TOLD: usize = 50;

/// What to look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InspectOptions {
    /// Decompress everything and check it: frame checksums, every file and chunk digest, the tar-split against the tar,
    /// the TOC's metadata against the tar headers. Of older generations what they state of that ([`Evidence`]).
    pub verify: bool,
}

/// What a blob is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Bytes of the blob.
    pub blob_size: u64,
    /// SHA-256 of the blob.
    pub blob_digest: Digest,
    /// Which writers make such a blob.
    pub generation: Generation,
    /// The annotations that were given.
    pub annotations: BTreeMap<String, String>,
    /// zstd frames.
    pub frames: FrameStats,
    /// The TOC, if there is one.
    pub toc: Option<TocStats>,
    /// Files and chunks, if there is a TOC.
    pub chunks: Option<ChunkStats>,
    /// What verification found; only if asked for.
    pub verified: Option<Verified>,
    /// What was checked and what was not.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// What is wrong; nothing in a sound blob. At most fifty, and then a line with the number of others.
    pub problems: Vec<String>,
    /// All entries of the TOC, in its order.
    #[serde(skip)]
    pub entries: Vec<TocEntry>,
}

/// Where TOC and tar-split are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TocStats {
    /// Offset of the TOC in the blob.
    pub offset: u64,
    /// Its bytes in the blob.
    pub compressed: u64,
    /// Its bytes of JSON.
    pub uncompressed: u64,
    /// SHA-256 of its compressed bytes.
    pub digest: Digest,
    /// Its entries, chunks among them.
    pub entries: u64,
    /// Offset of the tar-split in the blob; 0 for none.
    pub tar_split_offset: u64,
    /// Its bytes in the blob.
    pub tar_split_compressed: u64,
    /// Its bytes of JSON lines.
    pub tar_split_uncompressed: u64,
    /// Whether the TOC has its digest, so that a puller may trust it.
    pub tar_split_authenticated: bool,
}

/// What decompressing everything showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// SHA-256 of the decompressed blob, to be compared with the image config's DiffID.
    pub diff_id: Digest,
    /// Bytes of the decompressed blob.
    pub tar_size: u64,
    /// Files whose digest was checked.
    pub files: u64,
    /// Chunks whose digest was checked.
    pub chunks: u64,
    /// Entries whose metadata was compared with their tar header.
    pub headers: u64,
}

/// Why a blob cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The blob could not be read.
    #[error("reading the blob: {0}")]
    Read(#[from] io::Error),
    /// It is no zstd blob.
    #[error("not a zstd layer: it starts with {0}")]
    NotZstd(&'static str),
    /// The frames do not follow each other to the end.
    #[error("broken zstd stream at byte {offset}: {what}")]
    Frame {
        /// Offset in the blob.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

/// What is wrong with a blob, a bounded list.
#[derive(Debug, Default)]
struct Problems {
    told: Vec<String>,
    more: u64,
}

impl Problems {
    fn add(&mut self, problem: impl Into<String>) {
        if self.told.len() < TOLD {
            self.told.push(problem.into());
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more", self.more));
        }
        self.told
    }
}

/// Looks at `blob`; `annotations` are those of its descriptor, if it has one at hand.
///
/// Without annotations the footer says where TOC and tar-split are. Nothing authenticates a footer: that is enough to look
/// at a blob, never to pull by it.
///
/// Memory grows with the TOC (at most 150 MiB of JSON), not with the blob. What is wrong inside is told in
/// [`Inspection::problems`].
///
/// # Errors
///
/// [`InspectError`]: it cannot be read, or is no sequence of zstd frames.
pub fn inspect(
    mut blob: impl Read + Seek,
    annotations: Option<&BTreeMap<String, String>>,
    options: InspectOptions,
) -> Result<Inspection, InspectError> {
    let blob_size = blob.seek(SeekFrom::End(0))?;
    let mut problems = Problems::default();
    let index = index::find(&mut blob, blob_size, annotations, &mut problems)?;
    let chunks = index.as_ref().map(|index| chunks::stats(&index.entries));
    let generation = generation::of(annotations, index.as_ref());
    blob.seek(SeekFrom::Start(0))?;
    let mut reader = Hashing { reader: &mut blob, hasher: Hasher::new() };
    let (frames, verified) = if options.verify {
        let mut content = content::Content::new(index.as_ref(), &mut problems)?;
        let frames = frames::walk(&mut reader, &mut content)?;
        (frames, Some(content.finish()))
    } else {
        (frames::walk(&mut reader, &mut frames::Nothing)?, None)
    };
    let blob_digest = reader.hasher.finish();
    if let Some(index) = &index {
        index.check_frames(&frames, blob_size, &mut problems);
    }
    let evidence = evidence::of(
        index.as_ref(),
        annotations.is_some(),
        verified.as_ref().map(|(seen, files)| (seen, *files)),
    );
    let (toc, entries) = index.map(Index::into_parts).unzip();
    Ok(Inspection {
        blob_size,
        blob_digest,
        generation,
        annotations: annotations.cloned().unwrap_or_default(),
        frames,
        toc,
        chunks,
        verified: verified.map(|(verified, _)| verified),
        evidence,
        problems: problems.finish(),
        entries: entries.unwrap_or_default(),
    })
}

/// A reader that hashes what is read.
struct Hashing<R> {
    reader: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}
