//! Files of plain layers that the node has already: their content comes with the stream, so nothing is saved on
//! the way, but they need not take room on the disk twice.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use chunked_core::{Digest, Xattr};
use chunked_linux::{Metadata, clone_file, set_fd_metadata};

use crate::error::AssembleError;
use crate::source::donor::Donor;
use crate::source::file::{MakeFile, NewFile};
use crate::source::inline::Inline;
use crate::source::share::Claim;
use crate::tree::model::NodeId;
use crate::tree::path::split;
use crate::work::crew::Prepare;
use crate::work::job::Job;
use crate::work::layer::Layer;
use crate::work::target::passing_name;

/// The node's files by content.
pub trait Known: fmt::Debug + Send + Sync {
    /// For each (digest, length in bytes) a file that may have this content.
    fn find(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Donor>>;
}

/// Computes the digests of small files, which are needed anyway, and marks those the node has. One question for all
/// files of a unit.
#[derive(Debug)]
pub(crate) struct Twins(pub(crate) Arc<dyn Known>);

impl Prepare for Twins {
    fn prepare(&self, jobs: &mut dyn Iterator<Item = &mut dyn Job>) {
        let (mut wanted, mut files) = (Vec::new(), Vec::new());
        for job in jobs {
            if let Some((file, inline)) = inline(job)
                && let Some(content) = inline.content()
            {
                file.digest = Some(content.0);
                wanted.push(content);
                files.push(inline);
            }
        }
        if wanted.is_empty() {
            return;
        }
        for (inline, donor) in files.into_iter().zip(self.0.find(&wanted)) {
            inline.twin = donor;
        }
    }
}

/// The file that `job` makes of bytes from the tar stream.
fn inline(job: &mut dyn Job) -> Option<(&mut NewFile, &mut Inline)> {
    let job: &mut dyn Any = job;
    let MakeFile { file, source } = job.downcast_mut()?;
    let source: &mut dyn Any = &mut **source;
    Some((file, source.downcast_mut()?))
}

/// A large file, written, of which the node has a twin.
#[derive(Debug)]
pub(crate) struct LargeTwin {
    layer: Arc<Layer>,
    node: NodeId,
    path: Arc<[u8]>,
    meta: Metadata,
    xattrs: Vec<Xattr>,
    donor: Donor,
}

impl LargeTwin {
    /// The twin of `file`, whose content has `digest`, if the node has one.
    pub(crate) fn find(known: &dyn Known, file: &NewFile, digest: Digest) -> Option<Self> {
        let donor = known.find(&[(digest, file.size)]).pop().flatten()?;
        // The target is not kept: it holds its directory open, and there may be many.
        let target = &file.target;
        Some(Self {
            layer: Arc::clone(&target.layer),
            node: target.node,
            path: Arc::clone(target.path()),
            meta: target.meta,
            xattrs: target.xattrs.clone(),
            donor,
        })
    }

    /// Where the file lies beneath the layer's root.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Joins the two: the file is replaced by a link where that looks the same, else they share their blocks where the
    /// filesystem can. Nothing changes when they differ, or cannot be joined.
    pub(crate) fn join(&self) -> Result<(), AssembleError> {
        self.try_join().map_err(AssembleError::io(&self.path, "joining it with its twin"))
    }

    fn try_join(&self) -> io::Result<()> {
        let Ok(looked) = self.donor.root.look(&self.donor.path) else { return Ok(()) };
        let Ok(donor) = looked.open() else { return Ok(()) };
        let ours = self.layer.root.open_file_to_write(&self.path)?;
        let (theirs, own) = (looked.into_metadata(), ours.metadata()?);
        if theirs.ino() == own.ino() {
            return Ok(());
        }
        if theirs.len() != own.len() || !same_bytes(&ours, &donor, &self.layer)? {
            self.donor.refute("it has other bytes");
            return Ok(());
        }
        let claim = Claim::of(&self.donor.rights, &self.meta, &theirs);
        if let Some(claim) = claim
            && claim.link(&self.layer, self.node, &self.xattrs, &donor, || self.replace(&donor))?
        {
            return Ok(());
        }
        if self.donor.rights.may_share() && clone_file(&ours, &donor)? {
            self.layer.shares(self.node, own.len(), false);
            // Sharing counts as a change.
            return set_fd_metadata(&ours, &self.meta, &self.xattrs, None);
        }
        Ok(())
    }

    /// Replaces the file by a link to `donor`; `false` where no link can be made.
    fn replace(&self, donor: &File) -> io::Result<bool> {
        let (parent, name) = split(&self.path);
        let (parent, passing) = (self.layer.root.open_dir(parent)?, passing_name());
        if parent.link_file(donor, &passing).is_err() {
            return Ok(false);
        }
        let renamed = parent.rename(&passing, name);
        if renamed.is_err() {
            parent.remove_all(&passing)?;
        }
        renamed.map(|()| true)
    }
}

fn same_bytes(mut one: &File, mut other: &File, layer: &Layer) -> io::Result<bool> {
    let mut buffers = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    loop {
        if !layer.is_wanted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = one.read(&mut buffers.0)?;
        if n == 0 {
            return Ok(true);
        }
        match other.read_exact(&mut buffers.1[..n]) {
            Ok(()) if buffers.0[..n] == buffers.1[..n] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
