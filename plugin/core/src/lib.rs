//! Pure vocabulary of chunked-snapshotter: digests, chain ids, byte ranges, tar entries and the names
//! containerd and OCI give to labels and annotations.
//!
//! Every stage may use this crate; it uses none of them, and does no I/O.

mod causes;
mod digest;
mod entry;
pub mod labels;
pub mod media;
mod object_digest;
mod range;

pub use causes::Causes;
pub use digest::{Digest, DigestError, Hasher, chain_id};
pub use entry::{Entry, Kind, Sparse, Timestamp, Xattr};
pub use object_digest::{Algorithm, ObjectDigest, ObjectHasher};
pub use range::ByteRange;
