//! TOC and tar-split of a layer, or the reason why it must come whole.

use chunked_core::Causes;
use chunked_fetch::{FetchError, First, Segments};
use chunked_registry::{ErrorKind as RefusalKind, Failure};
use chunked_toc::{Annotations, ErrorKind, LayerIndex};

use crate::blob::LayerBlob;
use crate::blocking::Heavy;
use crate::error::EngineError;
use crate::job::Job;
use crate::memory::LayerMemory;
use crate::setback::Setback;

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
        memory: &LayerMemory,
        blob: &LayerBlob,
        annotations: Annotations,
    ) -> Result<Heavy<LayerIndex>, Setback> {
        let layer = self.layer.blob;
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            let range = annotations.metadata_range();
            let options = memory.fetch(&self.inner.options.fetch);
            let bytes = match blob.fetch_first(range, options).await {
                Ok(First::Part(bytes)) => bytes,
                Ok(First::Whole(segments)) => {
                    let reason = Some("its registry does not serve ranges".to_owned());
                    return Err(Setback::Whole(Whole { reason, segments: Some(segments) }));
                }
                // Whoever cannot be asked for a part cannot be asked for the whole.
                Err(source) if Self::is_hopeless(&source) => {
                    return Err(EngineError::Fetch { layer, source }.into());
                }
                Err(error) => {
                    return Err(Setback::whole(format!("its TOC cannot be fetched: {}", Causes(&error))));
                }
            };
            self.counters.add_fetched(bytes.len());
            let read = move || chunked_toc::parse(&annotations, &bytes).map(Heavy::new);
            match self.blocking(read).await? {
                Ok(index) => return Ok(index),
                Err(error) if error.kind() == ErrorKind::Integrity && left > 0 => {
                    tracing::warn!(%layer, error = %Causes(&error), "wrong bytes for the TOC; asking for it again");
                    // Of the registry itself, if a mirror may have sent them.
                    blob.distrust_mirrors().await;
                }
                Err(error) => return Err(Setback::of_toc(layer, error)),
            }
        }
    }

    /// True when no other request to the same place can succeed.
    fn is_hopeless(error: &FetchError) -> bool {
        match error {
            // Some firewalls refuse only ranges.
            FetchError::Registry { source, .. } => {
                source.kind() != RefusalKind::Denied
                    && source.holds_for_repository()
                    && !matches!(source.failure(), Failure::Status { .. })
            }
            // Its registry comes next.
            error => matches!(error, FetchError::Here { .. }),
        }
    }
}
