//! Tar entries and payloads to a staging tree, with the metadata that containerd's own unpack would leave.
//!
//! In the flow: after `fetch`, before the layer store; `verify` runs beside it. One [`Extractor`] serves every
//! layer format: it reads metadata from real tar headers only, keeps a model of the tree to place entries, and
//! has workers decode, check and write files while the DiffID is computed in tar order.
//!
//! - `tree`: a pure model of the layer, and where an entry goes in it;
//! - `source`: where the bytes of a file come from;
//! - `work`: jobs, the order in which their bytes are hashed, workers, budget, progress.
//!
//! It must not know where bytes come from: no registry, no network.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))] // See clippy.toml.

mod error;
mod extractor;
mod relink;
mod report;
mod source;
mod staging;
mod tidy;
mod tree;
mod work;

pub use error::AssembleError;
pub use extractor::{BIG_FILE, Extractor, Settings};
pub use report::{Extracted, Proof, Stored};
pub use source::ahead::{ReadAhead, Upcoming};
pub use source::donor::{Donor, Lender};
pub use source::file_piece::{Chunk, FilePiece, LocalPiece};
pub use source::host::Foreign;
pub use source::long::{LongFile, is_long};
pub use source::piece::{FetchedPiece, Refetch, SparePiece};
pub use source::promise::{Made, Promise, Promised, promise};
pub use source::refetch::Spare;
pub use source::rights::{Links, Rights};
pub use source::twin::Known;
pub use work::budget::{Budget, MAX_BUFFERED, Permit, Windows};
pub use work::layer::Inode;
pub use work::pool::Pool;
pub use work::progress::CancelOnDrop;
