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
    /// Each with its name.
    const ALL: [(Self, &'static str); 10] = [
        (Self::Ext4, "ext4"),
        (Self::Xfs, "xfs"),
        (Self::Btrfs, "btrfs"),
        (Self::F2fs, "f2fs"),
        (Self::Zfs, "zfs"),
        (Self::Bcachefs, "bcachefs"),
        (Self::Erofs, "erofs"),
        (Self::Squashfs, "squashfs"),
        (Self::Tmpfs, "tmpfs"),
        (Self::Overlay, "overlay"),
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
        chunked_linux::filesystem_name(magic)?.parse().ok()
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::ALL.map(|(_, name)| name).join(", ")
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Filesystem {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(_, name)| *name == text);
        known.map(|(kind, _)| *kind).ok_or_else(|| {
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
        assert_eq!(Filesystem::of(0xef53), Some(Filesystem::Ext4));
        for (kind, name) in Filesystem::ALL {
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
