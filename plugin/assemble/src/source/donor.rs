//! A file of another layer: its blocks or its inode are shared where that is allowed, else it is copied. A bad one is
//! fetched instead.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use bytes::Bytes;
use chunked_core::Digest;
use chunked_linux::{Dir, copy_sparse};
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::content::{self, SMALL};
use crate::source::file::{NewFile, Source};
use crate::source::refetch::{Failed, Spare, or_instead};
use crate::source::rights::Rights;
use crate::source::share::{Claim, share};
use crate::work::job::Ran;

/// A file of another layer with the wanted content.
#[derive(Debug, Clone)]
pub struct Donor {
    /// Root of the donor's layer.
    pub root: Arc<Dir>,
    /// Path beneath it.
    pub path: Vec<u8>,
    /// How far the new file may depend on it.
    pub rights: Rights,
    /// It was just written, and may be on its way to the disk: sharing a small file's blocks would wait for that.
    pub fresh: bool,
    /// It goes as soon as the layer is there: what the new file shares with it is the layer's own.
    pub goes: bool,
    /// Check the content against the digest now. Otherwise the DiffID alone proves it, and a mismatch there is
    /// found by a second run with this set. Must be set unless somebody hashed the donor's bytes before.
    pub check: bool,
    /// Who named the donor.
    pub lender: Option<Arc<dyn Lender>>,
}

/// Who says which contents a layer's files have. Called by workers.
pub trait Lender: fmt::Debug + Send + Sync {
    /// Told that the file at `path` does not hold what it was said to hold.
    fn refuted(&self, path: &[u8], reason: &str);
}

impl Donor {
    /// Tells who named it that it is not what was said.
    pub(crate) fn refute(&self, reason: &str) {
        if let Some(lender) = &self.lender {
            lender.refuted(&self.path, reason);
        }
    }
}

/// A [`Donor`], and what serves if that is bad.
#[derive(Debug)]
pub(crate) struct FromDonor {
    pub(crate) donor: Donor,
    pub(crate) spare: Spare,
}

impl Source for FromDonor {
    fn rights(&self) -> &Rights {
        &self.donor.rights
    }

    fn make(self: Box<Self>, file: NewFile, parts: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        let taken = self.take(&file);
        or_instead(taken, file, &self.spare, |reason| self.donor.refute(reason), parts)
    }
}

impl FromDonor {
    fn take(&self, file: &NewFile) -> Result<Part, Failed> {
        let looked = self.donor.root.look(&self.donor.path)?;
        let meta = looked.metadata();
        content::right_length(file, meta.len())?;
        let claim = Claim::of(self.rights(), &file.target.meta, meta);
        let opened = Opened { file: looked.open()?, sparse: is_sparse(meta), claim };
        drop(looked);
        if file.size <= SMALL { self.small(file, opened) } else { self.large(file, opened) }
    }

    fn share(&self, file: &NewFile, claim: Option<Claim<'_>>, donor: &File) -> Result<bool, AssembleError> {
        let shared = share(file, self.rights(), claim, donor, file.size, self.donor.fresh)?;
        if shared && self.donor.goes {
            file.target.layer.shares_no_more(file.target.node);
        }
        Ok(shared)
    }

    fn small(&self, file: &NewFile, donor: Opened<'_>) -> Result<Part, Failed> {
        let data = content::all(file, &donor.file)?;
        if self.donor.check {
            content::right(file, Digest::of(&data))?;
        }
        let Opened { file: donor, sparse, claim } = donor;
        if !self.share(file, claim, &donor)? {
            let mut made = file.target.create()?;
            let io = file.target.io("writing the file");
            if sparse { write_sparse(&made, &data) } else { made.write_all(&data) }.map_err(io)?;
            file.target.finish(&made)?;
        }
        Ok(Part::Bytes(Bytes::from(data)))
    }

    fn large(&self, file: &NewFile, donor: Opened<'_>) -> Result<Part, Failed> {
        let Opened { file: donor, claim, .. } = donor;
        if self.donor.check {
            content::right(file, content::each(&file.target.layer, &donor, |_| Ok(()))?)?;
        }
        if self.share(file, claim, &donor)? {
            // The page cache of the donor is likely warm, and that of the new file is not.
            return Ok(Part::File { file: donor, start: 0, len: file.size });
        }
        let made = file.target.create()?;
        match copy_sparse(&made, &donor, file.size, &|| file.target.layer.is_wanted()) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Failed::Refuted("its length changed while it was copied".into()));
            }
            done => done.map_err(file.target.io("copying the donor"))?,
        }
        file.target.finish(&made)?;
        Ok(Part::File { file: made, start: 0, len: file.size })
    }
}

/// A donor's file, opened.
struct Opened<'a> {
    file: File,
    /// It has holes.
    sparse: bool,
    /// Its inode, if the new file may be a link to it.
    claim: Option<Claim<'a>>,
}

fn is_sparse(meta: &Metadata) -> bool {
    meta.blocks() * 512 < meta.len()
}

/// Writes `data`, leaving out whole blocks of zeros.
fn write_sparse(file: &File, data: &[u8]) -> io::Result<()> {
    const BLOCK: usize = 4096;
    file.set_len(data.len() as u64)?;
    for (block, at) in data.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        if block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, at)?;
        }
    }
    Ok(())
}
