//! Reading files for their digests, without getting in anybody's way.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use chunked_core::{Digest, Hasher};
use rustix::fs::{Advice, fadvise};

use crate::rules::Skip;
use crate::stamp::Stamp;
use crate::status::Progress;

/// Bytes read at a time, and between two looks at the clock.
const BUFFER: usize = 256 * 1024;
/// Most a pause lasts before it is looked whether to stop.
const NAP: Duration = Duration::from_millis(50);

/// How a pass runs. Clones share the switch and the counters.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Bytes read per second, at most; 0 means as fast as it goes.
    pub rate: u64,
    /// Set it, and the pass ends soon.
    pub stop: Arc<AtomicBool>,
    /// Counters.
    pub progress: Progress,
}

impl Control {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Why a file has no digest.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The pass is to stop.
    Stopped,
    /// The file does not qualify now.
    Skip(Skip),
}

/// Reads files at a bounded rate.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    control: &'a Control,
    buffer: Vec<u8>,
    /// When the next byte may be read.
    due: Instant,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(control: &'a Control) -> Self {
        Self { control, buffer: vec![0; BUFFER], due: Instant::now() }
    }

    /// The digest of `file`, whose status `before` was taken from this descriptor. It counts only if the file
    /// neither changed while it was read nor so shortly before that its stamp could be another state's.
    pub(crate) fn digest(&mut self, file: &mut File, before: &Metadata) -> Result<Digest, Unread> {
        let stamp = Stamp::from(before);
        if !stamp.is_settled(SystemTime::now()) {
            return Err(Unread::Skip(Skip::Changing));
        }
        // Read once: it need not push what programs use out of the page cache (Linux 6.3; a hint before).
        let _ = fadvise(&*file, 0, None, Advice::NoReuse);
        let mut hasher = Hasher::new();
        let mut total = 0u64;
        loop {
            self.pause()?;
            match file.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&self.buffer[..n]);
                    total += n as u64;
                    self.account(n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Unread::Skip(Skip::Unreadable)),
            }
            if total > stamp.size {
                return Err(Unread::Skip(Skip::Changing));
            }
        }
        let after = file.metadata().map_err(|_| Unread::Skip(Skip::Unreadable))?;
        if total != stamp.size || Stamp::from(&after) != stamp {
            return Err(Unread::Skip(Skip::Changing));
        }
        Ok(hasher.finish())
    }

    fn account(&mut self, bytes: usize) {
        self.control.progress.read(bytes);
        if self.control.rate > 0 {
            let cost = Duration::from_secs(1).mul_f64(bytes as f64 / self.control.rate as f64);
            // Time that went by unused is not made up for later.
            self.due = self.due.max(Instant::now()) + cost;
        }
    }

    /// Waits until the rate allows more.
    fn pause(&self) -> Result<(), Unread> {
        loop {
            if self.control.is_stopped() {
                return Err(Unread::Stopped);
            }
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}
