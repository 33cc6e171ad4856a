//! Long files of plain layers: the payload comes in order, already decoded and hashed for the DiffID, and is written
//! by workers.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use chunked_core::{Digest, Sparse};
use chunked_verify::DiffIdHasher;

use crate::error::AssembleError;
use crate::report::Proof;
use crate::source::growing::Growing;
use crate::source::long::GROUP;
use crate::work::dispatcher::Dispatcher;
use crate::work::layer::Known;

/// Buffers that may wait to be hashed for one file's digest.
const HASH_QUEUE: usize = 16;

/// A file being streamed.
#[derive(Debug)]
pub(crate) struct Streamed {
    file: Arc<Growing>,
    digest: DiffIdHasher,
    held: Vec<Bytes>,
    weight: u64,
    /// Where the payload still to come lies in the file: offset and length of each part.
    parts: VecDeque<(u64, u64)>,
}

/// The digest of a streamed file, still being computed.
#[derive(Debug)]
pub(crate) struct Pending {
    file: Arc<Growing>,
    digest: DiffIdHasher,
}

impl Streamed {
    pub(crate) fn new(file: Arc<Growing>, sparse: Option<Sparse>) -> Result<Self, AssembleError> {
        file.set_len()?;
        let parts = sparse.map_or_else(|| vec![(0, file.new.size)], |sparse| sparse.parts).into();
        let layer = Arc::clone(&file.new.target.layer);
        let digest = DiffIdHasher::start(HASH_QUEUE, move || layer.is_wanted())?;
        Ok(Self { file, digest, held: Vec::new(), weight: 0, parts })
    }

    pub(crate) fn write(&mut self, bytes: Bytes, dispatcher: &Dispatcher) -> Result<(), AssembleError> {
        self.digest.bytes(bytes.clone());
        self.weight += bytes.len() as u64;
        self.held.push(bytes);
        if self.weight >= GROUP || dispatcher.budget_is_tight() {
            self.flush(dispatcher);
        }
        dispatcher.check()
    }

    pub(crate) fn flush(&mut self, dispatcher: &Dispatcher) {
        let mut writes = Vec::with_capacity(self.held.len());
        for mut bytes in std::mem::take(&mut self.held) {
            while let (false, Some((offset, room))) = (bytes.is_empty(), self.parts.front_mut()) {
                let n = usize::try_from(*room).map_or(bytes.len(), |room| room.min(bytes.len()));
                writes.push((*offset, bytes.split_to(n)));
                *offset += n as u64;
                *room -= n as u64;
                if *room == 0 {
                    self.parts.pop_front();
                }
            }
        }
        self.weight = 0;
        let file = Arc::clone(&self.file);
        file.enter();
        dispatcher.run(file.entry().to_vec(), move || {
            writes.iter().try_for_each(|(offset, bytes)| file.write(bytes, *offset))?;
            file.leave()
        });
    }

    /// Ends the file.
    pub(crate) fn close(mut self, dispatcher: &Dispatcher) -> Result<Pending, AssembleError> {
        self.flush(dispatcher);
        self.file.leave()?;
        Ok(Pending { file: self.file, digest: self.digest })
    }
}

impl Pending {
    /// The file, with the digest of its content. `None` for a sparse one, of which the payload was hashed, not the
    /// content: it cannot be a donor. Waits for what is left to hash.
    pub(crate) fn finish(self) -> Result<Option<(Arc<Growing>, Digest)>, AssembleError> {
        let (digest, size) = self.digest.finish()?;
        if size != self.file.new.size {
            return Ok(None);
        }
        let target = &self.file.new.target;
        target.layer.knows(Known { node: target.node, digest, size, proof: Proof::Whole });
        Ok(Some((self.file, digest)))
    }
}
