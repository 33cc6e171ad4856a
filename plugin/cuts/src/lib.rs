//! Where a file is cut into chunks (zstd-chunked.md §7), so that equal content gives equal chunks whoever cuts it:
//! the writer of the format ([`Cutter`]), and the indexers of what the node already has ([`Chunker`]).
//!
//! No I/O: both are fed the file's bytes in pieces of any length and hold none of them.

mod chunker;
mod cutter;
mod options;
mod rollsum;

pub use chunker::{Chunk, Chunker};
pub use cutter::{Cut, Cutter};
pub use options::Cuts;
