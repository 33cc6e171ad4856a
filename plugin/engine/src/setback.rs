//! How an attempt at a layer ended short of a tree.

use chunked_assemble::AssembleError;
use chunked_core::{Causes, ObjectDigest};
use chunked_toc::{ErrorKind, TocError};

use crate::chunked::ChunkedError;
use crate::error::EngineError;
use crate::metadata::Whole;

/// What follows from an attempt that gave no tree.
#[derive(Debug)]
pub(crate) enum Setback {
    /// Plan anew. `verify`: some local files are bad, and all are to be read before they are planned with.
    Again { verify: bool },
    /// Pull the whole blob, for this reason.
    Whole(Whole),
    /// The layer cannot be had.
    Failed(EngineError),
}

impl Setback {
    pub(crate) fn whole(reason: impl Into<String>) -> Self {
        Self::Whole(Whole::because(reason))
    }

    /// What an attempt by ranges ended in.
    pub(crate) fn of_ranges(layer: ObjectDigest, error: ChunkedError) -> Self {
        match error {
            ChunkedError::Assemble(error @ AssembleError::Donors { .. }) => {
                tracing::warn!(%layer, %error, "planning anew");
                Self::Again { verify: true }
            }
            ChunkedError::Assemble(error @ AssembleError::Broken { .. }) => {
                tracing::info!(%layer, %error, "planning anew");
                Self::Again { verify: false }
            }
            ChunkedError::Whole(reason) => Self::whole(reason),
            ChunkedError::Order(offset) => Self::Failed(EngineError::TocOrder { layer, offset }),
            ChunkedError::Ended(offset) => {
                let reason = format!("its transfer ended before byte {offset}");
                Self::Failed(EngineError::Stopped { layer, reason })
            }
            ChunkedError::Fetch(source) => Self::Failed(EngineError::Fetch { layer, source }),
            ChunkedError::Toc(error) => Self::of_toc(layer, error),
            // Its headers are authenticated by the TOC.
            ChunkedError::Assemble(source) => Self::Failed(EngineError::Assemble { layer, source }.proven()),
        }
    }

    /// What a table of contents, or a tar-split, that cannot be used ends in.
    pub(crate) fn of_toc(layer: ObjectDigest, error: TocError) -> Self {
        match error.kind() {
            // The bytes are the right ones, and what they say cannot be used: the whole blob still can.
            ErrorKind::Unusable => Self::whole(Causes(&error).to_string()),
            _ => Self::Failed(EngineError::Toc { layer, source: error }),
        }
    }
}

impl From<EngineError> for Setback {
    fn from(error: EngineError) -> Self {
        Self::Failed(error)
    }
}
