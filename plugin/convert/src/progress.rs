//! What a conversion is doing, for whoever shows it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chunked_core::ObjectDigest;

/// What is being done with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It waits for its turn.
    Waiting,
    /// It is read, checked and written anew.
    Converting,
    /// It is read and checked as it is.
    Copying,
    /// It goes to the destination.
    Sending,
    /// It is there.
    Done,
}

/// A layer's counters.
#[derive(Debug)]
pub struct LayerProgress {
    /// Digest of the source's blob.
    pub blob: ObjectDigest,
    /// Its length in bytes.
    pub size: u64,
    phase: AtomicU8,
    /// Bytes read of the source's blob.
    pub(crate) read: AtomicU64,
    /// Bytes handed to the destination.
    pub(crate) sent: Arc<AtomicU64>,
    /// Bytes to hand to the destination.
    pub(crate) to_send: AtomicU64,
}

impl LayerProgress {
    /// What is being done.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Waiting,
            1 => Phase::Converting,
            2 => Phase::Copying,
            3 => Phase::Sending,
            _ => Phase::Done,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Bytes done and bytes to do in this phase.
    pub fn position(&self) -> (u64, u64) {
        match self.phase() {
            Phase::Waiting => (0, self.size),
            Phase::Converting | Phase::Copying => (self.read.load(Ordering::Relaxed), self.size),
            Phase::Sending | Phase::Done => {
                (self.sent.load(Ordering::Relaxed), self.to_send.load(Ordering::Relaxed))
            }
        }
    }
}

/// The layers of a conversion, and a way to stop it. Clones are of the same conversion.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    layers: Arc<Mutex<Vec<Arc<LayerProgress>>>>,
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// All layers known so far.
    pub fn layers(&self) -> Vec<Arc<LayerProgress>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn layer(&self, blob: ObjectDigest, size: u64) -> Arc<LayerProgress> {
        let layer = Arc::new(LayerProgress {
            blob,
            size,
            phase: AtomicU8::new(0),
            read: AtomicU64::new(0),
            sent: Arc::default(),
            to_send: AtomicU64::new(0),
        });
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&layer));
        layer
    }

    /// Makes threads that read layers end soon.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Stops a conversion whose future was dropped: its threads do not notice by themselves.
pub(crate) struct StopOnDrop(pub Progress);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
