//! The layer's share of the node's memory budget, for what it has taken from the transfer and not finished.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chunked_compression::Room;
use chunked_fair::{Denied, Share};
use parking_lot::Mutex;

pub use chunked_fair::Permit;

use crate::error::AssembleError;

/// Longest piece, in bytes, compressed or not, that is decoded in one buffer. Longer ones are decoded as a stream.
pub const MAX_BUFFERED: u64 = 2 << 20;

/// Memory that an item of work takes besides the bytes it is about.
pub(crate) const OVERHEAD: u64 = 512;

/// What is charged at a time for many small things.
pub(crate) const CREDIT: u64 = 64 << 10;

/// How long a worker waits for memory.
const PATIENCE: Duration = Duration::from_secs(10);

/// Less room than this means that it is time to hand on what is held back.
const TIGHT: u64 = 512 << 10;

/// Bytes that one layer may hold. Charged before they are taken, and before work is handed out, in tar order; what is
/// handed out needs no more to be finished, so that it cannot deadlock.
#[derive(Debug)]
pub struct Budget {
    work: Arc<Share>,
    /// For windows. Of its own: who has a window needs memory for work, too, to be done with it.
    windows: Arc<Share>,
}

impl Budget {
    /// What guarantees a layer that it can go on: the bytes of one group of pieces, or of a file, and what is at
    /// hand of a plain layer.
    pub const GUARANTEED: u64 = 5 << 19;

    /// A budget out of `work`, which guarantees [`Budget::GUARANTEED`] bytes or more, and of `windows`, for the
    /// windows of decoders.
    pub fn of(work: Arc<Share>, windows: Arc<Share>) -> Arc<Self> {
        Arc::new(Self { work, windows })
    }

    /// A budget of `limit` bytes, shared with nobody.
    pub fn new(limit: u64) -> Arc<Self> {
        Self::of(Share::alone(limit), Share::alone(1 << 30))
    }

    /// Waits until `bytes` can be had. The caller hands on first what it holds back.
    ///
    /// # Errors
    /// [`AssembleError::Memory`] when they can never be had, [`AssembleError::Cancelled`] when the layer was given up.
    pub fn acquire(&self, bytes: u64) -> Result<Permit, AssembleError> {
        self.work.take_blocking(bytes).map_err(AssembleError::from)
    }

    /// `bytes`, if they can be had now.
    pub fn now(&self, bytes: u64) -> Option<Permit> {
        self.work.try_take(bytes)
    }

    /// True when it is time to hand on what is held back.
    pub fn is_tight(&self) -> bool {
        self.now(TIGHT).is_none()
    }

    /// Gets hold of the memory for the windows of a zstd decoder, and lets go of it when dropped. A window is never
    /// larger than `most`, which is what the decoder will be made to give.
    pub fn windows(self: &Arc<Self>, most: u64) -> Windows {
        Windows { budget: Arc::clone(self), most, patience: None, state: Arc::default() }
    }

    /// The same for whoever may be waiting for itself: a worker, whose work is waited for by others that hold memory, or a layer
    /// that holds a long table of contents. It waits for a while only; then the layer is pulled whole.
    pub(crate) fn windows_soon(self: &Arc<Self>, most: u64) -> Windows {
        Windows { patience: Some(PATIENCE), ..self.windows(most) }
    }

    fn window(&self, bytes: u64) -> Result<Permit, AssembleError> {
        self.windows.take_blocking(bytes).map_err(AssembleError::from)
    }

    fn window_soon(&self, bytes: u64, patience: Duration) -> Result<Permit, AssembleError> {
        let end = Instant::now() + patience;
        loop {
            if let Some(permit) = self.windows.try_take(bytes) {
                return Ok(permit);
            }
            if Instant::now() >= end {
                let reason = "no memory is free for a decoder's window";
                return Err(AssembleError::NotChunked { path: String::new(), reason });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// See [`Budget::windows`].
#[derive(Debug)]
pub struct Windows {
    budget: Arc<Budget>,
    most: u64,
    /// How long it waits; `None`: until there is room.
    patience: Option<Duration>,
    state: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    permit: Option<Permit>,
    /// Why a window could not be had.
    error: Option<AssembleError>,
}

impl Windows {
    /// For [`chunked_compression::Compression::decoder_within`].
    pub fn room(&self) -> Room<'static> {
        let (budget, most, state) = (Arc::clone(&self.budget), self.most, Arc::clone(&self.state));
        let patience = self.patience;
        Box::new(move |window| {
            let mut state = state.lock();
            // The smaller one first: who held one and waited for another could wait for ever.
            state.permit = None;
            let window = window.min(most);
            let permit =
                patience.map_or_else(|| budget.window(window), |time| budget.window_soon(window, time));
            match permit {
                Ok(permit) => {
                    state.permit = Some(permit);
                    Ok(())
                }
                Err(error) => {
                    state.error = Some(error);
                    Err(io::Error::other("there is no memory for a window"))
                }
            }
        })
    }

    /// Why the decoder failed, if it was for want of memory.
    pub fn error(&self) -> Option<AssembleError> {
        self.state.lock().error.take()
    }
}

impl From<Denied> for AssembleError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Closed => Self::Cancelled,
            too_much @ Denied::TooMuch { .. } => Self::Memory(too_much),
        }
    }
}
