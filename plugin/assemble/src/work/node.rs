//! Jobs for entries without content.

use std::sync::Arc;

use chunked_core::{Kind, Xattr};
use chunked_linux::{Dir, Metadata, NodeType, set_fd_metadata};
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::work::job::{Job, Ran};
use crate::work::target::Target;

/// What is made.
#[derive(Debug)]
pub(crate) enum What {
    Symlink(Vec<u8>),
    Device { kind: NodeType, major: u32, minor: u32 },
}

impl What {
    /// What an entry of this kind is, if it is neither file, directory nor hard link.
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        let device = |kind, major, minor| Some(Self::Device { kind, major, minor });
        match kind {
            Kind::Symlink(target) => Some(Self::Symlink(target)),
            Kind::CharDevice { major, minor } => device(NodeType::Char, major, minor),
            Kind::BlockDevice { major, minor } => device(NodeType::Block, major, minor),
            Kind::Fifo => device(NodeType::Fifo, 0, 0),
            Kind::File { .. } | Kind::Directory | Kind::HardLink(_) | Kind::GlobalHeader => None,
        }
    }
}

/// Makes a symlink, a device or a FIFO.
#[derive(Debug)]
pub(crate) struct MakeNode {
    pub(crate) target: Target,
    pub(crate) what: What,
}

impl Job for MakeNode {
    fn path(&self) -> &[u8] {
        self.target.entry()
    }

    fn held(&self) -> u64 {
        self.target.held()
    }

    fn run(self: Box<Self>, _: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        let target = &self.target;
        let (dir, name, meta) = (target.dir(), target.name(), &target.meta);
        match &self.what {
            What::Symlink(to) => {
                dir.create_symlink(name, to).map_err(target.io("creating the symlink"))?;
                self.metadata(true)?;
            }
            What::Device { kind, major, minor } => {
                let made = dir.create_node(name, *kind, meta.mode, *major, *minor);
                made.map_err(target.io("creating the device or FIFO"))?;
                self.metadata(false)?;
            }
        }
        Ok(Ran::Done)
    }
}

impl MakeNode {
    fn metadata(&self, symlink: bool) -> Result<(), AssembleError> {
        let Target { meta, xattrs, .. } = &self.target;
        let set = self.target.dir().set_node_metadata(self.target.name(), meta, xattrs, symlink);
        set.map_err(self.target.io("setting its metadata"))
    }
}

/// Sets the final metadata of a directory, when nothing more is made in it.
#[derive(Debug)]
pub(crate) struct FinishDirectory {
    /// The path begins here: all directories open at once would be too many.
    pub(crate) root: Arc<Dir>,
    pub(crate) path: Vec<u8>,
    pub(crate) opaque: bool,
    /// What an entry said of it.
    pub(crate) described: Option<(Metadata, Vec<Xattr>)>,
}

impl Job for FinishDirectory {
    fn path(&self) -> &[u8] {
        &self.path
    }

    fn run(self: Box<Self>, _: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        let io = |doing| AssembleError::io(&self.path, doing);
        let dir = self.root.open_dir(&self.path).map_err(io("opening the directory"))?;
        if self.opaque {
            dir.set_opaque().map_err(io("marking the directory opaque"))?;
        }
        if let Some((meta, xattrs)) = &self.described {
            let created = Some((0o755, 0, 0));
            set_fd_metadata(&dir, meta, xattrs, created).map_err(io("setting the directory's metadata"))?;
        }
        Ok(Ran::Done)
    }
}
