//! Where the bytes of a file come from.

pub(crate) mod content;
pub(crate) mod decode;
pub(crate) mod donor;
pub(crate) mod host;
pub(crate) mod long;
pub(crate) mod pieces;
pub(crate) mod promise;
pub(crate) mod refetch;
pub(crate) mod taking;
pub(crate) mod twin;
