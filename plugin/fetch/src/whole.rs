//! One body for everything: for whole blobs, and for registries without ranges.

use chunked_registry::Blob;

use crate::error::FetchError;
use crate::fetch::Output;
use crate::ranges::Wanted;
use crate::transfer::{Stop, Transfer, WholeAnswer};

/// Hands on what is wanted, from `transfer` or, without one, from a body asked for now. Reads only as fast as
/// the receiver takes.
pub(crate) async fn run(blob: &Blob, mut wanted: Wanted, transfer: Option<Transfer>, output: &Output) {
    let Some(span) = wanted.span() else { return };
    let mut transfer = transfer.unwrap_or_else(|| Transfer::new(blob.clone(), span, WholeAnswer::Take));
    loop {
        // A receiver that is gone ends a request that brings nothing, too.
        let piece = tokio::select! {
            biased;
            piece = transfer.next() => piece,
            () = output.closed() => return,
        };
        let segments = match piece {
            None => return,
            Some(Ok((offset, data))) => wanted.pick(offset, &data),
            Some(Err(stop)) => {
                let offset = wanted.span().map_or(span.end, |span| span.start);
                let error = match stop {
                    Stop::Failed(source) => FetchError::Registry { offset, source },
                    Stop::Whole(_) => FetchError::NoRanges { blob: blob.digest() },
                };
                // The receiver may be gone already.
                let _ = output.send(Err(error)).await;
                return;
            }
        };
        for segment in segments {
            if output.send(Ok(segment)).await.is_err() {
                return;
            }
        }
    }
}
