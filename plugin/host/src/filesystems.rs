//! Kinds of filesystems whose files may be indexed.

use std::fmt;
use std::str::FromStr;

/// A kind of filesystem on a local disk, where inode and change time tell one state of a file from another.
///
/// There is deliberately no name for what is on a network or in user space (NFS, CIFS, Ceph, FUSE) or is made up
/// by the kernel (proc, sysfs): opening files there can have effects, or wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filesystem {
    /// ext2, ext3 and ext4, which share a magic number.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// ZFS.
    Zfs,
    /// Bcachefs.
    Bcachefs,
    /// EROFS.
    Erofs,
    /// SquashFS.
    Squashfs,
    /// tmpfs: worth it only where the system itself runs from memory.
    Tmpfs,
    /// overlayfs: worth it only where the system itself does (live systems, nodes inside containers).
    Overlay,
}

impl Filesystem {
    /// Name and magic number (linux/magic.h, and the filesystems' own headers).
    const ALL: [(Self, &'static str, u32); 10] = [
        (Self::Ext4, "ext4", 0xef53),
        (Self::Xfs, "xfs", 0x5846_5342),
        (Self::Btrfs, "btrfs", 0x9123_683e),
        (Self::F2fs, "f2fs", 0xf2f5_2010),
        (Self::Zfs, "zfs", 0x2fc1_2fc1),
        (Self::Bcachefs, "bcachefs", 0xca45_1a4e),
        (Self::Erofs, "erofs", 0xe0f5_e1e2),
        (Self::Squashfs, "squashfs", 0x7371_7368),
        (Self::Tmpfs, "tmpfs", 0x0102_1994),
        (Self::Overlay, "overlay", 0x794c_7630),
    ];

    /// Those that are allowed unless the configuration says otherwise: all on a disk.
    pub const DEFAULT: [Self; 8] = [
        Self::Ext4,
        Self::Xfs,
        Self::Btrfs,
        Self::F2fs,
        Self::Zfs,
        Self::Bcachefs,
        Self::Erofs,
        Self::Squashfs,
    ];

    /// The kind with this magic number.
    pub(crate) fn of(magic: u32) -> Option<Self> {
        Self::ALL.iter().find(|(_, _, known)| *known == magic).map(|(kind, _, _)| *kind)
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::ALL.map(|(_, name, _)| name).join(", ")
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _, _)| kind == self).map_or("", |(_, name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Filesystem {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(_, name, _)| *name == text);
        known.map(|(kind, _, _)| *kind).ok_or_else(|| {
            let short: String = text.chars().take(40).collect();
            format!(
                "{short:?} is not a filesystem whose files can be indexed: write one of {}",
                Self::names()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique() {
        for (kind, name, magic) in Filesystem::ALL {
            assert_eq!(Filesystem::of(magic), Some(kind));
            assert_eq!(name.parse(), Ok(kind));
            assert_eq!(kind.to_string(), name);
        }
        for (name, magic) in
            [("nfs", 0x6969), ("proc", 0x9fa0), ("sysfs", 0x6265_6572), ("fuse", 0x6573_5546)]
        {
            assert_eq!(Filesystem::of(magic), None, "{name}");
            assert!(name.parse::<Filesystem>().is_err(), "{name}");
        }
    }
}
