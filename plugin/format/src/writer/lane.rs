//! Threads that hash what can only be hashed in sequence.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use bytes::Bytes;
use chunked_core::{Digest, Hasher};

use crate::crc::{Crc64, crc64};
use crate::error::WriteError;

/// Messages that may wait. They share memory with frames that are waiting too.
const WAITING: usize = 16;

/// Hashes the whole tar.
#[derive(Debug)]
pub(super) struct Whole {
    blocks: SyncSender<Bytes>,
    digest: Receiver<Digest>,
}

/// Starts the thread of a [`Whole`].
pub(super) fn whole<'scope>(scope: &'scope Scope<'scope, '_>) -> Result<Whole, WriteError> {
    let (blocks, incoming) = sync_channel::<Bytes>(WAITING);
    let (reply, digest) = sync_channel(1);
    let work = move || {
        let mut hasher = Hasher::new();
        for block in incoming {
            hasher.update(&block);
        }
        // Nobody waits for it after an error.
        let _ = reply.send(hasher.finish());
    };
    Builder::new().name("tar-digest".to_owned()).spawn_scoped(scope, work).map_err(WriteError::Thread)?;
    Ok(Whole { blocks, digest })
}

impl Whole {
    pub(super) fn add(&self, block: Bytes) -> Result<(), WriteError> {
        self.blocks.send(block).map_err(|_| WriteError::Worker)
    }

    pub(super) fn finish(self) -> Result<Digest, WriteError> {
        drop(self.blocks);
        self.digest.recv().map_err(|_| WriteError::Worker)
    }
}

/// Digest and CRC of a file.
pub(super) type FileSums = (Digest, u64);

/// What the files' thread is told, in file order.
enum Message {
    /// The next bytes of the file; whether they belong to a chunk of several frames.
    Data(Bytes, bool),
    /// The chunk of several frames ends.
    Chunk(SyncSender<Digest>),
    /// The file ends.
    File(SyncSender<FileSums>),
}

/// Hashes files of several chunks, and chunks of several frames.
#[derive(Debug)]
pub(super) struct Files(SyncSender<Message>);

/// Starts the thread of a [`Files`].
pub(super) fn files<'scope>(scope: &'scope Scope<'scope, '_>) -> Result<Files, WriteError> {
    let (messages, incoming) = sync_channel::<Message>(WAITING);
    let work = move || {
        let (mut file, mut crc, mut chunk): (Hasher, Crc64, Hasher) = (Hasher::new(), crc64(), Hasher::new());
        for message in incoming {
            // A reply that nobody waits for: the writer is ending after an error.
            match message {
                Message::Data(bytes, in_chunk) => {
                    file.update(&bytes);
                    crc.update(&bytes);
                    if in_chunk {
                        chunk.update(&bytes);
                    }
                }
                Message::Chunk(reply) => {
                    let _ = reply.send(std::mem::take(&mut chunk).finish());
                }
                Message::File(reply) => {
                    let sum = std::mem::replace(&mut crc, crc64()).finalize();
                    let _ = reply.send((std::mem::take(&mut file).finish(), sum));
                }
            }
        }
    };
    Builder::new().name("file-digest".to_owned()).spawn_scoped(scope, work).map_err(WriteError::Thread)?;
    Ok(Files(messages))
}

impl Files {
    pub(super) fn data(&self, bytes: Bytes, in_chunk: bool) -> Result<(), WriteError> {
        self.send(Message::Data(bytes, in_chunk))
    }

    pub(super) fn chunk(&self) -> Result<Receiver<Digest>, WriteError> {
        let (reply, digest) = sync_channel(1);
        self.send(Message::Chunk(reply))?;
        Ok(digest)
    }

    pub(super) fn file(&self) -> Result<Receiver<FileSums>, WriteError> {
        let (reply, sums) = sync_channel(1);
        self.send(Message::File(reply))?;
        Ok(sums)
    }

    fn send(&self, message: Message) -> Result<(), WriteError> {
        self.0.send(message).map_err(|_| WriteError::Worker)
    }
}
