//! Reads local files before their turn in the tar comes: many at a time, so that the disk is busy while the layer is
//! hashed in its order. What is in the page cache already is left alone.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chunked_linux::{is_cached, read_soon};
use parking_lot::{Condvar, Mutex};

/// Threads of one layer. They wait for the disk, and need next to no processor time.
const THREADS: usize = 8;
/// Files that a thread takes at a time.
const BATCH: usize = 64;
/// Every so many of these are looked at first, to see whether the rest is in the page cache, too.
const STRIDE: usize = 16;
/// Files and bytes ahead of the layer's turn.
const AHEAD: usize = 4096;
const AHEAD_BYTES: u64 = 64 << 20;
/// Bytes of one file: the kernel reads ahead on its own what follows.
const OF_ONE: u64 = 16 << 20;

/// The files of a layer, by their numbers in the order of the tar, and where those of them come from that are read from
/// local files. Called by threads of this module only.
pub trait Upcoming: fmt::Debug + Send + Sync {
    /// The number of the layer's files.
    fn count(&self) -> usize;

    /// Opens the local file that file `number` comes from, if it is made from one as a whole.
    fn open(&self, number: usize) -> Option<File>;
}

/// See the module. The threads end when this is dropped, or when there is nothing left to read.
#[derive(Debug)]
pub struct ReadAhead(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    files: Arc<dyn Upcoming>,
    /// The file whose turn it is.
    turn: AtomicUsize,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The next file to look at.
    next: usize,
    /// What was read: up to which file, and how many bytes.
    read: VecDeque<(usize, u64)>,
    /// Threads that wait for the layer's turn to move.
    waiting: usize,
    ended: bool,
}

impl State {
    /// Bytes that were read for files whose turn is yet to come.
    fn bytes(&mut self, turn: usize) -> u64 {
        while self.read.front().is_some_and(|(end, _)| *end <= turn) {
            self.read.pop_front();
        }
        self.read.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl ReadAhead {
    /// Begins to read. When no thread can be started, nothing is read ahead.
    pub fn start(files: Arc<dyn Upcoming>) -> Self {
        let shared = Arc::new(Shared {
            files,
            turn: AtomicUsize::new(0),
            state: Mutex::default(),
            moved: Condvar::new(),
        });
        for _ in 0..THREADS {
            let shared = Arc::clone(&shared);
            // Fewer threads read less ahead.
            let _ = std::thread::Builder::new().name("readahead".into()).spawn(move || shared.work());
        }
        Self(shared)
    }

    /// It is the turn of file `number`.
    pub fn turn(&self, number: usize) {
        let before = self.0.turn.swap(number, Ordering::AcqRel);
        // Waking costs more than it brings for each file.
        if before / BATCH != number / BATCH {
            let state = self.0.state.lock();
            if state.waiting > 0 {
                self.0.moved.notify_all();
            }
        }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.moved.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        while let Some((from, to)) = self.take() {
            let bytes = self.read(from, to);
            if bytes > 0 {
                let mut state = self.state.lock();
                let at = state.read.partition_point(|(end, _)| *end < to);
                state.read.insert(at, (to, bytes));
            }
        }
    }

    /// The files to look at next: from the first number to before the second.
    fn take(&self) -> Option<(usize, usize)> {
        let mut state = self.state.lock();
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            // What has had its turn is being read by those who need it.
            state.next = state.next.max(turn);
            if state.ended || state.next >= self.files.count() {
                return None;
            }
            if state.next < turn + AHEAD && state.bytes(turn) < AHEAD_BYTES {
                let from = state.next;
                state.next = (from + BATCH).min(self.files.count());
                return Some((from, state.next));
            }
            state.waiting += 1;
            self.moved.wait(&mut state);
            state.waiting -= 1;
        }
    }

    /// Has these files read; gives the bytes that were not in memory.
    fn read(&self, from: usize, to: usize) -> u64 {
        let (mut looked, mut cold, mut bytes) = (0, false, 0);
        for number in (from..from + STRIDE).flat_map(|first| (first..to).step_by(STRIDE)) {
            if self.turn.load(Ordering::Acquire) > number {
                continue;
            }
            if looked >= BATCH / STRIDE && !cold {
                return 0;
            }
            // What cannot be opened is found out by whoever needs it.
            let Some(file) = self.files.open(number) else { continue };
            looked += 1;
            if !is_cached(&file) {
                cold = true;
                bytes += read_soon(&file, OF_ONE);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
