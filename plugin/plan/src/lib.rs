//! What of a layer is missing, and which byte ranges of its blob to ask for: TOC × what the node has → plan.
//!
//! Third stage of the way of a layer: toc → **plan** → fetch. A plan is data that can be printed before any
//! byte moves. This crate does no I/O of its own (the node's files are behind [`Reuse`]), knows nothing of
//! registries, and must not change what a layer contains: it only says where each file's bytes come from.
//!
//! # Which ranges
//!
//! A file that the node has comes from there. Of all others each piece that the node has, as a part of some file,
//! comes from there; holes come from nowhere; what repeats an earlier file or piece of the layer is taken from
//! that; the rest is fetched. The pieces' ranges are joined where they touch. What lies between two of them is a *gap*: tar headers, holes,
//! files that are not needed. A request costs about a round trip, so a gap that arrives faster than that is
//! better downloaded and thrown away. Gaps are filled smallest first:
//!
//! 1. only gaps of at most [`Costs::gap`] bytes, the size that a round trip is worth;
//! 2. in total at most [`Costs::EXTRA_PERCENT`] of what has to be fetched anyway (pieces, TOC, tar-split), or
//!    [`Costs::EXTRA_FREE_OF_BYTES`] if that is more;
//! 3. while there are still more than [`Costs::MAX_RANGES`] ranges, up to [`Costs::EXTRA_PERCENT_CROWDED`];
//!    Where one request asks for several ranges, neither counts: more ranges hardly cost time then, and gaps
//!    together with the headers of the parts may take [`Costs::EXTRA_PERCENT_PARTS`];
//! 4. if all gaps together, whatever their sizes, are at most [`Costs::NEGLIGIBLE_PERCENT`], they are filled:
//!    one range, one stream;
//! 5. if there are more than [`Costs::MAX_RANGES`] ranges in the end, gaps of at most [`Costs::HEADS`] bytes are
//!    filled: between files so small, another request and its answer would move more bytes than the gap.
//!
//! So a pull fetches at most 1.05 × (missing pieces + TOC + tar-split), or 1 KiB more than those, on any network,
//! except under rule 5, where fewer bytes cannot be had.
//!
//! **Where time is preferred** ([`Prefer::Time`]), and always for a layer of which the node has nothing, rule 2 allows
//! [`Costs::EXTRA_FREE`], and in place of rule 5 there are two that may cost any number of bytes:
//!
//! 6. if there are more than [`Costs::MAX_RANGES`] ranges in the end, and asking for them would take longer
//!    than getting everything from the first to the last byte, every gap of rule 1 is filled;
//! 7. if everything from the first to the last missing byte, as one stream, takes no longer than more than
//!    [`Costs::MAX_RANGES`] ranges, or is faster than fewer by [`Costs::WORTH_MICROS`], that is asked for.
//!
//! The [`Decision`] tells what was preferred, both times, and the network they are for.

mod costs;
mod decision;
mod planning;
mod ranges;
mod summary;

pub use costs::{Costs, Prefer};
pub use decision::{Decision, Way};
pub use planning::{FileSource, MAX_REUSED_PIECE, PieceSource, Plan, Reuse, plan};
pub use summary::Summary;
