//! What must hold for any input. Each function takes a fuzzer's bytes and panics if it does not.
//!
//! The fuzz targets beside this file call them, and so do tests of the crates they are about, with the committed corpus and
//! changes of it (`replay`): those include the files of this directory.

pub mod checksums;
pub mod extractor;
pub mod format;
pub mod snapshots;
pub mod tar;

#[cfg(fuzzing)]
pub use chunked_registry::fuzzed;
