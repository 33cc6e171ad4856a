//! The tar reader: one for unpacking, for writing zstd:chunked layers and for looking at them. No I/O.
//!
//! In the flow: below `toc`, `format` and `assemble`. It reads what Go's archive/tar (1.26) reads, field by field, and
//! refuses what that refuses: containerd unpacks layers with it, and the digest of a layer proves its bytes, not how
//! somebody reads them. `integration/go/tarread` and the example `against_go` compare the two.
//!
//! - [`HeaderParser`] reads one logical header after the other: extension headers, the header itself, sparse maps.
//!   It serves everybody who has the bytes of headers apart from the payload.
//! - [`Machine`] splits a whole tar stream, in any cuts, into entries and payload. Its entries are what containerd's
//!   unpack makes of a header: owners of 32 bits, permission bits, attributes. It serves plain layers, whose payload is
//!   in the stream, and zstd:chunked ones, whose payload comes from elsewhere ([`Machine::take_payload`]).
//!
//! Deliberate differences are few. Old GNU sparse files (type `S`) are read, which Go does too, but containerd refuses
//! to unpack. A sparse file whose parts do not add up to its payload is refused at its header, not at its last byte. A
//! global header whose records Go applies in random order is refused.
//!
//! It must not touch files or the network.

mod block;
mod entry;
mod error;
mod header;
mod machine;
mod number;
mod parser;
mod pax;
mod sparse;

pub use block::BLOCK;
pub use error::{Refusal, TarError};
pub use header::Header;
pub use machine::{Event, Machine};
pub use parser::{HeaderParser, MAX_EXTENSION, Step};
pub use pax::Records;
