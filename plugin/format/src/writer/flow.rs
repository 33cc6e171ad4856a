//! What the planner found, on its way through the pool and back into order.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, sync_channel};

use crate::error::WriteError;
use crate::writer::emit::Emitter;
use crate::writer::pool::{Done, Frame, Job};
use crate::writer::step::Step;

/// Bytes of tar in one job, about: enough that handing it over costs nothing, little enough to share work.
const JOB: usize = 256 << 10;

/// Frames in one job: tiny ones cost time as well.
const JOB_FRAMES: usize = 512;

#[derive(Debug)]
struct Batch {
    steps: Vec<Step>,
    /// Bytes of tar in its frames.
    bytes: usize,
    done: Receiver<Result<Done, WriteError>>,
}

/// Collects steps and frames into jobs, and emits them in order.
pub(super) struct Flow<W> {
    jobs: Sender<Job>,
    emitter: Emitter<W>,
    /// Not yet handed to the pool.
    steps: Vec<Step>,
    frames: Vec<Frame>,
    bytes: usize,
    /// Handed to the pool, oldest first.
    waiting: VecDeque<Batch>,
    /// Bytes of tar in `waiting`.
    in_flight: usize,
    /// Bound of `in_flight`.
    limit: usize,
}

impl<W: Write> Flow<W> {
    pub(super) fn new(jobs: Sender<Job>, emitter: Emitter<W>, workers: usize) -> Self {
        // Every worker has a job and its next one; no more than fits the promised memory.
        let limit = (workers * 8 * JOB).clamp(8 << 20, 32 << 20);
        Self {
            jobs,
            emitter,
            steps: Vec::new(),
            frames: Vec::new(),
            bytes: 0,
            waiting: VecDeque::new(),
            in_flight: 0,
            limit,
        }
    }

    pub(super) fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// A frame that ends here.
    pub(super) fn frame(&mut self, frame: Frame) -> Result<(), WriteError> {
        self.steps.push(Step::Frame);
        self.bytes += frame.len();
        self.frames.push(frame);
        if self.bytes >= JOB || self.frames.len() >= JOB_FRAMES { self.submit() } else { Ok(()) }
    }

    /// Hands out what is left, waits for everything, and gives the emitter.
    pub(super) fn finish(mut self) -> Result<Emitter<W>, WriteError> {
        self.submit()?;
        while self.emit_oldest()? {}
        Ok(self.emitter)
    }

    fn submit(&mut self) -> Result<(), WriteError> {
        let bytes = std::mem::take(&mut self.bytes);
        while self.in_flight + bytes > self.limit && self.emit_oldest()? {}
        let (reply, done) = sync_channel(1);
        let job = Job { frames: std::mem::take(&mut self.frames), reply };
        self.jobs.send(job).map_err(|_| WriteError::Worker)?;
        self.waiting.push_back(Batch { steps: std::mem::take(&mut self.steps), bytes, done });
        self.in_flight += bytes;
        self.emit_ready()
    }

    /// Emits what is done, without waiting for more.
    fn emit_ready(&mut self) -> Result<(), WriteError> {
        while let Some(batch) = self.waiting.front() {
            let done = match batch.done.try_recv() {
                Ok(done) => done?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(WriteError::Worker),
            };
            self.emit(done)?;
        }
        Ok(())
    }

    fn emit_oldest(&mut self) -> Result<bool, WriteError> {
        let Some(batch) = self.waiting.front() else { return Ok(false) };
        let done = batch.done.recv().map_err(|_| WriteError::Worker)??;
        self.emit(done)?;
        Ok(true)
    }

    /// Emits the oldest batch, whose frames are `done`.
    fn emit(&mut self, done: Done) -> Result<(), WriteError> {
        let Some(batch) = self.waiting.pop_front() else { return Ok(()) };
        self.in_flight -= batch.bytes;
        self.emitter.emit(batch.steps, done)
    }
}
