//! The DiffID: SHA-256 over a layer's tar, headers and payloads in archive order.
//!
//! In the flow: beside `assemble`, before the layer store. Workers finish files in any order; [`DiffIdHasher`]
//! takes their results in tar order through a bounded queue and hashes on a thread of its own, so that the
//! proof costs no second pass over the data.
//!
//! It must not interpret what it hashes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread::JoinHandle;

use bytes::Bytes;
use chunked_core::{Digest, Hasher};

/// Zero bytes that are hashed between two looks whether the digest is still wanted: a hole may be of any length.
const ZEROS: u64 = 8 << 20;

/// Something that is kept until its bytes were hashed, such as a share of a memory budget.
pub type Keep = Box<dyn std::any::Any + Send>;

/// A stretch of the tar.
#[derive(Debug)]
pub enum Part {
    /// Bytes at hand.
    Bytes(Bytes),
    /// So many zero bytes.
    Zeros(u64),
    /// `len` bytes of a file written earlier, read back from the page cache.
    File {
        /// Open for reading.
        file: File,
        /// Offset of the first byte in the file.
        start: u64,
        /// Bytes to read; fewer is an error.
        len: u64,
    },
}

/// What one unit of work gave, in tar order.
#[derive(Debug)]
pub struct Done {
    /// Its bytes.
    pub parts: Vec<Part>,
    /// Released once they are hashed.
    pub keep: Keep,
}

/// The place of one unit of work in the queue.
#[derive(Debug)]
pub struct Slot(mpsc::SyncSender<Done>);

impl Slot {
    /// Fills the place. Dropping a slot unfilled makes the hash fail with [`VerifyError::Aborted`].
    pub fn fill(self, done: Done) {
        // The hasher is gone only after a failure that is reported elsewhere.
        let _ = self.0.send(done);
    }
}

/// Why there is no DiffID.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A unit of work gave up; its own error says why.
    #[error("the layer's bytes are incomplete because an earlier step failed")]
    Aborted,
    /// A written file could not be read back.
    #[error("reading back a written file: {0}")]
    ReadBack(#[from] std::io::Error),
    /// No thread could be started.
    #[error("starting the hashing thread: {0}")]
    Thread(std::io::Error),
}

#[derive(Debug)]
enum Item {
    Parts(Done),
    Pending(mpsc::Receiver<Done>),
}

/// A DiffID being computed.
#[derive(Debug)]
pub struct DiffIdHasher {
    queue: mpsc::SyncSender<Item>,
    thread: JoinHandle<Result<(Digest, u64), VerifyError>>,
}

impl DiffIdHasher {
    /// Starts the hashing thread; at most `places` results wait in its queue. It asks every now and then whether the digest
    /// is still `wanted`, also within one long stretch, and ends when it is not.
    ///
    /// # Errors
    /// [`VerifyError::Thread`] when the system has no thread left.
    pub fn start(places: usize, wanted: impl Fn() -> bool + Send + 'static) -> Result<Self, VerifyError> {
        let (queue, items) = mpsc::sync_channel(places);
        let thread = std::thread::Builder::new()
            .name("diffid".into())
            .spawn(move || hash(&items, &wanted))
            .map_err(VerifyError::Thread)?;
        Ok(Self { queue, thread })
    }

    /// Adds bytes that are at hand. Blocks while the queue is full.
    pub fn bytes(&self, bytes: Bytes) {
        let _ = self.queue.send(Item::Parts(Done { parts: vec![Part::Bytes(bytes)], keep: Box::new(()) }));
    }

    /// Reserves the next place for a unit of work. Blocks while the queue is full.
    pub fn slot(&self) -> Slot {
        let (sender, receiver) = mpsc::sync_channel(1);
        let _ = self.queue.send(Item::Pending(receiver));
        Slot(sender)
    }

    /// The digest of everything added, and its length in bytes.
    ///
    /// # Errors
    /// [`VerifyError`] when a slot was dropped, a file could not be read back, or nobody wants it any more.
    pub fn finish(self) -> Result<(Digest, u64), VerifyError> {
        drop(self.queue);
        self.thread.join().unwrap_or(Err(VerifyError::Aborted))
    }
}

/// A digest being computed.
struct Hashing<'a> {
    hasher: Hasher,
    buffer: Vec<u8>,
    wanted: &'a dyn Fn() -> bool,
}

fn hash(items: &mpsc::Receiver<Item>, wanted: &dyn Fn() -> bool) -> Result<(Digest, u64), VerifyError> {
    let mut hashing = Hashing { hasher: Hasher::new(), buffer: Vec::new(), wanted };
    let mut total: u64 = 0;
    for item in items {
        let done = match item {
            Item::Parts(done) => done,
            Item::Pending(receiver) => receiver.recv().map_err(|_| VerifyError::Aborted)?,
        };
        for part in done.parts {
            total = total.saturating_add(hashing.add(part)?);
        }
        drop(done.keep);
    }
    Ok((hashing.hasher.finish(), total))
}

impl Hashing<'_> {
    fn add(&mut self, part: Part) -> Result<u64, VerifyError> {
        match part {
            Part::Bytes(bytes) => {
                self.hasher.update(&bytes);
                Ok(bytes.len() as u64)
            }
            Part::Zeros(len) => self.zeros(len),
            Part::File { file, start, len } => self.file(&file, start, len),
        }
    }

    fn still_wanted(&self) -> Result<(), VerifyError> {
        if (self.wanted)() { Ok(()) } else { Err(VerifyError::Aborted) }
    }

    fn zeros(&mut self, len: u64) -> Result<u64, VerifyError> {
        let mut left = len;
        while left > 0 {
            self.still_wanted()?;
            let step = left.min(ZEROS);
            self.hasher.update_zeros(step);
            left -= step;
        }
        Ok(len)
    }

    fn file(&mut self, file: &File, start: u64, len: u64) -> Result<u64, VerifyError> {
        self.buffer.resize(256 * 1024, 0);
        let mut read = 0;
        while read < len {
            self.still_wanted()?;
            let room = usize::try_from(len - read).unwrap_or(usize::MAX).min(self.buffer.len());
            match file.read_at(&mut self.buffer[..room], start + read) {
                Ok(0) => break,
                Ok(n) => {
                    self.hasher.update(&self.buffer[..n]);
                    read += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        if read != len {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn done(parts: Vec<Part>) -> Done {
        Done { parts, keep: Box::new(()) }
    }

    #[test]
    fn order_is_the_order_of_places() {
        let hasher = DiffIdHasher::start(8, || true).unwrap();
        hasher.bytes(Bytes::from_static(b"one "));
        let two = hasher.slot();
        let three = hasher.slot();
        three.fill(done(vec![Part::Zeros(3)]));
        two.fill(done(vec![Part::Bytes(Bytes::from_static(b"two "))]));
        assert_eq!(hasher.finish().unwrap(), (Digest::of(b"one two \0\0\0"), 11));
    }

    #[test]
    fn a_dropped_slot_fails() {
        let hasher = DiffIdHasher::start(8, || true).unwrap();
        drop(hasher.slot());
        hasher.bytes(Bytes::from_static(b"more"));
        assert!(matches!(hasher.finish(), Err(VerifyError::Aborted)));
    }

    #[test]
    fn a_short_file_fails() {
        let hasher = DiffIdHasher::start(8, || true).unwrap();
        let file = File::open("/dev/null").unwrap();
        hasher.slot().fill(done(vec![Part::File { file, start: 0, len: 1 }]));
        assert!(matches!(hasher.finish(), Err(VerifyError::ReadBack(_))));
    }
    #[test]
    fn what_nobody_wants_any_more_is_not_hashed_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create_new(dir.path().join("long")).unwrap();
        file.set_len(1 << 40).unwrap();
        let file = File::open(dir.path().join("long")).unwrap();
        // Both would take hours.
        for part in [Part::Zeros(u64::MAX), Part::File { file, start: 0, len: 1 << 40 }] {
            let asked = Arc::<AtomicUsize>::default();
            let wanted = {
                let asked = Arc::clone(&asked);
                move || asked.fetch_add(1, Ordering::SeqCst) < 3
            };
            let hasher = DiffIdHasher::start(8, wanted).unwrap();
            hasher.slot().fill(done(vec![part]));
            assert!(matches!(hasher.finish(), Err(VerifyError::Aborted)));
            assert_eq!(asked.load(Ordering::SeqCst), 4);
        }
    }
}
