//! Threads that compress frames.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, Scope};

use bytes::Bytes;
use chunked_core::Digest;
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{self, CCtx, CParameter, InBuffer, OutBuffer};

use crate::crc::crc64;
use crate::error::WriteError;

/// What is to be learnt of a frame's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sums {
    /// Nothing: tar headers, or a part of a chunk.
    None,
    /// The digest: a chunk.
    Digest,
    /// Digest and CRC: a whole file.
    Both,
}

/// A frame to be compressed.
#[derive(Debug)]
pub(super) struct Frame {
    /// The content, in pieces.
    pub data: Vec<Bytes>,
    pub sums: Sums,
}

impl Frame {
    pub(super) fn len(&self) -> usize {
        self.data.iter().map(Bytes::len).sum()
    }
}

/// A compressed frame.
#[derive(Debug)]
pub(super) struct Compressed {
    /// Its length in bytes.
    pub len: usize,
    pub digest: Option<Digest>,
    pub crc: Option<u64>,
}

/// Compressed frames of a job, in order.
#[derive(Debug)]
pub(super) struct Done {
    /// All frames, one after another.
    pub bytes: Vec<u8>,
    pub frames: Vec<Compressed>,
}

/// Frames to be compressed one after another, by one thread: many frames are tiny.
pub(super) struct Job {
    pub frames: Vec<Frame>,
    pub reply: SyncSender<Result<Done, WriteError>>,
}

/// Bytes that the tables of all workers together may take.
const TABLES: usize = 96 << 20;

/// Workers whose tables fit in [`TABLES`] at `level`. The figures are `ZSTD_sizeof_CCtx` after a frame of
/// [`FRAME`](super::FRAME) bytes, in MiB, rounded up.
pub(super) fn most_workers(level: i32) -> usize {
    let mebibytes = match level {
        ..=3 => 4,
        4..=8 => 8,
        9 => 13,
        10..=12 => 23,
        _ => 36,
    };
    (TABLES / (mebibytes << 20)).max(1)
}

/// Starts `workers` threads that end when the sender is dropped.
pub(super) fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    workers: usize,
    level: i32,
) -> Result<Sender<Job>, WriteError> {
    let (jobs, incoming) = channel::<Job>();
    let incoming = Arc::new(Mutex::new(incoming));
    for number in 0..workers {
        let incoming = Arc::clone(&incoming);
        let mut worker = Worker::new(level)?;
        let work = move || {
            while let Some(Job { frames, reply }) = next(&incoming) {
                // Nobody waits for it after an error.
                let _ = reply.send(worker.compress(frames));
            }
        };
        let builder = Builder::new().name(format!("compress-{number}"));
        builder.spawn_scoped(scope, work).map_err(WriteError::Thread)?;
    }
    Ok(jobs)
}

fn next(incoming: &Mutex<Receiver<Job>>) -> Option<Job> {
    // A poisoned queue is sound: receiving cannot leave it half done.
    incoming.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

struct Worker {
    context: CCtx<'static>,
    /// A frame whose pieces had to be joined.
    joined: Vec<u8>,
}

impl Worker {
    fn new(level: i32) -> Result<Self, WriteError> {
        let mut context = CCtx::try_create().ok_or(WriteError::Compress("no memory for a context"))?;
        for parameter in [CParameter::CompressionLevel(level), CParameter::ChecksumFlag(true)] {
            context.set_parameter(parameter).map_err(zstd_error)?;
        }
        Ok(Self { context, joined: Vec::new() })
    }

    fn compress(&mut self, frames: Vec<Frame>) -> Result<Done, WriteError> {
        let mut done = Done { bytes: Vec::new(), frames: Vec::with_capacity(frames.len()) };
        for frame in frames {
            let content = match frame.data.as_slice() {
                [whole] => whole,
                pieces => {
                    self.joined.clear();
                    pieces.iter().for_each(|piece| self.joined.extend_from_slice(piece));
                    self.joined.as_slice()
                }
            };
            let digest = (frame.sums != Sums::None).then(|| Digest::of(content));
            let crc = (frame.sums == Sums::Both).then(|| {
                let mut crc = crc64();
                crc.update(content);
                crc.finalize()
            });
            let start = done.bytes.len();
            compress(&mut self.context, content, &mut done.bytes)?;
            done.frames.push(Compressed { len: done.bytes.len() - start, digest, crc });
        }
        // What waits to be written should not hold the room that was left for incompressible data.
        done.bytes.shrink_to_fit();
        Ok(done)
    }
}

/// Appends one frame with `content` to `out`.
fn compress(context: &mut CCtx<'_>, content: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
    let start = out.len();
    out.reserve(zstd_safe::compress_bound(content.len()));
    let mut output = OutBuffer::around_pos(out, start);
    let mut input = InBuffer::around(content);
    // All of the input and room for all of the output in one call: the frame says its size, and zstd fits its tables
    // to it.
    let left = context
        .compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_end)
        .map_err(zstd_error)?;
    if left == 0 { Ok(()) } else { Err(WriteError::Compress("the frame did not end")) }
}

fn zstd_error(code: usize) -> WriteError {
    WriteError::Compress(zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::LEVELS;
    use crate::writer::FRAME;

    /// The memory that is promised rests on these figures.
    #[test]
    fn the_tables_of_all_workers_fit() {
        let content: Vec<u8> = (0..FRAME).map(|at| u8::try_from(at * at % 251).unwrap()).collect();
        for level in LEVELS {
            let mut worker = Worker::new(level).unwrap();
            let mut out = Vec::new();
            for len in [FRAME, 300 << 10, 100 << 10, 10 << 10] {
                compress(&mut worker.context, &content[..len], &mut out).unwrap();
                let all = worker.context.sizeof() * most_workers(level);
                assert!(all <= TABLES, "level {level}, {len} bytes: {} bytes", worker.context.sizeof());
            }
        }
    }
}
