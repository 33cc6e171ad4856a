//! One entry of a layer's tar, as its real headers describe it.

/// Seconds and nanoseconds since the Unix epoch; seconds may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: i64,
    /// 0..1_000_000_000, counted upwards from `seconds`.
    pub nanos: u32,
}

/// An extended attribute: full name (`security.capability`) and raw value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Name with its namespace prefix.
    pub name: Vec<u8>,
    /// Raw value.
    pub value: Vec<u8>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Regular file of `size` bytes in the archive. `sparse` lists the data parts (offset in the file,
    /// length in bytes) of a GNU or PAX sparse file; the archive then holds only those, one after the other,
    /// and `real_size` is the file's length.
    File {
        /// Payload bytes in the archive.
        size: u64,
        /// Data segments of a sparse file and the file's real length.
        sparse: Option<Sparse>,
    },
    /// Directory.
    Directory,
    /// Symbolic link with its verbatim target.
    Symlink(Vec<u8>),
    /// Hard link to another entry, by tar name.
    HardLink(Vec<u8>),
    /// Character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Named pipe.
    Fifo,
    /// PAX global header. It makes nothing, but containerd's unpack treats its name like that of any entry: parent
    /// directories are made, and what stands there is removed.
    GlobalHeader,
}

/// Layout of a sparse file (GNU tar manual, "Storing Sparse Files").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sparse {
    /// (offset in the file, length) of each data part, in order, not overlapping.
    pub parts: Vec<(u64, u64)>,
    /// Length of the file with its holes.
    pub real_size: u64,
}

/// One logical tar entry: extension headers already applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name as in the archive, verbatim bytes (may be non-UTF-8, have `./` or a trailing `/`).
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `07777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Timestamp,
    /// Access time, when the archive has one.
    pub atime: Option<Timestamp>,
    /// Extended attributes (`SCHILY.xattr.*`), in archive order.
    pub xattrs: Vec<Xattr>,
}

impl Entry {
    /// Bytes of payload that follow the headers in the archive.
    pub fn payload_len(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        }
    }
}
