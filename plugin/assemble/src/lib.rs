//! Tar entries and payloads to a staging tree, with the metadata that containerd's own unpack would leave.
//!
//! In the flow: after `fetch`, before the layer store; `verify` runs beside it. One [`Extractor`] serves every
//! layer format: it reads metadata from real tar headers only, keeps a model of the tree to place entries, and
//! has workers decode, check and write files while the DiffID is computed in tar order.
//!
//! It must not know where bytes come from: no registry, no network.

mod big;
mod budget;
mod content;
mod decode;
mod dispatch;
mod donor;
mod error;
mod extractor;
mod foreign;
mod job;
mod known;
mod path;
mod pieces;
mod place;
mod placed;
mod promise;
mod report;
mod spare;
mod taking;
mod tree;
mod unit;

pub use big::{LongFile, is_long};
pub use budget::{Budget, Permit};
pub use content::{Donor, FetchedPiece};
pub use decode::MAX_BUFFERED;
pub use error::AssembleError;
pub use extractor::{BIG_FILE, Extractor, Settings};
pub use foreign::Foreign;
pub use known::Known;
pub use pieces::{Chunk, FilePiece, LocalPiece};
pub use promise::{Made, Promise, Promised, promise};
pub use report::{Extracted, Stored};
pub use spare::{Refetch, Spare, SparePiece};
pub use unit::Pool;
