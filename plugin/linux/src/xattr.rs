//! Extended attributes, read and written.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use chunked_core::Xattr;
use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use crate::{Dir, Result};

/// Most bytes the kernel gives for a list of names or a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const MOST: usize = 64 * 1024;
/// Room for the names of nearly everything.
const FEW: usize = 512;
/// What overlayfs believes.
const OPAQUE: &str = "trusted.overlay.opaque";
const ORIGIN: &str = "trusted.overlay.origin";
const SELINUX: &[u8] = b"security.selinux";

/// Attributes of something, by the calls that reach it.
struct Attributes<L, G> {
    list: L,
    get: G,
}

impl<L, G> Attributes<L, G>
where
    L: Fn(&mut [u8]) -> rustix::io::Result<usize>,
    G: Fn(&OsStr, &mut [u8]) -> rustix::io::Result<usize>,
{
    fn read(&self) -> Result<Vec<Xattr>> {
        let mut names = vec![0; FEW];
        let mut listed = (self.list)(&mut names);
        if listed == Err(Errno::RANGE) {
            names.resize(MOST, 0);
            listed = (self.list)(&mut names);
        }
        let names = match listed {
            Ok(n) => names.get(..n).unwrap_or_default(),
            // Filesystems without, and sockets or FIFOs on some.
            Err(Errno::NOTSUP | Errno::NODATA) => &[],
            Err(error) => return Err(error.into()),
        };
        let mut found = Vec::new();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0; MOST];
            match (self.get)(OsStr::from_bytes(name), &mut value) {
                Ok(n) => value.truncate(n),
                // Gone meanwhile, or listed by the kernel and kept to itself.
                Err(Errno::NODATA | Errno::NOTSUP) => continue,
                Err(error) => return Err(error.into()),
            }
            found.push(Xattr { name: name.to_vec(), value });
        }
        Ok(found)
    }
}

/// All extended attributes of an open file or directory, overlay's own included.
///
/// # Errors
/// Whatever reading them gives; a filesystem without any is none.
pub fn xattrs(fd: impl AsFd) -> Result<Vec<Xattr>> {
    let fd = fd.as_fd();
    let list = |names: &mut [u8]| fs::flistxattr(fd, names);
    Attributes { list, get: |name: &OsStr, value: &mut [u8]| fs::fgetxattr(fd, name, value) }.read()
}

/// May an image say this attribute? `trusted.*` is overlayfs' and ours.
pub(crate) fn is_an_images(xattr: &Xattr) -> bool {
    !xattr.name.starts_with(b"trusted.")
}

/// Sets one extended attribute of an open file or directory. As containerd does: `trusted.*` is ignored (an
/// image must not speak to overlayfs), and so is an attribute the filesystem does not support. Beyond that, a label of
/// SELinux that the kernel refuses is ignored.
pub fn set_xattr_fd(fd: impl AsFd, xattr: &Xattr) -> Result<()> {
    if !is_an_images(xattr) {
        return Ok(());
    }
    tolerate(
        xattr,
        fs::fsetxattr(fd, OsStr::from_bytes(&xattr.name), &xattr.value, XattrFlags::empty()),
        false,
    )
}

/// Gives `to` every extended attribute of `from`, overlay's own included: for a second directory of the same layer.
///
/// # Errors
/// Whatever reading or setting them gives.
pub(crate) fn copy_xattrs(from: impl AsFd, to: impl AsFd) -> Result<()> {
    for Xattr { name, value } in xattrs(from)? {
        fs::fsetxattr(to.as_fd(), OsStr::from_bytes(&name), &value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Removes the extended attribute `name` of an open file or directory. Nothing there is no error.
///
/// # Errors
/// Whatever removing it gives.
pub fn remove_xattr(fd: impl AsFd, name: &[u8]) -> Result<()> {
    match fs::fremovexattr(fd, OsStr::from_bytes(name)) {
        Err(Errno::NODATA) => Ok(()),
        removed => Ok(removed?),
    }
}

/// What the filesystem does not support is no failure; nor is a `user.*` attribute that only files and directories can have
/// (EPERM); nor a label of SELinux that this kernel's policy does not know: a label says something on the machine that it
/// was made for only.
fn tolerate(xattr: &Xattr, result: rustix::io::Result<()>, special: bool) -> Result<()> {
    let error = match result {
        Ok(()) | Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => error,
    };
    let user_on_special = special && xattr.name.starts_with(b"user.") && error == Errno::PERM;
    let refused = matches!(error, Errno::INVAL | Errno::PERM | Errno::ACCESS);
    if user_on_special || (xattr.name == SELINUX && refused) { Ok(()) } else { Err(error.into()) }
}

impl Dir {
    /// Marks this directory opaque for overlayfs (kernel documentation, "whiteouts and opaque directories").
    pub fn set_opaque(&self) -> Result<()> {
        Ok(fs::fsetxattr(self, OPAQUE, b"y", XattrFlags::empty())?)
    }

    /// Tells overlayfs that this directory may have whiteouts although no lower directory merges with it: it does not list
    /// them then. An empty mark says that the directory was copied up from nobody knows where (`ovl_path_check_origin_xattr`).
    ///
    /// # Errors
    /// Whatever setting the attribute gives.
    pub fn set_has_whiteouts(&self) -> Result<()> {
        Ok(fs::fsetxattr(self, ORIGIN, b"", XattrFlags::empty())?)
    }

    /// Does overlayfs take this directory for opaque?
    ///
    /// # Errors
    /// Whatever reading the attribute gives.
    pub fn is_opaque(&self) -> Result<bool> {
        let mut value = [0; 2];
        match fs::fgetxattr(self, OPAQUE, &mut value) {
            Ok(n) => Ok(value.get(..n) == Some(b"y")),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Extended attributes of `name`, which may be a symlink, device or FIFO.
    ///
    /// # Errors
    /// Whatever reading them gives.
    pub fn node_xattrs(&self, name: &[u8]) -> Result<Vec<Xattr>> {
        let path = self.by_descriptor(name)?;
        let list = |names: &mut [u8]| fs::llistxattr(&path, names);
        Attributes { list, get: |name: &OsStr, value: &mut [u8]| fs::lgetxattr(&path, name, value) }.read()
    }

    /// Sets an image's extended attributes of `name`, which is a symlink, device or FIFO. What such a thing cannot have
    /// is left out, and so is what the filesystem does not support.
    pub(crate) fn set_node_xattrs(&self, name: &[u8], xattrs: &[Xattr]) -> Result<()> {
        let mut wanted = xattrs.iter().filter(|xattr| is_an_images(xattr)).peekable();
        if wanted.peek().is_none() {
            return Ok(());
        }
        let path = self.by_descriptor(name)?;
        for xattr in wanted {
            let name = OsStr::from_bytes(&xattr.name);
            tolerate(xattr, fs::lsetxattr(&path, name, &xattr.value, XattrFlags::empty()), true)?;
        }
        Ok(())
    }

    /// A path of `name` for the calls that take no directory: there is no setxattrat before Linux 6.13. The way over our
    /// own descriptor's entry in `/proc` names the same directory, and the last component is not followed.
    fn by_descriptor(&self, name: &[u8]) -> Result<PathBuf> {
        crate::resolve::descriptors()?;
        Ok(PathBuf::from(format!("/proc/self/fd/{}", self.as_fd().as_raw_fd())).join(self.name(name)?))
    }
}
