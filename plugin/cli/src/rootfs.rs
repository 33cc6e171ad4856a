//! An image's root file system as one plain tree, from its layers' directories.
//!
//! Overlay's rules applied in user space (kernel documentation, overlayfs.rst): a 0:0 character device removes
//! what lies below, an opaque directory hides it, directories merge with the upper one's metadata. Files are
//! reflinked or copied, never linked: whoever owns the tree may write to it, and the store must not change.
//!
//! The tree belongs to nobody else until it is whole: its root has mode 0700 from before the first file to after the last.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))] // See clippy.toml.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chunked_core::Xattr;
use chunked_linux::{
    Dir, FileType, Metadata, NodeType, Stat, Step, Walk, clone_file, copy_sparse, major, minor, xattrs,
};

/// Writes the merged tree of `layers` (lowest first) into `to`, which must be empty or not exist.
pub(crate) fn write(layers: &[PathBuf], to: &Path) -> Result<()> {
    let context = || format!("writing {}", to.display());
    let target = Dir::open_or_create(to).with_context(context)?;
    if !target.is_empty().with_context(context)? {
        bail!("{} is not empty: name a new or empty directory with --to", to.display());
    }
    // One that was there may be another user's.
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    target.set_owner_and_mode(user.as_raw(), group.as_raw(), 0o700).with_context(context)?;
    for layer in visible(layers) {
        Merge::new(layer, &target).and_then(Merge::run).with_context(context)?;
    }
    match layers.last() {
        Some(top) => Dir::open(top).map_err(Into::into).and_then(|top| settle(&target, &top)),
        None => target.set_owner_and_mode(0, 0, 0o755).map_err(Into::into),
    }
    .with_context(context)
}

/// The layers that are not below one whose root is opaque.
fn visible(layers: &[PathBuf]) -> &[PathBuf] {
    // What cannot be read is reported by the merge.
    let is_opaque = |path: &PathBuf| Dir::open(path).and_then(|root| root.is_opaque()).unwrap_or(false);
    layers.iter().rposition(is_opaque).and_then(|first| layers.get(first..)).unwrap_or(layers)
}

/// One layer on its way into the tree.
struct Merge<'a> {
    target: &'a Dir,
    /// The directory of the tree that corresponds to where the walk is.
    here: Dir,
    walk: Walk,
    /// Files of this layer that have several names, by device and inode, with the first name they got.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<'a> Merge<'a> {
    fn new(layer: &Path, target: &'a Dir) -> Result<Self> {
        Ok(Self { target, here: target.open_dir(b"")?, walk: Walk::open(layer)?, links: HashMap::new() })
    }

    fn run(mut self) -> Result<()> {
        while let Some(step) = self.walk.step()? {
            let path = String::from_utf8_lossy(self.walk.path()).into_owned();
            match step {
                Step::Entry(FileType::Directory) => self.enter(),
                Step::Entry(kind) => self.entry(kind),
                Step::Leave => self.leave(),
            }
            .context(path)?;
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        let name = self.walk.name().to_vec();
        if !self.walk.enter()? {
            bail!("the layer's directory is gone");
        }
        let is_directory = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let merges = self.here.stat(&name).is_ok_and(is_directory) && !self.walk.dir()?.is_opaque()?;
        if !merges {
            self.here.remove_all(&name)?;
            self.here.create_dir_with(&name, 0o700)?;
        }
        self.here = self.target.open_dir(self.walk.path())?;
        Ok(())
    }

    /// Gives a directory its metadata, now that nothing more comes into it from this layer.
    fn leave(&mut self) -> Result<()> {
        settle(&self.here, &self.walk.dir()?.open_dir(self.walk.name())?)?;
        self.here = self.target.open_dir(self.walk.above())?;
        Ok(())
    }

    fn entry(&mut self, kind: FileType) -> Result<()> {
        let (stat, name) = (self.walk.stat()?, self.walk.name());
        self.here.remove_all(name)?;
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                return link(self.target, first, &self.here, name);
            }
            self.links.insert(inode, self.walk.path().to_vec());
        }
        match kind {
            FileType::RegularFile => self.file(&stat),
            FileType::Symlink => {
                let target = self.walk.dir()?.read_link(name)?;
                self.here.create_symlink(name, &target)?;
                self.node(&stat, true)
            }
            FileType::CharacterDevice => self.device(NodeType::Char, &stat),
            FileType::BlockDevice => self.device(NodeType::Block, &stat),
            FileType::Fifo => self.device(NodeType::Fifo, &stat),
            // A socket means something to the process that bound it only; tar has none.
            _ => Ok(()),
        }
    }

    fn file(&self, stat: &Stat) -> Result<()> {
        let source = self.walk.file()?;
        let to = self.here.create_file(self.walk.name(), 0o600)?;
        if !clone_file(&to, &source)? {
            copy_sparse(&to, &source, source.metadata()?.len(), &|| true)?;
        }
        Ok(chunked_linux::set_fd_metadata(&to, &stat.into(), &xattrs(&source)?, None)?)
    }

    fn device(&self, kind: NodeType, stat: &Stat) -> Result<()> {
        let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
        self.here.create_node(self.walk.name(), kind, 0o600, major, minor)?;
        self.node(stat, false)
    }

    fn node(&self, stat: &Stat, symlink: bool) -> Result<()> {
        let name = self.walk.name();
        let attributes = self.walk.dir()?.node_xattrs(name)?;
        Ok(self.here.set_node_metadata(name, &stat.into(), &attributes, symlink)?)
    }
}

/// Makes `name` in `here` another name of what is at `first` in the tree.
fn link(target: &Dir, first: &[u8], here: &Dir, name: &[u8]) -> Result<()> {
    let (parent, old) = match first.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&first[..slash], &first[slash + 1..]),
        None => (&b""[..], first),
    };
    Ok(here.link_from(&target.open_dir(parent)?, old, name)?)
}

/// Gives a directory of the tree the metadata of `from`: what a lower layer gave it counts no more.
fn settle(directory: &Dir, from: &Dir) -> Result<()> {
    let wanted = xattrs(from)?;
    let stays = |xattr: &Xattr| {
        let system = xattr.name.starts_with(b"trusted.") || xattr.name == b"security.selinux";
        system || wanted.iter().any(|other| other.name == xattr.name)
    };
    for old in xattrs(directory)?.iter().filter(|xattr| !stays(xattr)) {
        chunked_linux::remove_xattr(directory, &old.name)?;
    }
    let metadata = Metadata::from(&from.status()?);
    Ok(chunked_linux::set_fd_metadata(directory, &metadata, &wanted, None)?)
}

#[cfg(test)]
mod tests;
