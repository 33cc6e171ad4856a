//! Names of filesystems.

/// Names by which an administrator knows them, and magic numbers (linux/magic.h, and the filesystems' own headers).
const NAMES: [(&str, u32); 25] = [
    ("ext4", 0xef53),
    ("xfs", 0x5846_5342),
    ("btrfs", 0x9123_683e),
    ("f2fs", 0xf2f5_2010),
    ("zfs", 0x2fc1_2fc1),
    ("bcachefs", 0xca45_1a4e),
    ("erofs", 0xe0f5_e1e2),
    ("squashfs", 0x7371_7368),
    ("tmpfs", 0x0102_1994),
    ("ramfs", 0x8584_58f6),
    ("overlay", 0x794c_7630),
    ("nfs", 0x6969),
    ("cifs", 0xff53_4d42),
    ("smb2", 0xfe53_4d42),
    ("ceph", 0x00c3_6400),
    ("fuse", 0x6573_5546),
    ("9p", 0x0102_1997),
    ("vfat", 0x4d44),
    ("exfat", 0x2011_bab0),
    ("ntfs3", 0x7366_746e),
    ("ecryptfs", 0xf15f),
    ("reiserfs", 0x5265_4973),
    ("jfs", 0x3153_464a),
    ("gfs2", 0x0116_1970),
    ("ocfs2", 0x7461_636f),
];

/// The name of the kind of filesystem with this magic number ([`crate::Dir::filesystem`]), if it is a usual one.
pub fn filesystem_name(magic: u32) -> Option<&'static str> {
    NAMES.iter().find(|(_, known)| *known == magic).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one_name() {
        for (name, magic) in NAMES {
            assert_eq!(filesystem_name(magic), Some(name));
        }
        assert_eq!(filesystem_name(0), None);
    }
}
