//! TOC and tar-split of a layer, or the reason why it must come whole.

use std::sync::Arc;

use bytes::Bytes;
use chunked_core::Causes;
use chunked_fetch::{FetchError, First, Segments};
use chunked_registry::Failure;
use chunked_toc::{Annotations, ErrorKind, LayerIndex, TocError};

use crate::blob::LayerBlob;
use crate::error::EngineError;
use crate::job::Job;

/// Attempts at a TOC whose bytes are wrong: what a line or a mirror did to it, it may not do again.
const ATTEMPTS: usize = 2;

/// Why a layer is pulled whole.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    /// For the log and the report; `None` when nothing else was ever possible.
    pub(crate) reason: Option<String>,
    /// The blob, which is on its way already.
    pub(crate) segments: Option<Segments>,
}

impl Whole {
    pub(crate) fn because(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), segments: None }
    }
}

impl Job {
    /// Fetches TOC and tar-split by one request and reads them.
    ///
    /// # Errors
    /// When the bytes are not what the manifest promises, twice. Everything else is a reason to pull the layer whole.
    pub(crate) async fn metadata(
        &self,
        blob: &LayerBlob,
        annotations: Annotations,
    ) -> Result<Result<Arc<LayerIndex>, Whole>, EngineError> {
        let layer = self.layer.blob;
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            let range = annotations.metadata_range();
            let options = self.inner.options.fetch.clone();
            let bytes = match blob.fetch_first(range, options).await {
                Ok(First::Part(bytes)) => bytes,
                Ok(First::Whole(segments)) => {
                    let reason = Some("its registry does not serve ranges".to_owned());
                    return Ok(Err(Whole { reason, segments: Some(segments) }));
                }
                // Whoever cannot be asked for a part cannot be asked for the whole.
                Err(source) if Self::is_hopeless(&source) => {
                    return Err(EngineError::Fetch { layer, source });
                }
                Err(error) => {
                    return Ok(Err(Whole::because(format!("its TOC cannot be fetched: {}", Causes(&error)))));
                }
            };
            self.counters.add_fetched(bytes.len());
            match self.read(annotations, bytes).await? {
                Ok(index) => return Ok(Ok(Arc::new(index))),
                // The bytes are the right ones, and what they say cannot be used: the whole blob still can.
                Err(error) if error.kind() == ErrorKind::Unusable => {
                    return Ok(Err(Whole::because(Causes(&error).to_string())));
                }
                Err(error) if left > 0 => {
                    tracing::warn!(%layer, error = %Causes(&error), "wrong bytes for the TOC; asking for it again");
                    // Of the registry itself, if a mirror may have sent them.
                    blob.distrust_mirrors().await;
                }
                Err(source) => return Err(EngineError::Toc { layer, source }),
            }
        }
    }

    /// True when no other request to the same place can succeed.
    fn is_hopeless(error: &FetchError) -> bool {
        match error {
            // Some firewalls refuse only ranges.
            FetchError::Registry { source, .. } => {
                source.holds_for_repository() && !matches!(source.failure(), Failure::Status { .. })
            }
            // Its registry comes next.
            error => matches!(error, FetchError::Here { .. }),
        }
    }

    async fn read(
        &self,
        annotations: Annotations,
        bytes: Bytes,
    ) -> Result<Result<LayerIndex, TocError>, EngineError> {
        self.blocking(move || chunked_toc::parse(&annotations, &bytes)).await
    }
}
