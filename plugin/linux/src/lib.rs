//! System calls of the stages that touch files: everything relative to open directories.
//!
//! In the flow: below `assemble` and `store`. Paths that come from an image are resolved here and nowhere
//! else, with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)` below a directory the
//! caller opened: callers resolve symlinks of the layer on their own model first, so the kernel never has to. Files
//! of the host are opened by paths from our own index only, with `RESOLVE_BENEATH` and no links at all.

mod beneath;
mod content;
mod dir;
mod meta;

pub use beneath::Mounts;
pub use content::{can_share_blocks, clone_file, copy_range, copy_sparse, sync_filesystem};
pub use dir::{Dir, NodeType};
pub use meta::{Metadata, Times, clear_umask, has_xattrs, set_fd_metadata, set_xattr_fd};

/// Result of a system call.
pub type Result<T> = std::io::Result<T>;
