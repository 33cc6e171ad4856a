//! System calls of the stages that touch files: everything relative to open directories.
//!
//! In the flow: below `assemble` and `store`. Paths that an image, a container or the host shaped are resolved here and
//! nowhere else (clippy's `disallowed-methods` keep it so). In a tree that we filled that is
//! `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)` below a directory the caller opened: callers
//! resolve symlinks of the layer on their own model first, so the kernel never has to. In trees that others may change
//! meanwhile it is `RESOLVE_BENEATH` and no links at all. What is opened was looked at before, and is a regular file.

mod beneath;
mod content;
mod dir;
mod extents;
mod filesystems;
mod list;
mod meta;
mod named;
mod probe;
mod remove;
mod resolve;
mod umask;
mod walk;
mod xattr;

pub use content::{
    can_share_blocks, clone_file, copy_range, copy_sparse, is_cached, read_soon, sync_filesystem,
};
pub use dir::{Dir, NodeType};
pub use extents::{Extent, extents};
pub use filesystems::filesystem_name;
pub use list::Named;
pub use meta::{Metadata, Times, set_fd_metadata};
pub use probe::{Lack, lacks};
pub use remove::remove_tree;
pub use resolve::{Looked, Mounts};
pub use rustix::fs::{FileType, Stat, major, minor};
pub use walk::{Step, Walk};
pub use xattr::{remove_xattr, set_xattr_fd, xattrs};

/// Result of a system call.
pub type Result<T> = std::io::Result<T>;
