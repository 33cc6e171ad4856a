//! Where the bytes of a file come from: the tar stream, pieces, a file of another layer or of the host, content that
//! others are making; and the blob, when such a file is not what it should be.
//!
//! Each is a [`Source`](file::Source), which also says whether the new file may be linked to it, share its blocks, or
//! only be a copy of what was read.

pub(crate) mod ahead;
pub(crate) mod content;
pub(crate) mod decode;
pub(crate) mod donor;
pub(crate) mod file;
pub(crate) mod file_piece;
pub(crate) mod growing;
pub(crate) mod host;
pub(crate) mod inline;
pub(crate) mod long;
pub(crate) mod piece;
pub(crate) mod pieces;
pub(crate) mod promise;
pub(crate) mod promised;
pub(crate) mod refetch;
pub(crate) mod rights;
pub(crate) mod share;
pub(crate) mod streamed;
pub(crate) mod twin;
