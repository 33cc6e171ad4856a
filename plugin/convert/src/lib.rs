//! Images to zstd:chunked: conversion between registries, layouts and archives; inspection; and what an update
//! would fetch.
//!
//! Beside the way of a layer, not on it: takes [`Location`]s, writes images that every client reads as before and
//! that ours pulls in parts. The format itself is `chunked-format`; which bytes an update needs is decided by
//! `chunked-plan`, the planner that pulls use.
//!
//! It must not: change what a layer contains (DiffIDs and configs stay, byte for byte); write a name before
//! everything it means is there; let the result depend on when, where or with how many threads it was made; take
//! over what does not match its digest or DiffID.

mod attach;
mod checked;
mod convert;
mod destination;
mod diff;
mod error;
mod inspect;
mod layer;
mod location;
mod options;
mod progress;
mod referrers;
mod report;
mod source;
mod temp;
mod tree;
mod writer;

use chunked_registry::oci::{self as document, media};

pub use chunked_format::{
    ChunkStats, DEFAULT_LEVEL, Evidence, FrameStats, Generation, Inspection, LEVELS, Outline, TocEntry,
    TocStats, Verified,
};
pub use chunked_registry::oci::Descriptor;
pub use convert::{SOURCE_DIGEST, VERSION, convert};
pub use diff::{Diff, LayerDiff, Way, diff};
pub use error::ConvertError;
pub use inspect::{Content as Seen, ImageInspection, LayerInspection, inspect_blob, inspect_image};
pub use location::{Location, LocationError};
pub use options::{LARGEST_MIN_CHUNK, Options};
pub use progress::{LayerProgress, Phase, Progress};
pub use report::{Action, Attachment, Content, Delivery, ImageReport, LayerReport, Report};
