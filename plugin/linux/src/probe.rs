//! Can a filesystem hold layers? Found out by doing to it what layers and containers will do.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::{Dir, NodeType, Result};

/// What a filesystem lacks that layers need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// It is mounted read-only.
    Writing,
    /// Not even root may create anything: a server maps root to somebody else.
    Root,
    /// Modes given at creation, and owners.
    Owners,
    /// Hard and symbolic links.
    Links,
    /// Names that differ in case only.
    Case,
    /// Directories that say of what type an entry is, without which overlayfs shows whiteouts as files.
    Types,
    /// Device nodes, which overlayfs' whiteouts are.
    Devices,
    /// Extended attributes `trusted.*`, which mark directories as opaque.
    Trusted,
    /// overlayfs refuses to mount its directories.
    Mounting,
    /// overlayfs mounts its directories and does not hide what a whiteout or an opaque directory hides.
    Hiding,
    /// Nothing can be removed or changed in an overlay whose upper directory is here.
    Changing,
}

impl Lack {
    /// What is wrong, as the rest of a sentence about the filesystem.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Writing => "is read-only",
            Self::Root => "does not let root create anything",
            Self::Owners => "does not keep owners and modes of files",
            Self::Links => "has no hard or symbolic links",
            Self::Case => "takes names that differ in case only for the same",
            Self::Types => {
                "does not say in directories what type an entry is (d_type), so that overlayfs cannot know whiteouts"
            }
            Self::Devices => "does not allow device nodes, which whiteouts are",
            Self::Trusted => "does not keep attributes trusted.*, which overlayfs needs",
            Self::Mounting => "is refused by overlayfs",
            Self::Hiding => "does not let overlayfs hide what an upper layer removed",
            Self::Changing => "does not let overlayfs remove files in a container",
        }
    }
}

/// Outcome of a step: it worked, or this is lacking.
type Step = Result<Option<Lack>>;

/// Tries in the empty directory `scratch`, and leaves what it made there.
///
/// # Errors
/// What says nothing about the filesystem: no space, no memory, a broken disk.
pub fn lacks(scratch: &Dir) -> Result<Option<Lack>> {
    for step in [files, devices, types, attributes, overlay] {
        if let Some(lack) = step(scratch)? {
            return Ok(Some(lack));
        }
    }
    Ok(None)
}

/// A failure that tells of a filesystem that cannot, rather than of one that cannot now.
fn refused(done: Result<()>, lack: Lack) -> Step {
    let Err(error) = done else { return Ok(None) };
    match Errno::from_io_error(&error) {
        Some(Errno::ROFS) => Ok(Some(Lack::Writing)),
        Some(
            Errno::PERM
            | Errno::ACCESS
            | Errno::INVAL
            | Errno::NOTSUP
            | Errno::NOSYS
            | Errno::NODEV
            | Errno::NOTTY
            | Errno::MLINK
            | Errno::LOOP
            | Errno::XDEV,
        ) => Ok(Some(lack)),
        _ => Err(error),
    }
}

fn files(scratch: &Dir) -> Step {
    let file = match scratch.create_file(b"File", 0o640) {
        Ok(file) => file,
        Err(error) => return refused(Err(error), Lack::Owners),
    };
    if scratch.stat(b"file").is_ok() {
        return Ok(Some(Lack::Case));
    }
    // A default ACL above would do the umask's work in another way.
    let created = scratch.stat(b"File")?.st_mode & 0o777;
    if created != crate::umask::left_of(0o640) {
        return Ok(Some(Lack::Owners));
    }
    drop(file);
    if rustix::process::geteuid().is_root() {
        if let Some(lack) = refused(scratch.chown(b"File", 1, 2), Lack::Owners)? {
            return Ok(Some(lack));
        }
        let stat = scratch.stat(b"File")?;
        if (stat.st_uid, stat.st_gid) != (1, 2) {
            return Ok(Some(Lack::Owners));
        }
    }
    let linked = scratch.link_from(scratch, b"File", b"link");
    refused(linked.and_then(|()| scratch.create_symlink(b"symlink", b"File")), Lack::Links)
}

/// Only root may make devices: others pull without whiteouts.
fn devices(scratch: &Dir) -> Step {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    refused(scratch.create_node(b"whiteout", NodeType::Char, 0, 0, 0), Lack::Devices)
}

fn types(scratch: &Dir) -> Step {
    scratch.create_dir(b"dir")?;
    scratch.go_on_at(0)?;
    let known = |listed: &crate::list::Listed| listed.kind != FileType::Unknown;
    Ok(if scratch.some()?.iter().all(known) { None } else { Some(Lack::Types) })
}

fn attributes(scratch: &Dir) -> Step {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let opaque = scratch.open_dir(b"dir")?;
    match opaque.set_opaque() {
        // A filesystem without attributes says that it does not support them. This is somebody in between, a security
        // module or a tracer, and says nothing about the filesystem.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => return Ok(None),
        set => {
            if let Some(lack) = refused(set, Lack::Trusted)? {
                return Ok(Some(lack));
            }
        }
    }
    Ok(if opaque.is_opaque()? { None } else { Some(Lack::Trusted) })
}

/// A mount as a container with two layers has it, which is never attached anywhere. Where this process may not mount at
/// all, or the kernel has no overlayfs, nothing is found out.
fn overlay(scratch: &Dir) -> Step {
    let Ok(context) = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) else { return Ok(None) };
    let make = |name: &[u8]| scratch.create_dir(name).and_then(|()| scratch.open_dir(name));
    let (lower, layer, upper, work) = (make(b"lower")?, make(b"layer")?, make(b"upper")?, make(b"work")?);
    for (dir, name, file) in
        [(&lower, "opaque", "hidden"), (&lower, "plain", "file"), (&layer, "opaque", "shown")]
    {
        dir.create_dir(name.as_bytes())?;
        dir.open_dir(name.as_bytes())?.create_file(file.as_bytes(), 0o644)?;
    }
    lower.create_file(b"gone", 0o644)?;
    layer.create_node(b"gone", NodeType::Char, 0, 0, 0)?;
    // The attribute was tried before: what fails now says nothing.
    if layer.open_dir(b"opaque")?.set_opaque().is_err() {
        return Ok(None);
    }
    let mount = match mount(&context, &lower, &layer, &upper, &work) {
        Ok(mount) => mount,
        Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS) => return Ok(None),
        Err(error) => return refused(Err(error.into()), Lack::Mounting),
    };
    let merged = Dir::from_fd(mount).open_dir(b"")?;
    let inside = merged.open_dir(b"opaque")?.names()?;
    if merged.names()? != [&b"opaque"[..], b"plain"] || inside != [b"shown"] {
        return Ok(Some(Lack::Hiding));
    }
    let changed = merged.remove_all(b"plain").and_then(|()| merged.create_file(b"new", 0o644).map(drop));
    if let Some(lack) = refused(changed, Lack::Changing)? {
        return Ok(Some(lack));
    }
    Ok(if merged.names()? == [&b"new"[..], b"opaque"] { None } else { Some(Lack::Changing) })
}

fn mount(
    context: &OwnedFd,
    lower: &Dir,
    layer: &Dir,
    upper: &Dir,
    work: &Dir,
) -> rustix::io::Result<OwnedFd> {
    // Strings of more than 255 bytes are refused here, and a root's path may be longer.
    let path = |dir: &Dir| format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
    fsconfig_set_string(context, "lowerdir", format!("{}:{}", path(layer), path(lower)))?;
    fsconfig_set_string(context, "upperdir", path(upper))?;
    fsconfig_set_string(context, "workdir", path(work))?;
    // Spares a flush of the whole filesystem at the end (Linux 5.10).
    let _ = fsconfig_set_flag(context, "volatile");
    fsconfig_create(context)?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machines_disk_will_do() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Dir::open(base.path()).unwrap();
        assert_eq!(lacks(&scratch).unwrap(), None);
        scratch.empty().unwrap();
    }

    /// proc is writable for nobody and knows neither links nor devices.
    #[test]
    fn a_filesystem_that_cannot_is_told_apart() {
        let proc = Dir::open("/proc/self".as_ref()).unwrap();
        assert!(!matches!(lacks(&proc), Ok(None)));
    }
}
