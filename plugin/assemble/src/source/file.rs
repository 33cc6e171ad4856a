//! A regular file to be made, and what its bytes come from.

use std::any::Any;
use std::fmt;

use chunked_core::Digest;
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::report::Proof;
use crate::source::rights::Rights;
use crate::work::job::{Job, Ran};
use crate::work::layer::Known;
use crate::work::target::Target;

/// A regular file to be made.
#[derive(Debug)]
pub(crate) struct NewFile {
    pub(crate) target: Target,
    /// Bytes of its content.
    pub(crate) size: u64,
    /// Digest of its content, where it is known beforehand.
    pub(crate) digest: Option<Digest>,
}

impl NewFile {
    /// It is complete: notes its content for the index. `known`: the digest of its bytes, if they were hashed in one
    /// go, now or before.
    pub(crate) fn complete(&self, known: Option<Digest>) {
        if let (Some(digest), true) = (self.digest, self.size > 0) {
            let (node, size, proof) = (self.target.node, self.size, Proof::of(known, digest));
            self.target.layer.knows(Known { node, digest, size, proof });
        }
    }
}

/// What a file's bytes come from.
pub(crate) trait Source: Any + fmt::Debug + Send {
    /// May the file be linked to the one that is read, share its blocks, or only be a copy?
    fn rights(&self) -> &Rights {
        &Rights::Read
    }

    /// Makes `file` as far as that goes without waiting; adds its bytes to `parts`.
    fn make(self: Box<Self>, file: NewFile, parts: &mut Vec<Part>) -> Result<Ran, AssembleError>;
}

/// Makes a regular file.
#[derive(Debug)]
pub(crate) struct MakeFile {
    pub(crate) file: NewFile,
    pub(crate) source: Box<dyn Source>,
}

impl Job for MakeFile {
    fn path(&self) -> &[u8] {
        self.file.target.entry()
    }

    fn held(&self) -> u64 {
        self.file.target.held()
    }

    fn run(self: Box<Self>, parts: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        self.source.make(self.file, parts)
    }
}
