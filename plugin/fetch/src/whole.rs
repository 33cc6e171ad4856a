//! One body for everything: for whole blobs, and for registries without ranges.

use std::sync::Arc;

use chunked_fair::Share;
use chunked_registry::{Blob, Body, Patience};

use crate::error::FetchError;
use crate::fetch::Segment;
use crate::memory::charge;
use crate::ranges::Wanted;
use crate::segments::Output;
use crate::transfer::{Stop, Transfer, WholeAnswer};

/// The transfer failed, and the receiver was told.
#[derive(Debug)]
pub(crate) struct Failed;

/// A blob being read for somebody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) blob: &'a Blob,
    pub(crate) memory: Option<&'a Arc<Share>>,
    pub(crate) output: &'a Output,
}

impl Reading<'_> {
    /// Hands on what is wanted, from `body` or, without one, from a body asked for now as `whole` says. Reads only
    /// as fast as the receiver takes.
    pub(crate) async fn run(
        self,
        wanted: &mut Wanted,
        body: Option<Body>,
        whole: WholeAnswer,
        patience: Patience,
    ) -> Result<(), Failed> {
        let Some(span) = wanted.span() else { return Ok(()) };
        let mut transfer = Transfer::new(self.blob.clone(), vec![span], whole, patience);
        if let Some(body) = body {
            transfer.go_on_with(body);
        }
        loop {
            // A receiver that is gone ends a request that brings nothing, too.
            let piece = tokio::select! {
                biased;
                piece = transfer.next() => piece,
                () = self.output.closed() => return Ok(()),
            };
            let pieces = match piece {
                None => return Ok(()),
                Some(Ok(pieces)) => pieces,
                Some(Err(stop)) => {
                    let offset = wanted.span().map_or(span.end, |span| span.start);
                    // It takes whole answers, and hands none over.
                    if let Stop::Failed(source) = stop {
                        // The receiver may be gone already.
                        let _ = self.output.send(Err(FetchError::Registry { offset, source })).await;
                    }
                    return Err(Failed);
                }
            };
            for segment in pieces.iter().flat_map(|piece| wanted.pick(piece.offset, &piece.data)) {
                let Some(data) = charge(self.memory, segment.data, self.output).await else { return Ok(()) };
                let segment = Segment { offset: segment.offset, data };
                if self.output.send(Ok(segment)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
