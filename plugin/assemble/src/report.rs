//! What unpacking a layer leaves.

use chunked_core::Digest;

/// A regular file of the layer, for the reuse index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Path from the layer's root.
    pub path: Vec<u8>,
    /// Digest of its content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// What of it was hashed.
    pub proof: Proof,
}

/// Which digests of a file were computed from its bytes. The DiffID proves that the bytes are the image's, but not that
/// they have the digest that a TOC names for the whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The whole file: [`Stored::digest`] is the digest of its bytes.
    Whole,
    /// Each of its pieces alone: [`Stored::digest`] is what the TOC says.
    Pieces,
}

impl Proof {
    /// Of a file whose bytes have the digest `known`, if they were hashed in one go, and are said to have `digest`.
    pub(crate) fn of(known: Option<Digest>, digest: Digest) -> Self {
        if known == Some(digest) { Self::Whole } else { Self::Pieces }
    }
}

/// A layer's tree, complete in staging.
#[derive(Debug)]
pub struct Extracted {
    /// SHA-256 of the tar stream.
    pub diff_id: Digest,
    /// Bytes of the tar stream.
    pub tar_bytes: u64,
    /// Regular files with content, for the index.
    pub files: Vec<Stored>,
    /// Directories that no entry described, by path from the root.
    pub implied: Vec<Vec<u8>>,
    /// True when the tree holds whiteouts or opaque directories, or lost files to them.
    pub has_whiteouts: bool,
    /// Disk usage in bytes, in blocks of 4 KiB.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Of `bytes`, what is shared with other layers or the host: blocks of reflinked files and parts of files, linked files.
    pub shared_bytes: u64,
    /// Of `inodes`, hard links to files of other layers.
    pub shared_inodes: u64,
}
